rule tracking:
    """Open the MLflow database and create the experiment, before any job logs to it."""
    output:
        handle="results/tracking.json",
    log:
        "results/logs/tracking.log",
    localrule: True  # writers of one database on one node, and of a minute each
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        experiment=COHORT["tracking"]["experiment"],
        uri=RUN.tracking,
        code=code("tracking"),
    message:
        "Opening MLflow"
    script:
        "../scripts/tracking.py"


rule track:
    """Log one finished experiment to MLflow: configuration, scores, curves, folds, figures and the model."""
    input:
        handle="results/tracking.json",
        predictions="results/{dataset}/train/{experiment}/predictions.tsv",
        history="results/{dataset}/train/{experiment}/history.tsv",
        search="results/{dataset}/train/{experiment}/search.tsv",
        null="results/{dataset}/train/{experiment}/null.tsv",
        model="results/{dataset}/train/{experiment}/model.npz",
        provenance="results/{dataset}/train/{experiment}/run.json",
        scores="results/{dataset}/evaluate/scores.tsv",
        curves="results/{dataset}/evaluate/curves.tsv",
        bundle=lambda wildcards: RUN.bundle_file(wildcards.experiment),
    output:
        run="results/{dataset}/tracking/{experiment}.json",
    log:
        "results/logs/{dataset}/track_{experiment}.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        config=lambda wildcards: without(
            EXPERIMENTS[wildcards.experiment],
            "localize",
            "stimulate",
            "quality",
            "report",
            "tracking",
            "validate",
            "experiments",
        ),
        benchmark="results/benchmarks/{dataset}/train_{experiment}.tsv",  # no input: not everybody's results have it
        system_metrics=COHORT["tracking"]["system_metrics"],
        code=code("track"),
    message:
        "Logging {wildcards.experiment} to MLflow"
    script:
        "../scripts/track.py"


rule track_cohort:
    """Log the localization and the report of a cohort to MLflow."""
    input:
        handle="results/tracking.json",
        edges="results/{dataset}/attribute/edges.tsv",
        attribution="results/{dataset}/attribute/edges.json",
        summary="results/{dataset}/localize/summary.json",
        recovery=expand(
            "results/{{dataset}}/{stage}/recovery.tsv",
            stage=("localize", "attribute") if RUN.planted else (),
        ),
        validation="results/{dataset}/validate/scores.tsv" if RUN.validated else [],
        participants="results/{dataset}/timeseries/participants.tsv",
        quality="results/{dataset}/quality/summary.json",
        scans="results/{dataset}/quality/scans.tsv" if RUN.images else [],
        coverage="results/{dataset}/quality/coverage.tsv" if RUN.images else [],
        report="results/{dataset}/report/index.html",
        provenance=expand(
            "results/{{dataset}}/train/{experiment}/run.json", experiment=EXPERIMENTS
        ),
    output:
        run="results/{dataset}/tracking/localize.json",
    log:
        "results/logs/{dataset}/track_localize.log",
    benchmark:
        "results/benchmarks/{dataset}/track_localize.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        config=without(
            COHORT,
            "model",
            "graph",
            "training",
            "tracking",
            *([] if RUN.validated else ["validate"]),
        ),
        code=code("track_cohort"),
    message:
        "Logging the localization and the report to MLflow"
    script:
        "../scripts/track_cohort.py"
