rule report:
    """Make the report: one self-contained page with the verdict, its figures, and the methods."""
    input:
        participants="results/{dataset}/timeseries/participants.tsv",
        index=[] if RUN.table else "results/{dataset}/acquire/series.tsv",
        choices="results/{dataset}/acquire/choices.tsv",
        splits="results/{dataset}/train/splits.tsv",
        scores="results/{dataset}/evaluate/scores.tsv",
        comparisons="results/{dataset}/evaluate/comparisons.tsv",
        curves="results/{dataset}/evaluate/curves.tsv",
        folds="results/{dataset}/evaluate/folds.tsv",
        subgroups="results/{dataset}/evaluate/subgroups.tsv",
        power="results/{dataset}/evaluate/power.tsv",
        tried="results/{dataset}/evaluate/tried.json",
        histories=expand(
            "results/{{dataset}}/train/{experiment}/history.tsv",
            experiment=EXPERIMENTS,
        ),
        starts=expand(
            "results/{{dataset}}/train/{experiment}/start.tsv", experiment=EXPERIMENTS
        ),
        predictions=expand(
            "results/{{dataset}}/train/{experiment}/predictions.tsv",
            experiment=EXPERIMENTS,
        ),
        nulls=expand(
            "results/{{dataset}}/train/{experiment}/null.tsv", experiment=EXPERIMENTS
        ),
        edges="results/{dataset}/attribute/edges.tsv",
        attribution="results/{dataset}/attribute/edges.json",
        components="results/{dataset}/localize/components.tsv",
        families="results/{dataset}/localize/circuits.tsv",
        people="results/{dataset}/localize/people.tsv",
        detectable="results/{dataset}/localize/power.tsv",
        points="results/{dataset}/localize/points.tsv",
        regional="results/{dataset}/localize/regional.tsv",
        summary="results/{dataset}/localize/summary.json",
        qcfc="results/{dataset}/quality/qcfc.tsv",
        quality="results/{dataset}/quality/summary.json",
        scans="results/{dataset}/quality/scans.tsv" if RUN.images else [],
        coverage="results/{dataset}/quality/coverage.tsv" if RUN.images else [],
        engine="results/{dataset}/quality/engine.json" if RUN.images else [],
        tracts=(
            [
                f"results/{{dataset}}/tractography/{name}.tsv"
                for name in ("matrices", "quality")
            ]
            if RUN.traced
            else []
        ),
        pages=(
            "results/{dataset}/report/subjects/index.txt"
            if RUN.plan and RUN.paged
            else []
        ),
        everybody="results/{dataset}/report/people/index.html" if RUN.paged else [],
        recovery=expand(
            "results/{{dataset}}/{stage}/recovery.tsv",
            stage=("localize", "attribute") if RUN.planted else (),
        ),
        severity=expand(
            "results/{{dataset}}/localize/severity.{kind}",
            kind=("tsv", "json") if RUN.scored else (),
        ),
        groups=expand(
            "results/{{dataset}}/localize/groups.{kind}",
            kind=("tsv", "json") if RUN.grouped else (),
        ),
        joint=expand(
            "results/{{dataset}}/localize/joint.{kind}",
            kind=("tsv", "json") if RUN.pictures else (),
        ),
        replication=expand(
            "results/{{dataset}}/localize/replication.{kind}",
            kind=("tsv", "json") if RUN.replicated else (),
        ),
        maps=expand(
            "results/{{dataset}}/attribute/maps/{experiment}.json",
            experiment=RUN.seeing,
        ),
        validation="results/{dataset}/validate/scores.tsv" if RUN.validated else [],
        targets="results/{dataset}/stimulate/targets.tsv" if RUN.stimulated else [],
        patient_targets=(
            "results/{dataset}/stimulate/patients.tsv" if RUN.stimulated else []
        ),
        edits="results/{dataset}/stimulate/edits.tsv" if RUN.stimulated else [],
        verdict="results/{dataset}/stimulate/verdict.json" if RUN.stimulated else [],
        atlas=RUN.atlas_files,
    output:
        **{
            name: figure(name, name, "Scans")
            for name in ("scans", "coverage", "denoising")
            if RUN.images
        },
        **{name: figure(name, name, "Scans") for name in ("tracts",) if RUN.traced},
        **{
            name: figure(name, name, "Validation")
            for name in ("validation_fwer", "validation_power", "validation_fdp")
            if RUN.validated
        },
        **{
            f"learning_{name}": figure(f"learning_{name}", "learning", "Prediction")
            for name in RUN.learning
        },
        **{
            name: figure(name, name, "Stimulation")
            for name in ("stimulation",)
            if RUN.stimulated
        },
        **{name: figure(name, name, "Localization") for name in ("maps",) if RUN.seeing},
        **{
            name: figure(name, name, "Localization")
            for name in ("replication",)
            if RUN.replicated
        },
        html="results/{dataset}/report/index.html",
        standalone=report(
            "results/{dataset}/report/standalone.html",
            caption="../report/page.rst",
            category="Report",
        ),
        checklists=report(
            "results/{dataset}/report/checklists.html",
            caption="../report/checklists.rst",
            category="Report",
        ),
        in_short="results/{dataset}/report/verdict.txt",
        cohort=figure("cohort", "cohort", "Cohort"),
        motion=figure("motion", "motion", "Cohort"),
        qcfc=figure("qcfc", "qcfc", "Quality"),
        qcfc_distance=figure("qcfc_distance", "qcfc_distance", "Quality"),
        forest=figure("forest", "forest", "Prediction"),
        subgroups=figure("subgroups", "subgroups", "Prediction"),
        roc=figure("roc", "roc", "Prediction"),
        calibration=figure("calibration", "calibration", "Prediction"),
        probability=figure("probability", "probability", "Prediction"),
        nulls=figure("nulls", "nulls", "Prediction"),
        connectome=figure("connectome", "connectome", "Localization"),
        circuits=figure("circuits", "circuits", "Localization"),
        edges=figure("edges", "edges", "Localization"),
        matrix=figure("matrix", "matrix", "Localization"),
        means=figure("means", "means", "Localization"),
        stability=figure("stability", "stability", "Localization"),
    log:
        "results/logs/{dataset}/report.log",
    benchmark:
        "results/benchmarks/{dataset}/report.tsv"
    priority: 1  # others wait for it
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        cohort=without(COHORT, "tracking", *([] if RUN.validated else ["validate"])),
        experiments={
            name: without(EXPERIMENTS[name], "tracking", "validate")
            for name in EXPERIMENTS
        },
        code=code("report"),
    message:
        "Writing the report of {wildcards.dataset}"
    script:
        "../scripts/report.py"


