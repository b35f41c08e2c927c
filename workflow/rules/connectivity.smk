rule connectivity:
    """Compute everybody's connectome: one labelled file a measure."""
    input:
        index=f"results/{{dataset}}/timeseries/{RUN.index}.tsv",
        atlas=RUN.atlas_files,
    output:
        connectomes="results/{dataset}/connectivity/{atlas}_{measure}.h5",
    log:
        "results/logs/{dataset}/connectivity_{atlas}_{measure}.log",
    benchmark:
        "results/benchmarks/{dataset}/connectivity_{atlas}_{measure}.tsv"
    conda:
        ENVIRONMENT
    threads: 1  # more would wait for the lock of the interpreter
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        atlas=COHORT["atlas"],
        estimator=lambda wildcards: asked(RUN.estimator, wildcards.measure),
        # for the record: what depends on resources is not compared, and the rules before compare these
        settings=lambda wildcards, resources: RUN.settings_of_series,
        code=code(RUN.scripts[1]),
    message:
        "Computing {wildcards.measure} connectomes of {wildcards.dataset}"
    script:
        f"../scripts/{RUN.scripts[1]}.py"
