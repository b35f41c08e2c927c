rule timeseries:
    """Denoise everybody's regional series and decide who can be used; nobody disappears."""
    input:
        participants="results/{dataset}/acquire/participants.tsv",
        index=f"results/{{dataset}}/{RUN.series_from}/{RUN.index}.tsv",
        atlas=RUN.atlas_files,
    output:
        participants="results/{dataset}/timeseries/participants.tsv",
        index=f"results/{{dataset}}/timeseries/{RUN.index}.tsv",
        description="results/{dataset}/timeseries/dataset_description.json",
        readme="results/{dataset}/timeseries/README.md",
        ignored="results/{dataset}/timeseries/.bidsignore",
    log:
        "results/logs/{dataset}/timeseries.log",
    benchmark:
        "results/benchmarks/{dataset}/timeseries.tsv"
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        atlas=COHORT["atlas"],
        denoise=COHORT["denoise"],
        covariates=COHORT["dataset"]["covariates"],
        task=COHORT["dataset"].get("task"),
        kinds=COHORT["dataset"].get("trial_types"),
        measures=RUN.demanding,
        dataset={
            key: COHORT["dataset"][key]
            for key in ("name", "title", "citation", "licence")
        },
        code=code(RUN.scripts[0]),
    message:
        "Denoising the series of {wildcards.dataset}, deciding who can be used"
    script:
        f"../scripts/{RUN.scripts[0]}.py"
