GIVEN = {
    key: COHORT["localize"][key] for key in ("measure", "prior_circuits", "max_missing")
}


rule sums:
    """Add up the people of one batch of a site: what a linear model of their connections needs."""
    input:
        connectomes=f"results/{{dataset}}/connectivity/{ATLAS}_{COHORT['localize']['measure']}.h5",
        participants="results/{dataset}/timeseries/participants.tsv",
        atlas=RUN.atlas_files,
    output:
        sums=temp("results/{dataset}/share/not_to_be_sent/{batch}.npz"),
    log:
        "results/logs/{dataset}/share/{batch}.log",
    benchmark:
        "results/benchmarks/{dataset}/share/{batch}.tsv"
    wildcard_constraints:
        batch=r"\d+",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        atlas=COHORT["atlas"],
        localize=GIVEN,
        contrast=COHORT["dataset"]["contrast"],
        share={key: RUN.sharing[key] for key in ("columns", "centres", "batches")},
        site=RUN.site,
        code=code("sums"),
    message:
        "Adding up the people of {wildcards.dataset}, batch {wildcards.batch}"
    script:
        "../scripts/sums.py"


rule share:
    """Write the sums of a site for a joined analysis with others, if they give nobody away."""
    input:
        connectomes=f"results/{{dataset}}/connectivity/{ATLAS}_{COHORT['localize']['measure']}.h5",
        participants="results/{dataset}/timeseries/participants.tsv",
        atlas=RUN.atlas_files,
        sums=expand(
            "results/{{dataset}}/share/not_to_be_sent/{batch}.npz",
            batch=range(RUN.sharing["batches"]),
        ),
        models="results/{dataset}/predict/elsewhere.json" if RUN.guests else [],
    output:
        package=f"results/{{dataset}}/share/{RUN.site}.zip",
        page=f"results/{{dataset}}/share/{RUN.site}.html",
    log:
        "results/logs/{dataset}/share.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        atlas=COHORT["atlas"],
        localize=GIVEN,
        dataset=COHORT["dataset"]["name"],
        contrast=COHORT["dataset"]["contrast"],
        share=without(RUN.sharing, "key", "plan"),
        site=RUN.site,
        processing=RUN.processing,
        licence=COHORT["dataset"]["licence"],
        code=code("share"),
    message:
        f"Writing what {RUN.site} gives: results/{{wildcards.dataset}}/share/{RUN.site}.zip"
    script:
        "../scripts/share.py"


rule key:
    """Make the key of a site for a session with others; its secret stays in the project, in private/."""
    input:
        package=f"results/{{dataset}}/share/{RUN.site}.zip",
    output:
        key=f"results/{{dataset}}/share/{RUN.site}.key.json",
    log:
        "results/logs/{dataset}/share_key.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("key"),
    message:
        f"Making a key of {RUN.site}: results/{{wildcards.dataset}}/share/{RUN.site}.key.json"
    script:
        "../scripts/key.py"


rule masked:
    """Answer a plan: sums of circuits under permutations that stay here, masked."""
    input:
        connectomes=f"results/{{dataset}}/connectivity/{ATLAS}_{COHORT['localize']['measure']}.h5",
        participants="results/{dataset}/timeseries/participants.tsv",
        atlas=RUN.atlas_files,
        package=f"results/{{dataset}}/share/{RUN.site}.zip",
        plan=RUN.sharing["plan"] or [],
    output:
        masked=f"results/{{dataset}}/share/{RUN.site}.masked.npz",
        words=f"results/{{dataset}}/share/{RUN.site}.session.txt",
    log:
        "results/logs/{dataset}/share_masked.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        atlas=COHORT["atlas"],
        localize=GIVEN,
        contrast=COHORT["dataset"]["contrast"],
        share={key: RUN.sharing[key] for key in ("columns", "centres")},
        site=RUN.site,
        code=code("masked"),
    message:
        f"Answering {RUN.sharing['plan']}; before anything is sent, compare "
        f"results/{{wildcards.dataset}}/share/{RUN.site}.session.txt with the other sites by phone"
    script:
        "../scripts/masked.py"
