rule timeseries:
    """Denoise everybody's regional series and decide who can be used; nobody disappears."""
    input:
        participants="results/{dataset}/acquire/participants.tsv",
        index="results/{dataset}/acquire/series.tsv",
        code=library("timeseries", "series", "participants", "atlas"),
    output:
        participants="results/{dataset}/timeseries/participants.tsv",
        index="results/{dataset}/timeseries/series.tsv",
    params:
        atlas=COHORT["atlas"],
        denoise=COHORT["denoise"],
    log:
        "results/logs/{dataset}/timeseries.log",
    benchmark:
        "results/benchmarks/{dataset}/timeseries.tsv"
    threads: 8
    resources:
        mem_mb=4000,
        runtime=120,
    script:
        "../scripts/timeseries.py"
