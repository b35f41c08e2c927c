rule acquire:
    """Bring a dataset to the contract: participants, an index of series, and the truth where one is planted."""
    input:
        sources=SOURCES,
        code=library("acquire", "series", "participants", "atlas"),
    output:
        **(
            {
                "truth": "results/{dataset}/acquire/truth.tsv",
                "carriers": "results/{dataset}/acquire/carriers.tsv",
            }
            if PLANTED
            else {}
        ),
        participants="results/{dataset}/acquire/participants.tsv",
        index="results/{dataset}/acquire/series.tsv",
    log:
        "results/logs/{dataset}/acquire.log",
    benchmark:
        "results/benchmarks/{dataset}/acquire.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        dataset=COHORT["dataset"],
        atlas=COHORT["atlas"],
    message:
        "Collecting participants and series of {wildcards.dataset}"
    script:
        "../scripts/acquire.py"
