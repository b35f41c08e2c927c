STIMULATED = COHORT["stimulate"]["experiment"]
if STIMULATED not in EXPERIMENTS:
    if STIMULATED and workflow.is_main_process:
        logger.info(
            f"No targets will be ranked: stimulate.experiment={STIMULATED} is not among the experiments."
        )
    STIMULATED = None


if STIMULATED:

    rule stimulate:
        """Rank nodes, regions and circuits by their virtual normalisation, if the model beats its permutation null."""
        input:
            connectomes=connectome_file(STIMULATED),
            participants="results/{dataset}/timeseries/participants.tsv",
            splits="results/{dataset}/train/splits.tsv",
            model=f"results/{{dataset}}/train/{STIMULATED}/model.npz",
            null=f"results/{{dataset}}/train/{STIMULATED}/null.tsv",
            atlas=ATLAS_FILES,
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
            gpu=int(is_graph(EXPERIMENTS[STIMULATED]["model"]["name"])),
        params:
            atlas=COHORT["atlas"],
            stimulate=COHORT["stimulate"],
            sections=training_sections(EXPERIMENTS[STIMULATED]),
            contrast=COHORT["dataset"]["contrast"],
            code=code("stimulate"),
        message:
            "Ranking virtual-stimulation targets on {wildcards.dataset}"
        script:
            "../scripts/stimulate.py"
