if RUN.stimulated:

    rule stimulate:
        """Rank nodes, regions and circuits by their virtual normalisation, if any moves patients beyond permuted labels."""
        input:
            connectomes=RUN.connectome_file(RUN.stimulated),
            participants="results/{dataset}/timeseries/participants.tsv",
            splits="results/{dataset}/train/splits.tsv",
            model=f"results/{{dataset}}/train/{RUN.stimulated}/model.npz",
            null=f"results/{{dataset}}/train/{RUN.stimulated}/null.tsv",
            atlas=RUN.atlas_files,
        output:
            targets="results/{dataset}/stimulate/targets.tsv",
            patients="results/{dataset}/stimulate/patients.tsv",
            edits="results/{dataset}/stimulate/edits.tsv",
            verdict="results/{dataset}/stimulate/verdict.json",
        log:
            "results/logs/{dataset}/stimulate.log",
        benchmark:
            "results/benchmarks/{dataset}/stimulate.tsv"
        conda:
            ENVIRONMENT
        threads: 2
        resources:
            mem_mb=4000,
            runtime=240,
            gpu=RUN.gpus(RUN.stimulated),
        params:
            atlas=COHORT["atlas"],
            stimulate=COHORT["stimulate"],
            sections=RUN.sections(RUN.stimulated),
            contrast=COHORT["dataset"]["contrast"],
            code=code("stimulate"),
        message:
            "Ranking virtual-stimulation targets on {wildcards.dataset}"
        script:
            "../scripts/stimulate.py"
