# dysconnect: from public scans to disrupted connections, each with an honest error rate.
from snakemake.utils import min_version

min_version("9.16")


include: "workflow/rules/common.smk"

include: "workflow/rules/acquire.smk"
include: "workflow/rules/timeseries.smk"
include: "workflow/rules/connectivity.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/localize.smk"






rule all:
    """Make the report of the chosen dataset."""
    default_target: True
    localrule: True
    input:
        f"results/{DATASET}/localize/recovery.tsv", f"results/{DATASET}/evaluate/scores.tsv",
