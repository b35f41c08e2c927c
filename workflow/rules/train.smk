rule splits:
    """Split the included subjects of the contrast into folds, once for all experiments."""
    input:
        participants="results/{dataset}/timeseries/participants.tsv",
    output:
        splits="results/{dataset}/train/splits.tsv",
        settings="results/{dataset}/train/splits.json",
    log:
        "results/logs/{dataset}/splits.log",
    benchmark:
        "results/benchmarks/{dataset}/splits.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        splits=COHORT["splits"],
        contrast=COHORT["dataset"]["contrast"],
        code=code("splits"),
    message:
        "Splitting {wildcards.dataset} into folds"
    script:
        "../scripts/splits.py"


rule train:
    """Cross-validate one experiment, fit its final model, and permute the labels."""
    input:
        connectomes=lambda wildcards: RUN.connectome_file(wildcards.experiment),
        participants="results/{dataset}/timeseries/participants.tsv",
        splits="results/{dataset}/train/splits.tsv",
        graph=lambda wildcards: RUN.graph_files(wildcards.experiment),
        pretraining=lambda wildcards: RUN.pretraining_files(wildcards.experiment),
    output:
        predictions="results/{dataset}/train/{experiment}/predictions.tsv",
        history="results/{dataset}/train/{experiment}/history.tsv",
        search="results/{dataset}/train/{experiment}/search.tsv",
        start="results/{dataset}/train/{experiment}/start.tsv",
        null="results/{dataset}/train/{experiment}/null.tsv",
        model="results/{dataset}/train/{experiment}/model.npz",
        folds="results/{dataset}/train/{experiment}/folds.npz",
        run="results/{dataset}/train/{experiment}/run.json",
    log:
        "results/logs/{dataset}/train_{experiment}.log",
    benchmark:
        "results/benchmarks/{dataset}/train_{experiment}.tsv"
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=lambda wildcards: RUN.gpus(wildcards.experiment),
    params:
        sections=sections,
        contrast=COHORT["dataset"]["contrast"],
        live=lambda wildcards, resources: RUN.live(wildcards.experiment),  # as `transport`
        code=code("train"),
    message:
        "Training {wildcards.experiment} on {wildcards.dataset} (progress: {log})"
    script:
        "../scripts/train.py"
