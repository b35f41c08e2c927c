rule preprocess:
    """Average BOLD in regions, for datasets that come as images; a failed subject fails alone."""
    input:
        index="results/{dataset}/acquire/series.tsv",
        code=library("preprocess", "series", "atlas"),
    output:
        index="results/{dataset}/preprocess/series.tsv",
    log:
        "results/logs/{dataset}/preprocess.log",
    benchmark:
        "results/benchmarks/{dataset}/preprocess.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        atlas=COHORT["atlas"],
    message:
        "Averaging BOLD of {wildcards.dataset} in regions"
    script:
        "../scripts/preprocess.py"
