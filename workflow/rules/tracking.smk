rule tracking:
    """Open the MLflow database and create the experiment, before any job logs to it."""
    input:
        code=library("tracking"),
    output:
        handle="results/tracking.json",
    params:
        tracking=COHORT["tracking"],
    log:
        "results/logs/tracking.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    script:
        "../scripts/tracking.py"