rule report_people:
    """Make a page for everybody: scan, out-of-fold predictions, deviation from the controls; index.html leads to them."""
    input:
        participants="results/{dataset}/timeseries/participants.tsv",
        index=f"results/{{dataset}}/{RUN.series_from}/{RUN.index}.tsv",
        starts=expand(
            "results/{{dataset}}/train/{experiment}/start.tsv", experiment=EXPERIMENTS
        ),
        predictions=expand(
            "results/{{dataset}}/train/{experiment}/predictions.tsv",
            experiment=EXPERIMENTS,
        ),
        scores="results/{dataset}/evaluate/scores.tsv",
        people="results/{dataset}/localize/people.tsv",
        circuits="results/{dataset}/localize/people_circuits.tsv",
        edges="results/{dataset}/localize/people_edges.tsv",
        targets="results/{dataset}/stimulate/patients.tsv" if RUN.stimulated else [],
        edits="results/{dataset}/stimulate/edits.tsv" if RUN.stimulated else [],
        verdict="results/{dataset}/stimulate/verdict.json" if RUN.stimulated else [],
        atlas=RUN.atlas_files,
    output:
        index="results/{dataset}/report/people/index.html",
    log:
        "results/logs/{dataset}/report_people.log",
    benchmark:
        "results/benchmarks/{dataset}/report_people.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        experiments=list(EXPERIMENTS),
        atlas=COHORT["atlas"],
        spec={
            "dataset": {
                key: COHORT["dataset"][key]
                for key in ("title", "contrast", "simulated", "plant", "kind")
            },
            "denoise": {
                key: COHORT["denoise"][key] for key in ("max_mean_fd", "min_seconds")
            },
            "alpha": COHORT["localize"]["alpha"],
            "marked_fd": COHORT["quality"]["max_mean_fd"],
            "nuisance": COHORT["localize"]["nuisance"],
            "floors": [name for name in EXPERIMENTS if name not in RUN.seeing],
            "measure": COHORT["localize"]["measure"],
            "stimulated": RUN.stimulated_measure,
            "scanned": RUN.images or RUN.traced,
        },
        code=code("report_people"),
    message:
        "Writing a page for everybody of {wildcards.dataset}"
    script:
        "../scripts/report_people.py"


