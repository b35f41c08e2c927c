rule evaluate:
    """Score all experiments on the same folds: intervals, the floor, differences, subgroups, power."""
    input:
        predictions=expand(
            "results/{{dataset}}/train/{experiment}/predictions.tsv",
            experiment=EXPERIMENTS,
        ),
        nulls=expand(
            "results/{{dataset}}/train/{experiment}/null.tsv", experiment=EXPERIMENTS
        ),
        runs=expand(
            "results/{{dataset}}/train/{experiment}/run.json", experiment=EXPERIMENTS
        ),
        splits="results/{dataset}/train/splits.tsv",
        participants="results/{dataset}/timeseries/participants.tsv",
    output:
        scores="results/{dataset}/evaluate/scores.tsv",
        comparisons="results/{dataset}/evaluate/comparisons.tsv",
        curves="results/{dataset}/evaluate/curves.tsv",
        folds="results/{dataset}/evaluate/folds.tsv",
        subgroups="results/{dataset}/evaluate/subgroups.tsv",
        power="results/{dataset}/evaluate/power.tsv",
        tried="results/{dataset}/evaluate/tried.json",  # what it counts lies beside it, and stays
    log:
        "results/logs/{dataset}/evaluate.log",
    benchmark:
        "results/benchmarks/{dataset}/evaluate.tsv"
    priority: 1  # others wait for it
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        experiments=list(EXPERIMENTS),
        sections={name: RUN.sections(name) for name in EXPERIMENTS},
        evaluate=COHORT["evaluate"],
        covariates=COHORT["dataset"]["covariates"],
        # for the record: what depends on resources is not compared, and the rules before compare these
        settings=lambda wildcards, resources: RUN.settings_of_predictions,
        code=code("evaluate"),
    message:
        "Scoring all experiments on {wildcards.dataset}"
    script:
        "../scripts/evaluate.py"
