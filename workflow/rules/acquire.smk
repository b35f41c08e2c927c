rule download:
    """Fetch and verify the files of one participant or of a batch, or of the whole dataset; who fails, fails alone."""
    input:
        files=lambda wildcards: RUN.users_files(wildcards.unit),
    output:
        receipt="results/{dataset}/acquire/receipts/{unit}.json",
        images=(
            touch("results/{dataset}/acquire/receipts/{unit}.images")
            if RUN.keep
            else temp(touch("results/{dataset}/acquire/receipts/{unit}.images"))
        ),
    log:
        "results/logs/{dataset}/download/{unit}.log",
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=240,
        downloads=1,
        last_attempt=lambda wildcards, attempt: int(attempt > 2),
    params:
        files=lambda wildcards: RUN.files_of(wildcards.unit),
        size=lambda wildcards: RUN.size_of(wildcards.unit),
        scan=RUN.scan,
        folder=str(RUN.plan.folder) if RUN.plan else "",
        fetching=transport,
        after=lambda wildcards, resources: RUN.will_make(digest_of),  # see transport
        code=code("download"),
    message:
        "Fetching {wildcards.unit} of {wildcards.dataset} ({params.size})"
    script:
        "../scripts/download.py"


rule acquire:
    """Bring a dataset to the contract: participants, an index of series or scans, and the truth where one is planted."""
    input:
        sources=RUN.sources,
        receipts=expand(
            "results/{{dataset}}/acquire/receipts/{unit}.json", unit=RUN.units
        ),
        atlas=RUN.atlas_files,
    output:
        **(
            {
                "truth": "results/{dataset}/acquire/truth.tsv",
                "carriers": "results/{dataset}/acquire/carriers.tsv",
            }
            if RUN.planted
            else {}
        ),
        participants="results/{dataset}/acquire/participants.tsv",
        index=f"results/{{dataset}}/acquire/{RUN.acquired}.tsv",
        choices="results/{dataset}/acquire/choices.tsv",
        summary="results/{dataset}/acquire/summary.txt",
    log:
        "results/logs/{dataset}/acquire.log",
    benchmark:
        "results/benchmarks/{dataset}/acquire.tsv"
    localrule: RUN.fetched
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=4000,
        runtime=240,
        downloads=1,
    params:
        dataset=COHORT["dataset"],
        withdrawn=RUN.withdrawn,
        atlas=COHORT["atlas"],
        fetching=transport,
        code=code("acquire"),
    message:
        "Collecting participants and series of {wildcards.dataset}"
    script:
        "../scripts/acquire.py"


rule atlas:
    """Fetch the pieces of an atlas, each verified, and join them."""
    output:
        nodes="results/atlas/{atlas}/nodes.tsv",
        image="results/atlas/{atlas}/dseg.nii.gz",
    log:
        "results/logs/atlas/{atlas}.log",
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
        downloads=1,
    params:
        atlas=COHORT["atlas"],
        fetching=transport,
        code=code("atlas"),
    message:
        "Joining the atlas {wildcards.atlas}"
    script:
        "../scripts/atlas.py"


rule surface:
    """Fetch an atlas's cortex as vertices of a surface, verified; only images in fsLR need it."""
    output:
        surface="results/atlas/{atlas}/dlabel.nii",
    log:
        "results/logs/atlas/{atlas}_surface.log",
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
        downloads=1,
    params:
        atlas=COHORT["atlas"],
        fetching=transport,
        code=code("surface"),
    message:
        "Fetching the surface of the atlas {wildcards.atlas}"
    script:
        "../scripts/surface.py"