if RUN.images:

    rule report_subjects:
        """Make a page for everybody who was preprocessed, the failed too; index.html leads to them."""
        input:
            index="results/{dataset}/preprocess/series.tsv",
            participants="results/{dataset}/timeseries/participants.tsv",
            denoised="results/{dataset}/timeseries/series.tsv",
            scans="results/{dataset}/quality/scans.tsv",
            coverage="results/{dataset}/quality/coverage.tsv",
            engine="results/{dataset}/quality/engine.json",
            atlas=RUN.atlas_files,
        output:
            pages="results/{dataset}/report/subjects/index.txt",  # a line a page: as many outputs would slow every plan
        log:
            "results/logs/{dataset}/report_subjects.log",
        benchmark:
            "results/benchmarks/{dataset}/report_subjects.tsv"
        conda:
            ENVIRONMENT
        threads: 8
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            atlas=COHORT["atlas"],
            spec={
                **COHORT["quality"],
                "title": COHORT["dataset"]["title"],
                "fd_threshold": COHORT["denoise"]["fd_threshold"],
                "min_coverage": COHORT["preprocess"]["min_coverage"],
            },
            code=code("report_subjects"),
        message:
            "Writing the pages of the people of {wildcards.dataset}"
        script:
            "../scripts/report_subjects.py"


if RUN.traced:

    rule report_tracts:
        """Make a page for everybody who has diffusion images, the failed too; index.html leads to them."""
        input:
            rows=expand(
                "results/{{dataset}}/tractography/participants/{participant}.tsv",
                participant=RUN.jobs,
            ),
            index="results/{dataset}/tractography/matrices.tsv",
            quality="results/{dataset}/tractography/quality.tsv",
            participants="results/{dataset}/timeseries/participants.tsv",
        output:
            pages="results/{dataset}/report/subjects/index.txt",  # a line a page: as many outputs would slow every plan
        log:
            "results/logs/{dataset}/report_tracts.log",
        benchmark:
            "results/benchmarks/{dataset}/report_tracts.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=2000,
            runtime=30,
        params:
            spec={**COHORT["quality"], "title": COHORT["dataset"]["title"]},
            code=code("report_tracts"),
        message:
            "Writing the pages of the people of {wildcards.dataset}"
        script:
            "../scripts/report_tracts.py"


rule dictionary:
    """Describe every column of every table beside the table, as BIDS does, and all of them in one file."""
    input:
        page="results/{dataset}/report/index.html",
        # a report that was made before this question was asked lacks it, and no other file of it is missing then
        asked=expand(
            "results/{{dataset}}/report/figures/{name}.svg",
            name=("replication",) if RUN.replicated else (),
        ),
    output:
        dictionary="results/{dataset}/dictionary.json",
    log:
        "results/logs/{dataset}/dictionary.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code("dictionary"),
    message:
        "Describing the tables of {wildcards.dataset}"
    script:
        "../scripts/dictionary.py"


onsuccess:
    short = Path(f"results/{DATASET}/report/verdict.txt")
    asked_for = any(job.rule.name == "report" for job in workflow.dag.jobs)
    if asked_for and short.is_file():  # else it may be of an earlier run
        lines = [
            f"- {line}" for line in short.read_text(encoding="utf-8").splitlines()
        ]
        tell("", *lines, f"The report: {short.with_name('index.html').resolve()}")
