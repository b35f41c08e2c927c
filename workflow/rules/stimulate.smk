rule stimulate:
    """Rank regions by their virtual normalisation, if the model beats its permutation null."""
    input:
        connectomes=f"results/{{dataset}}/connectivity/{ATLAS}_{COHORT['localize']['measure']}.h5",
        participants="results/{dataset}/timeseries/participants.tsv",
        splits="results/{dataset}/train/splits.tsv",
        model=f"results/{{dataset}}/train/{ATTRIBUTED}/model.npz",
        null=f"results/{{dataset}}/train/{ATTRIBUTED}/null.tsv",
        atlas=ATLAS_FILES,
        code=library(
            "stimulate", "localize/statistics", "models/edges", "models/floor", "atlas"
        ),
    output:
        targets="results/{dataset}/stimulate/targets.tsv",
        verdict="results/{dataset}/stimulate/verdict.json",
    log:
        "results/logs/{dataset}/stimulate.log",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        atlas=COHORT["atlas"],
        localize={
            key: COHORT["localize"][key]
            for key in ("measure", "nuisance", "alpha", "attribution")
        },
        contrast=COHORT["dataset"]["contrast"],
    message:
        "Ranking virtual-stimulation targets on {wildcards.dataset}"
    script:
        "../scripts/stimulate.py"
