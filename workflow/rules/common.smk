# What the library knows of this run, for the rules; and what needs Snakemake's own objects.
import os
import shlex
import sqlite3
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "src"))
# Snakemake writes it into the commands of jobs as it is, and a blank in it would end the word
sys.executable = shlex.quote(sys.executable)

from dysconnect.data.measures import STORED
from dysconnect.keeping.address import LOCAL, settle
from dysconnect.keeping.code import digest
from dysconnect.keeping.lock import free_stale_lock, record_run
from dysconnect.keeping.rows import forget_forced
from dysconnect.plan.config import without
from dysconnect.plan.earlier import code_note, settings_note
from dysconnect.plan.machine import check_container, check_disk, check_folders
from dysconnect.plan.overrides import as_typed, refuse_repeated
from dysconnect.plan.run import plan_run
from dysconnect.preprocess.fmriprep import container_environment


def asked(function, *arguments):
    """What a function of the library says; what it refuses ends the run in its words."""
    try:
        return function(*arguments)
    except (ValueError, OSError) as error:
        raise WorkflowError(str(error))


def tell(*lines):
    """Write lines that say something to the terminal."""
    print(*filter(None, lines), sep="\n", end="\n" * any(lines), file=sys.stderr)


@cache
def digest_of(script):
    """Digest of the files of the library that a script reaches, and of the script."""
    return digest(ROOT / f"workflow/scripts/{script}.py")


asked(check_folders, ROOT, Path.cwd())
if workflow.is_main_process:  # a job is given what Snakemake kept
    asked(refuse_repeated, sys.argv[1:])
TYPED = asked(as_typed, config, workflow.config_settings.config_args)
RUN = asked(plan_run, ROOT, TYPED)
if workflow.is_main_process:
    SCRIPTS = [path.stem for path in (ROOT / "workflow/scripts").glob("[!_]*.py")]
    tell(free_stale_lock(Path.cwd()), *asked(RUN.notes), asked(settings_note, RUN))
    tell(code_note(RUN, {digest_of(script) for script in SCRIPTS}))
if RUN.fmriprep:
    os.environ.update(container_environment(RUN.places, Path.cwd(), os.environ))
with suppress(sqlite3.Error):  # whoever logs settles again, and says what is wrong
    settle(LOCAL)  # a project that was moved has its artifacts here
COHORT, EXPERIMENTS = RUN.cohort, RUN.experiments
DATASET, ATLAS = RUN.dataset, RUN.atlas
ENVIRONMENT = str(ROOT / "workflow/envs/dysconnect.yaml")


wildcard_constraints:
    dataset=DATASET,
    atlas=ATLAS,
    measure="|".join(sorted(set(STORED.values()))),
    experiment="|".join(EXPERIMENTS),
    unit="[A-Za-z0-9-]+",
    participant=r"sub-[A-Za-z0-9]+|batch-\d+",


def code(script):
    """Parameter that changes with the code of a rule, wherever the checkout lies: a change reruns the rule."""
    return lambda wildcards: digest_of(script)


def sections(wildcards):
    """The part of an experiment's configuration that its training reads."""
    return RUN.sections(wildcards.experiment)


def transport(wildcards, resources):
    """How to fetch; Snakemake does not record a parameter that depends on resources."""
    return RUN.fetching


def figure(name, caption, category):
    """A figure of the report as SVG, which Snakemake's own report shows, PNG and PDF."""
    path = f"results/{{dataset}}/report/figures/{name}"
    shown = report(f"{path}.svg", caption=f"../report/{caption}.rst", category=category)
    return [shown, f"{path}.png", f"{path}.pdf"]


onstart:
    todo = [(job.rule.name, *job.wildcards) for job in workflow.dag.needrun_jobs()]
    record_run(Path.cwd(), workflow.local_exec and not RUN.fmriprep)
    if RUN.plan and RUN.fetched:
        asked(check_disk, RUN, workflow.cores or 1, todo)
    forget_forced(workflow, RUN.jobs, Path("results") / DATASET)
    if RUN.fmriprep:
        waiting = sum(job[0] == "fmriprep" for job in todo)
        method = workflow.deployment_settings.deployment_method
        wanted = COHORT["preprocess"]["version"], RUN.places, waiting
        tell(asked(check_container, *wanted, DeploymentMethod.APPTAINER in method))
