rule connectivity:
    """Compute everybody's connectome: one labelled file a measure."""
    input:
        index="results/{dataset}/timeseries/series.tsv",
        code=library("connectivity", "series", "atlas"),
    output:
        connectomes="results/{dataset}/connectivity/{atlas}_{measure}.h5",
    log:
        "results/logs/{dataset}/connectivity_{atlas}_{measure}.log",
    benchmark:
        "results/benchmarks/{dataset}/connectivity_{atlas}_{measure}.tsv"
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        atlas=COHORT["atlas"],
        estimator=lambda wildcards: estimator(wildcards.measure),
    message:
        "Computing {wildcards.measure} connectomes of {wildcards.dataset}"
    script:
        "../scripts/connectivity.py"
