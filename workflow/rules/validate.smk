VALIDATION = COHORT["validate"]
SIMULATED = RUN.kind == "simulated"


rule validate:
    """Make a batch of cohorts with a known truth, and run all methods of the localization on each."""
    input:
        participants=(
            [] if SIMULATED else "results/{dataset}/timeseries/participants.tsv"
        ),
        index=(
            []
            if SIMULATED
            else f"results/{{dataset}}/{RUN.series_from}/{RUN.index}.tsv"
        ),
        atlas=RUN.atlas_files,
    output:
        cohorts="results/{dataset}/validate/batches/{part}_{batch}.tsv",
    log:
        "results/logs/{dataset}/validate/{part}_{batch}.log",
    benchmark:
        "results/benchmarks/{dataset}/validate/{part}_{batch}.tsv"
    wildcard_constraints:
        part="null|planted",
        batch=r"\d+",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        cohorts=lambda wildcards: RUN.cohorts_of(wildcards.part, int(wildcards.batch)),
        dataset={
            key: COHORT["dataset"][key]
            for key in (
                ("kind", "volumes", "repetition_time", "motion_artefact")
                if SIMULATED
                else ("kind", "contrast")
            )
        },
        atlas=COHORT["atlas"],
        denoise=COHORT["denoise"],
        localize={
            key: COHORT["localize"][key]
            for key in (
                "measure",
                "nuisance",
                "alpha",
                "thresholds",
                "prior_circuits",
                "prior",
                "seed",
            )
        },
        estimator=asked(RUN.estimator, COHORT["localize"]["measure"]),
        validate=without(VALIDATION, "cohorts", "batch"),
        code=code("validate"),
    message:
        "Validating the localization, {wildcards.part} cohorts, batch {wildcards.batch} (progress: {log})"
    script:
        "../scripts/validate.py"


rule validate_scores:
    """Join the cohorts of all batches: error rates and power of every method, with their limits."""
    input:
        batches=[
            f"results/{{dataset}}/validate/batches/{batch}.tsv"
            for batch in RUN.batches()
        ],
    output:
        cohorts="results/{dataset}/validate/cohorts.tsv",
        scores="results/{dataset}/validate/scores.tsv",
    log:
        "results/logs/{dataset}/validate_scores.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("validate_scores"),
    message:
        "Joining the cohorts of the validation of {wildcards.dataset}"
    script:
        "../scripts/validate_scores.py"
