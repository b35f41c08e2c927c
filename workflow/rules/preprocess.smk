rule preprocess:
    """Average the BOLD of one participant or of a batch in regions; who fails, fails alone."""
    input:
        receipt="results/{dataset}/acquire/receipts/{participant}.json",
        images=(
            "results/{dataset}/preprocess/fmriprep/{participant}.images"
            if RUN.fmriprep
            else "results/{dataset}/acquire/receipts/{participant}.images"
        ),
        outcome=(
            "results/{dataset}/preprocess/fmriprep/{participant}.json"
            if RUN.fmriprep
            else []
        ),
        atlas=RUN.atlas_files,
        surface=RUN.surface_files,
    output:
        index="results/{dataset}/preprocess/participants/{participant}.tsv",
    log:
        "results/logs/{dataset}/preprocess/{participant}.log",
    priority: 10  # before further downloads, so that few images wait on the disk
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=lambda wildcards: RUN.minutes(wildcards.participant, 120, 5),
    params:
        atlas=COHORT["atlas"],
        preprocess=RUN.reading,
        scan=RUN.left_by_fmriprep,
        log="results/logs/{dataset}/fmriprep/{participant}.log",
        code=code("preprocess"),
    message:
        "Averaging BOLD of {wildcards.participant} in regions"
    script:
        "../scripts/preprocess.py"


rule discard:
    """Delete the fetched images of a job's people once they were preprocessed (acquire.keep=false)."""
    input:
        receipt="results/{dataset}/acquire/receipts/{participant}.json",
        images="results/{dataset}/acquire/receipts/{participant}.images",
        done=(
            "results/{dataset}/preprocess/fmriprep/{participant}.json"
            if RUN.fmriprep
            else f"results/{{dataset}}/{RUN.series_from}/participants/{{participant}}.tsv"
        ),
    output:
        touch("results/{dataset}/preprocess/discarded/{participant}"),
    log:
        "results/logs/{dataset}/discard/{participant}.log",
    priority: 20
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code("discard"),
    message:
        "Deleting the images of {wildcards.participant}"
    script:
        "../scripts/discard.py"


rule preprocess_cohort:
    """Collect the index of everybody's regional series."""
    input:
        rows=expand(
            "results/{{dataset}}/preprocess/participants/{participant}.tsv",
            participant=RUN.jobs,
        ),
        discarded=expand(
            "results/{{dataset}}/preprocess/discarded/{participant}",
            participant=[] if RUN.keep else RUN.jobs,
        ),
        outputs=expand(
            "results/{{dataset}}/preprocess/discarded/{participant}.fmriprep",
            participant=[] if RUN.keep_outputs else RUN.jobs,
        ),
    output:
        index="results/{dataset}/preprocess/series.tsv",
    log:
        "results/logs/{dataset}/preprocess.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        order=RUN.wanted,
        code=code("preprocess_cohort"),
    message:
        "Collecting the regional series of {wildcards.dataset}"
    script:
        "../scripts/preprocess_cohort.py"


if RUN.fmriprep:

    rule fmriprep:
        """Run fMRIPrep for one participant; one that it cannot preprocess fails alone, an interrupted one runs again."""
        input:
            shared="results/{dataset}/acquire/receipts/dataset.json",
            receipt="results/{dataset}/acquire/receipts/{participant}.json",
            images="results/{dataset}/acquire/receipts/{participant}.images",
        output:
            outcome="results/{dataset}/preprocess/fmriprep/{participant}.json",
            images=(
                touch("results/{dataset}/preprocess/fmriprep/{participant}.images")
                if RUN.keep_outputs
                else temp(
                    touch("results/{dataset}/preprocess/fmriprep/{participant}.images")
                )
            ),
        log:
            "results/logs/{dataset}/fmriprep/{participant}.log",
        benchmark:
            "results/benchmarks/{dataset}/fmriprep/{participant}.tsv"
        priority: 10
        retries: 1
        container:
            COHORT["preprocess"]["container"]
        threads: COHORT["preprocess"]["threads"]
        resources:
            mem_mb=lambda wildcards, attempt: attempt * COHORT["preprocess"]["mem_mb"],
            runtime=lambda wildcards, attempt: attempt * COHORT["preprocess"]["runtime"],
            last_attempt=lambda wildcards, attempt: int(attempt > 1),
        params:
            settings={
                key: COHORT["preprocess"][key]
                for key in ("version", "reconall", "space", "options")
            },
            scan={key: COHORT["dataset"].get(key) for key in ("task", "session")},
            # not compared, as it depends on resources: the other parameters tell what changed
            command=lambda wildcards, threads, resources: RUN.fmriprep_words(
                wildcards.participant, threads
            ),
            work=lambda wildcards, resources: RUN.places.work / wildcards.participant,
        message:
            "Preprocessing {wildcards.participant} with fMRIPrep {params.settings[version]}"
        # Codes of fMRIPrep: 1 could not preprocess this participant; 2 wrong command line, 126 no licence, 127 a program
        # is missing: nobody would succeed; above 128 killed by a signal. Interrupted, it ends with 1 too: so the trap.
        # One thread each, as its image says: it counts its own processes, and Snakemake has set this to all. A tenth of
        # the memory is left to what fMRIPrep does not count.
        shell:
            r"""
            exec >{log} 2>&1
            trap "exit 130" INT
            trap "exit 143" TERM
            export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
            if [ ! -d "${{TEMPLATEFLOW_HOME:-/absent}}" ] && [ -d /home/fmriprep/.cache/templateflow ]; then
                export TEMPLATEFLOW_HOME=/home/fmriprep/.cache/templateflow
            fi
            code=0
            if grep -q '^ "problem": "",' {input.receipt}; then
                {params.command} --mem-mb $(({resources.mem_mb} * 9 / 10)) || code=$?
            else
                echo "No scan to preprocess: see {input.receipt}"
            fi
            if [ $code -eq 137 ] && [ {resources.last_attempt} -eq 1 ]; then
                echo "Killed twice: goes on without."
            elif [ $code -eq 2 ] || [ $code -ge 126 ]; then
                exit $code
            elif [ $code -eq 1 ] && grep -qE 'No space left|Disk quota|Too many open files|Stale file|Read-only file' {log}; then
                echo "The machine failed, not the scan: mend it, and run the same command again."
                exit 74
            elif [ $code -eq 0 ]; then
                rm -rf {params.work:q}
            fi
            printf '{{"exit_code": %d}}\n' "$code" >{output.outcome}
            """

    rule discard_outputs:
        """Delete the images that fMRIPrep made once the regional series exist (preprocess.keep_outputs=false)."""
        input:
            images="results/{dataset}/preprocess/fmriprep/{participant}.images",
            series="results/{dataset}/preprocess/participants/{participant}.tsv",
        output:
            touch("results/{dataset}/preprocess/discarded/{participant}.fmriprep"),
        log:
            "results/logs/{dataset}/discard/{participant}.fmriprep.log",
        priority: 20
        localrule: True
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=500,
            runtime=5,
        params:
            code=code("discard_outputs"),
        message:
            "Deleting fMRIPrep's images of {wildcards.participant}"
        script:
            "../scripts/discard_outputs.py"
