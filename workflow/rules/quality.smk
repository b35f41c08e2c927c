rule quality:
    """Assess the cohort: motion by group, how connectivity follows motion, who and what is missing and why."""
    input:
        connectomes=f"results/{{dataset}}/connectivity/{ATLAS}_{COHORT['localize']['measure']}.h5",
        participants="results/{dataset}/timeseries/participants.tsv",
        series="results/{dataset}/preprocess/series.tsv" if RUN.images else [],
        matrices=(
            "results/{dataset}/timeseries/matrices.tsv"
            if RUN.kind == "matrices"
            else []
        ),
        atlas=RUN.atlas_files,
    output:
        qcfc="results/{dataset}/quality/qcfc.tsv",
        summary="results/{dataset}/quality/summary.json",
    log:
        "results/logs/{dataset}/quality.log",
    benchmark:
        "results/benchmarks/{dataset}/quality.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        atlas=COHORT["atlas"],
        contrast=COHORT["dataset"]["contrast"],
        covariates=COHORT["dataset"]["covariates"],
        measure=COHORT["localize"]["measure"],
        spec={
            **{
                key: COHORT["quality"][key]
                for key in ("permutations", "distance_bins", "seed")
            },
            "max_missing": COHORT["localize"]["max_missing"],
            "level": COHORT["evaluate"]["level"],
        },
        code=code("quality"),
    message:
        "Assessing the quality of {wildcards.dataset}"
    script:
        "../scripts/quality.py"


rule quality_scans:
    """Put what is known of everybody's scan into tables: motion, noise, coverage, registration, effect of denoising."""
    input:
        index="results/{dataset}/preprocess/series.tsv",
        participants="results/{dataset}/timeseries/participants.tsv",
        denoised="results/{dataset}/timeseries/series.tsv",
        atlas=RUN.atlas_files,
    output:
        table="results/{dataset}/quality/scans.tsv",
        coverage="results/{dataset}/quality/coverage.tsv",
        engine="results/{dataset}/quality/engine.json",
    log:
        "results/logs/{dataset}/quality_scans.log",
    benchmark:
        "results/benchmarks/{dataset}/quality_scans.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        atlas=COHORT["atlas"],
        code=code("quality_scans"),
    message:
        "Collecting the quality of the scans of {wildcards.dataset}"
    script:
        "../scripts/quality_scans.py"
