MAPPING = (
    "nuisance",
    "permutations",
    "alpha",
    "max_missing",
    "stability_top",
    "seed",
    "ridge_penalty",
    "screening_splits",
    "screened",
    "attribution_permutations",
    "explained",
)


rule attribute:
    """Map what an experiment's models make of every edge on people they never saw, if they beat their null."""
    input:
        connectomes=lambda wildcards: RUN.connectome_file(wildcards.experiment),
        participants="results/{dataset}/timeseries/participants.tsv",
        splits="results/{dataset}/train/splits.tsv",
        graph=lambda wildcards: RUN.graph_files(wildcards.experiment),
        null="results/{dataset}/train/{experiment}/null.tsv",
        folds="results/{dataset}/train/{experiment}/folds.npz",
    output:
        edges="results/{dataset}/attribute/maps/{experiment}.tsv",
        told="results/{dataset}/attribute/maps/{experiment}.json",
    log:
        "results/logs/{dataset}/attribute_{experiment}.log",
    benchmark:
        "results/benchmarks/{dataset}/attribute_{experiment}.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=lambda wildcards: RUN.gpus(wildcards.experiment),
    params:
        sections=sections,
        localize={key: COHORT["localize"][key] for key in MAPPING},
        contrast=COHORT["dataset"]["contrast"],
        code=code("attribute"),
    message:
        "Mapping what {wildcards.experiment} makes of every edge of {wildcards.dataset}"
    script:
        "../scripts/attribute.py"


rule attribute_edges:
    """Join what the localization tested with the weights of an experiment's models, if they beat their null."""
    input:
        edges="results/{dataset}/localize/edges.tsv",
        model=(
            f"results/{{dataset}}/train/{RUN.attributed}/model.npz"
            if RUN.attributed
            else []
        ),
        null=(
            f"results/{{dataset}}/train/{RUN.attributed}/null.tsv"
            if RUN.attributed
            else []
        ),
    output:
        edges="results/{dataset}/attribute/edges.tsv",
        verdict="results/{dataset}/attribute/edges.json",
    log:
        "results/logs/{dataset}/attribute_edges.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        experiment=RUN.attributed,
        alpha=COHORT["localize"]["alpha"],
        code=code("attribute_edges"),
    message:
        "Joining the edges of {wildcards.dataset} with the weights of a model"
    script:
        "../scripts/attribute_edges.py"


rule attribute_recovery:
    """Score the weights of an experiment's models against the planted truth."""
    input:
        edges="results/{dataset}/attribute/edges.tsv",
        truth="results/{dataset}/acquire/truth.tsv",
    output:
        recovery="results/{dataset}/attribute/recovery.tsv",
    log:
        "results/logs/{dataset}/attribute_recovery.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("attribute_recovery"),
    message:
        "Comparing the weights of a model with the planted truth"
    script:
        "../scripts/attribute_recovery.py"
