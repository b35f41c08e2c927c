rule tractography:
    """Follow the fibres of one participant or of a batch and count them by region; who fails, fails alone."""
    input:
        receipt="results/{dataset}/acquire/receipts/{participant}.json",
        images="results/{dataset}/acquire/receipts/{participant}.images",
        atlas=RUN.atlas_files,
    output:
        index="results/{dataset}/tractography/participants/{participant}.tsv",
    log:
        "results/logs/{dataset}/tractography/{participant}.log",
    benchmark:
        "results/benchmarks/{dataset}/tractography/{participant}.tsv"
    priority: 10  # before further downloads, so that few images wait on the disk
    conda:
        ENVIRONMENT
    threads: 1  # more would give other streamlines
    resources:
        mem_mb=4000,
        runtime=lambda wildcards: RUN.minutes(wildcards.participant, 240, 20),
    params:
        atlas=COHORT["atlas"],
        tractography=without(COHORT["tractography"], "uncorrected"),
        preprocess=COHORT["preprocess"],
        code=code("tractography"),
    message:
        "Following the fibres of {wildcards.participant}"
    script:
        "../scripts/tractography.py"


rule tractography_cohort:
    """Collect everybody's matrices of connections."""
    input:
        rows=expand(
            "results/{{dataset}}/tractography/participants/{participant}.tsv",
            participant=RUN.jobs,
        ),
        discarded=expand(
            "results/{{dataset}}/preprocess/discarded/{participant}",
            participant=[] if RUN.keep else RUN.jobs,
        ),
    output:
        index="results/{dataset}/tractography/matrices.tsv",
        quality="results/{dataset}/tractography/quality.tsv",
    log:
        "results/logs/{dataset}/tractography.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        order=RUN.wanted,
        matrices=COHORT["dataset"].get("matrices"),
        uncorrected=COHORT["tractography"]["uncorrected"],
        code=code("tractography_cohort"),
    message:
        "Collecting the matrices of {wildcards.dataset}"
    script:
        "../scripts/tractography_cohort.py"
