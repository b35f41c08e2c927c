rule preprocess:
    """Average a participant's BOLD in regions; a failed participant fails alone."""
    input:
        receipt="results/{dataset}/acquire/receipts/{participant}.json",
        images="results/{dataset}/acquire/receipts/{participant}.images",
        atlas=ATLAS_FILES,
        code=library("preprocess", "series", "atlas"),
    output:
        index="results/{dataset}/preprocess/participants/{participant}.tsv",
    log:
        "results/logs/{dataset}/preprocess/{participant}.log",
    priority: 10  # before further downloads, so that few images wait on the disk
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        atlas=COHORT["atlas"],
        preprocess=COHORT["preprocess"],
    message:
        "Averaging BOLD of {wildcards.participant} in regions"
    script:
        "../scripts/preprocess.py"


rule discard:
    """Delete a participant's images once the regional series exist (acquire.keep=false)."""
    input:
        receipt="results/{dataset}/acquire/receipts/{participant}.json",
        images="results/{dataset}/acquire/receipts/{participant}.images",
        series="results/{dataset}/preprocess/participants/{participant}.tsv",
    output:
        touch("results/{dataset}/preprocess/discarded/{participant}"),
    log:
        "results/logs/{dataset}/discard/{participant}.log",
    priority: 20
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    message:
        "Deleting the images of {wildcards.participant}"
    script:
        "../scripts/discard.py"


rule preprocess_cohort:
    """Collect the index of everybody's regional series."""
    input:
        rows=expand(
            "results/{{dataset}}/preprocess/participants/{participant}.tsv",
            participant=WANTED,
        ),
        discarded=expand(
            "results/{{dataset}}/preprocess/discarded/{participant}",
            participant=[] if KEEP else WANTED,
        ),
    output:
        index="results/{dataset}/preprocess/series.tsv",
    log:
        "results/logs/{dataset}/preprocess.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    message:
        "Collecting the regional series of {wildcards.dataset}"
    script:
        "../scripts/preprocess_cohort.py"
