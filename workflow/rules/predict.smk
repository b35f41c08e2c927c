rule elsewhere:
    """Test models of other sites on these people: an AUC and counts, fit to be given away."""
    input:
        models=list(RUN.guests),
        connectomes=[
            f"results/{{dataset}}/connectivity/{ATLAS}_{stored}.h5"
            for stored, _ in RUN.guests.values()
        ],
        known=[
            f"results/{{dataset}}/connectivity/{ATLAS}_{known}.h5"
            for _, known in RUN.guests.values()
        ],
        participants="results/{dataset}/timeseries/participants.tsv",
        atlas=RUN.atlas_files,
    output:
        models="results/{dataset}/predict/elsewhere.json",
    log:
        "results/logs/{dataset}/elsewhere.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        atlas=COHORT["atlas"],
        contrast=COHORT["dataset"]["contrast"],
        denoise=COHORT["denoise"],
        estimators={stored: RUN.estimator(stored) for stored, _ in RUN.guests.values()},
        code=code("elsewhere"),
    message:
        "Testing models of other sites on {wildcards.dataset}"
    script:
        "../scripts/elsewhere.py"


rule bundle:
    """Gather in one file what it takes to predict a new person with the models of one experiment."""
    input:
        connectomes=f"results/{{dataset}}/connectivity/{ATLAS}_{COHORT['localize']['measure']}.h5",
        participants="results/{dataset}/timeseries/participants.tsv",
        index=f"results/{{dataset}}/timeseries/{RUN.index}.tsv",
        splits="results/{dataset}/train/splits.tsv",
        scores="results/{dataset}/evaluate/scores.tsv",
        folds="results/{dataset}/train/{experiment}/folds.npz",
        predictions="results/{dataset}/train/{experiment}/predictions.tsv",
        floor_folds=f"results/{{dataset}}/train/{RUN.floor}/folds.npz",
        floor_predictions=f"results/{{dataset}}/train/{RUN.floor}/predictions.tsv",
        atlas=RUN.atlas_files,
    output:
        bundle="results/{dataset}/predict/{experiment}.npz",
    log:
        "results/logs/{dataset}/bundle_{experiment}.log",
    benchmark:
        "results/benchmarks/{dataset}/bundle_{experiment}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        sections=sections,
        regional=RUN.regional_floor,
        atlas=COHORT["atlas"],
        denoise=COHORT["denoise"],
        min_coverage=COHORT["preprocess"].get("min_coverage", 0.5),
        surface=RUN.on_surface,
        localize={
            key: COHORT["localize"][key]
            for key in ("measure", "nuisance", "alpha", "max_missing", "deviant_edges")
        },
        dataset={
            key: COHORT["dataset"].get(key)
            for key in (
                "name",
                "title",
                "citation",
                "licence",
                "simulated",
                "contrast",
                "covariates",
            )
        },
        estimators=lambda wildcards: {
            name: asked(RUN.estimator, name)
            for name in (
                COHORT["localize"]["measure"],
                RUN.stored(wildcards.experiment),
            )
        },
        code=code("bundle"),
    message:
        "Making {wildcards.experiment} fit to be sent: results/{wildcards.dataset}/predict/{wildcards.experiment}.npz"
    script:
        "../scripts/bundle.py"
