TESTED = (
    "measure",
    "nuisance",
    "permutations",
    "permutation",
    "device",
    "alpha",
    "thresholds",
    "prior_circuits",
    "prior",
    "stability_draws",
    "stability_top",
    "max_missing",
    "seed",
)
ASSOCIATED = ("measure", "nuisance", "permutations", "alpha", "max_missing", "seed")

COMBINED = (
    "nuisance",
    "permutations",
    "alpha",
    "thresholds",
    "prior_circuits",
    "max_missing",
    "seed",
)


rule localize:
    """Test every edge for a group difference, with nuisance covariates and a family-wise error rate."""
    input:
        connectomes=f"results/{{dataset}}/connectivity/{ATLAS}_{COHORT['localize']['measure']}.h5",
        participants="results/{dataset}/timeseries/participants.tsv",
        atlas=RUN.atlas_files,
    output:
        edges="results/{dataset}/localize/edges.tsv",
        components="results/{dataset}/localize/components.tsv",
        circuits="results/{dataset}/localize/circuits.tsv",
        power="results/{dataset}/localize/power.tsv",
        points="results/{dataset}/localize/points.tsv",
        regional="results/{dataset}/localize/regional.tsv",
        summary="results/{dataset}/localize/summary.json",
    log:
        "results/logs/{dataset}/localize.log",
    benchmark:
        "results/benchmarks/{dataset}/localize.tsv"
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=8000,
        runtime=60,
        gpu=int(COHORT["localize"]["device"].startswith("cuda")),
    params:
        atlas=COHORT["atlas"],
        localize={key: COHORT["localize"][key] for key in TESTED},
        contrast=COHORT["dataset"]["contrast"],
        code=code("localize"),
    message:
        "Testing every edge of {wildcards.dataset}"
    script:
        "../scripts/localize.py"


rule deviations:
    """Compare every person with the norm of the controls, given age, sex, site and motion."""
    input:
        connectomes=f"results/{{dataset}}/connectivity/{ATLAS}_{COHORT['localize']['measure']}.h5",
        participants="results/{dataset}/timeseries/participants.tsv",
        atlas=RUN.atlas_files,
    output:
        people="results/{dataset}/localize/people.tsv",
        circuits="results/{dataset}/localize/people_circuits.tsv",
        edges="results/{dataset}/localize/people_edges.tsv",
    log:
        "results/logs/{dataset}/deviations.log",
    benchmark:
        "results/benchmarks/{dataset}/deviations.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        atlas=COHORT["atlas"],
        localize={
            key: COHORT["localize"][key]
            for key in ("measure", "nuisance", "alpha", "max_missing", "deviant_edges")
        },
        contrast=COHORT["dataset"]["contrast"],
        code=code("deviations"),
    message:
        "Comparing every person of {wildcards.dataset} with the norm of the controls"
    script:
        "../scripts/deviations.py"


rule severity:
    """Test every edge for an association with a score inside the patients, with a family-wise error rate."""
    input:
        connectomes=f"results/{{dataset}}/connectivity/{ATLAS}_{COHORT['localize']['measure']}.h5",
        participants="results/{dataset}/timeseries/participants.tsv",
        atlas=RUN.atlas_files,
    output:
        edges="results/{dataset}/localize/severity.tsv",
        summary="results/{dataset}/localize/severity.json",
    log:
        "results/logs/{dataset}/severity.log",
    benchmark:
        "results/benchmarks/{dataset}/severity.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        atlas=COHORT["atlas"],
        localize={key: COHORT["localize"][key] for key in ("score", *ASSOCIATED)},
        contrast=COHORT["dataset"]["contrast"],
        code=code("severity"),
    message:
        f"Testing every edge of {{wildcards.dataset}} for {COHORT['localize']['score']} in the patients"
    script:
        "../scripts/severity.py"


rule group_differences:
    """Test every edge for any difference between several groups, with a family-wise error rate."""
    input:
        connectomes=f"results/{{dataset}}/connectivity/{ATLAS}_{COHORT['localize']['measure']}.h5",
        participants="results/{dataset}/timeseries/participants.tsv",
        atlas=RUN.atlas_files,
    output:
        edges="results/{dataset}/localize/groups.tsv",
        summary="results/{dataset}/localize/groups.json",
    log:
        "results/logs/{dataset}/group_differences.log",
    benchmark:
        "results/benchmarks/{dataset}/group_differences.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        atlas=COHORT["atlas"],
        localize={key: COHORT["localize"][key] for key in ("groups", *ASSOCIATED)},
        code=code("group_differences"),
    message:
        "Testing every edge of {wildcards.dataset} for differences between groups"
    script:
        "../scripts/group_differences.py"


rule joint:
    """Test every edge for a group difference in any of several maps, or in all of them together."""
    input:
        connectomes=[files["connectomes"] for files in RUN.pictures.values()],
        participants=[files["participants"] for files in RUN.pictures.values()],
        atlas=RUN.atlas_files,
    output:
        edges="results/{dataset}/localize/joint.tsv",
        components="results/{dataset}/localize/joint_components.tsv",
        circuits="results/{dataset}/localize/joint_circuits.tsv",
        summary="results/{dataset}/localize/joint.json",
    log:
        "results/logs/{dataset}/joint.log",
    benchmark:
        "results/benchmarks/{dataset}/joint.tsv"
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        atlas=COHORT["atlas"],
        localize={key: COHORT["localize"][key] for key in COMBINED},
        pictures=RUN.pictures,
        contrast=COHORT["dataset"]["contrast"],
        code=code("joint"),
    message:
        f"Testing every edge of {{wildcards.dataset}} in {', '.join(RUN.pictures)} together"
    script:
        "../scripts/joint.py"


rule replicate:
    """Call edges in one part of the people, and look at them in sites that had no part in the choice."""
    input:
        connectomes=f"results/{{dataset}}/connectivity/{ATLAS}_{COHORT['localize']['measure']}.h5",
        participants="results/{dataset}/timeseries/participants.tsv",
        atlas=RUN.atlas_files,
    output:
        edges="results/{dataset}/localize/replication.tsv",
        summary="results/{dataset}/localize/replication.json",
    log:
        "results/logs/{dataset}/replicate.log",
    benchmark:
        "results/benchmarks/{dataset}/replicate.tsv"
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        atlas=COHORT["atlas"],
        localize={
            key: COHORT["localize"][key]
            for key in ("replicate", "stability_top", *ASSOCIATED)
        },
        contrast=COHORT["dataset"]["contrast"],
        code=code("replicate"),
    message:
        "Calling edges of {wildcards.dataset} in one part of the people, and looking at them in the other"
    script:
        "../scripts/replicate.py"


rule recovery:
    """Score the localization against the planted truth."""
    input:
        edges="results/{dataset}/localize/edges.tsv",
        truth="results/{dataset}/acquire/truth.tsv",
    output:
        recovery="results/{dataset}/localize/recovery.tsv",
    log:
        "results/logs/{dataset}/recovery.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        alpha=COHORT["localize"]["alpha"],
        code=code("recovery"),
    message:
        "Comparing the edges found with the planted truth"
    script:
        "../scripts/recovery.py"
