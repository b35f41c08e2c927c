"""The job object of a rule without a run: any script can be stepped through in a notebook (docs/how-to/step.md)."""

import re
from pathlib import Path
from types import SimpleNamespace

from snakemake.api import SnakemakeApi
from snakemake.iocontainers import Snakemake
from snakemake.jobs import Job
from snakemake.settings import types

SNAKEFILE = Path(__file__).resolve().parents[2] / "Snakefile"


def job(rule, config=None, cores=1, **wildcards):
    """Return what a script finds as the global `snakemake` when its rule runs in this folder.

    Parameters
    ----------
    rule : str
        Name of the rule.
    config : dict, optional
        What `--config` would say: ``{"dataset": "local", "overrides": "dataset.root=/data"}``.
    cores : int
        Limit of threads.
    **wildcards
        Of the rule; one that has a single value in this configuration (`dataset`, `atlas`) need not be named.

    Raises
    ------
    snakemake.exceptions.WorkflowError
        Where the configuration cannot be used, or there is no such rule.
    ValueError
        Where a wildcard is missing, or has a value that this configuration does not have.
    """
    settings = {
        "config_settings": types.ConfigSettings(config=config or {}, config_args=[]),
        "workflow_settings": types.WorkflowSettings(exec_mode=types.ExecMode.SUBPROCESS),  # says nothing, as a job
    }
    with SnakemakeApi(types.OutputSettings(quiet={types.Quietness.ALL})) as api:
        workflow = api.workflow(types.ResourceSettings(cores=cores), snakefile=SNAKEFILE, **settings)._workflow
        rule = workflow.get_rule(rule)
        values = {name: _value(rule, name, wildcards.pop(name, None)) for name in sorted(rule.wildcard_names)}
        if wildcards:
            raise ValueError(f"rule {rule.name} has no {', '.join(wildcards)}: its wildcards are {', '.join(values)}")
        made = Job(rule, SimpleNamespace(workflow=workflow), values)  # the rule as it is expanded, and no other job
        parts = made.input, made.output, made.params, made.wildcards, made.threads, made.resources, made.log
        return Snakemake(*parts, workflow.config, rule.name, None, str(SNAKEFILE.parent / "workflow/scripts"))


def _value(rule, name, value):
    """Check the value of a wildcard, or take the only one."""
    known = rule.workflow.wildcard_constraints.get(name, ".+")
    if value is None and re.fullmatch(r"[\w-]+", known):
        return known
    if value is None or not re.fullmatch(known, value):
        given = f"{name}={value}" if value else f"no {name}"
        raise ValueError(f"rule {rule.name} is given {given}: {known.replace('|', ', ')}")
    return value
