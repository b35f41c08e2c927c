rule connectivity:
    """Compute everybody's connectome: one labelled file a measure."""
    input:
        index=f"results/{{dataset}}/timeseries/{INDEX}.tsv",
        atlas=ATLAS_FILES,
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
        settings=settings_of_series,
        code=code("arrange" if TABLE else "connectivity"),
    message:
        "Computing {wildcards.measure} connectomes of {wildcards.dataset}"
    script:
        f"../scripts/{'arrange' if TABLE else 'connectivity'}.py"
