# dysconnect: from public scans to disrupted connections, each with an honest error rate.
from snakemake.utils import min_version

min_version("9.16")


include: "workflow/rules/common.smk"


container: os.environ.get("DYSCONNECT_IMAGE")  # none unless somebody names one: docs/how-to/cluster.md


include: "workflow/rules/tracking.smk"
include: "workflow/rules/acquire.smk"
include: "workflow/rules/preprocess.smk"
include: "workflow/rules/tractography.smk"
include: "workflow/rules/timeseries.smk"
include: "workflow/rules/connectivity.smk"
include: "workflow/rules/quality.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/localize.smk"
include: "workflow/rules/attribute.smk"
include: "workflow/rules/stimulate.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/share.smk"
include: "workflow/rules/validate.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


rule all:
    """Make the report of the chosen dataset, and log every experiment to MLflow."""
    default_target: True
    input:
        f"results/{DATASET}/report/index.html",
        f"results/{DATASET}/dictionary.json",
        RUN.shared,
        expand(
            "results/{dataset}/tracking/{run}.json",
            dataset=DATASET,
            run=[*EXPERIMENTS, "localize"],
        ),
    localrule: True
