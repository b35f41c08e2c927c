# Compose the configuration once; the only Python among the rules.
import os
import shlex
import shutil
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

from dysconnect.plan.compose import compose_workflow
from dysconnect.plan.checks import check_engine
from dysconnect.acquire import kind_of, list_folder_of, source_files
from dysconnect.acquire.images import (
    SHARED,
    plan_images,
    plan_scans,
    room_needed,
    users_files,
)
from dysconnect.acquire.people import people_notes
from dysconnect.acquire.scan import SETTINGS
from dysconnect.fetching import check_room
from dysconnect.acquire.withdrawn import read_withdrawn
from dysconnect.keeping.address import LOCAL, choose_uri, settle, shown
from dysconnect.keeping.code import digest
from dysconnect.data.measures import STORED
from dysconnect.plan.config import (
    check_pretraining,
    check_validation,
    pretraining,
    training_sections,
)
from dysconnect.models import GRAPH_MODELS
from dysconnect.plan.overrides import as_typed, refuse_repeated
from dysconnect.keeping.place import portable
from dysconnect.preprocess.fmriprep import (
    bound_folders,
    container_environment,
    find_places,
    fmriprep_command,
    places_sentence,
)

if set("{}") & set(f"{ROOT}{Path.cwd()}"):
    raise WorkflowError(
        f"Snakemake reads braces in a path as wildcards: rename {ROOT} or {Path.cwd()}."
    )

try:
    if workflow.is_main_process:  # a job is given what Snakemake kept
        refuse_repeated(sys.argv[1:])
    COHORT, EXPERIMENTS = compose_workflow(
        ROOT / "configs",
        ROOT / "workflow/schemas/config.schema.json",
        as_typed(config, workflow.config_settings.config_args),
    )
    # a project that was moved has the same settings
    COHORT, EXPERIMENTS = portable(COHORT), portable(EXPERIMENTS)
    # how to fetch is nobody's parameter: another mirror is no reason to run anything again
    FETCHING = [own.pop("acquire") for own in (COHORT, *EXPERIMENTS.values())][0]
    LISTING = list_folder_of(COHORT["dataset"])
    KIND = COHORT["dataset"]["kind"] = kind_of(
        COHORT["dataset"], LISTING, COHORT["preprocess"]["engine"]
    )
    check_engine(COHORT["dataset"], COHORT["preprocess"], COHORT["atlas"])
    check_pretraining(EXPERIMENTS, COHORT["dataset"]["name"])
    check_validation(COHORT)
    TRACKING = shown(choose_uri(COHORT["tracking"]["uri"]))  # without a password
    SOURCES = source_files(COHORT["dataset"], LISTING)
    IMAGES = KIND in ("bids", "derivatives")
    FMRIPREP = KIND == "bids" and COHORT["preprocess"]["engine"] == "fmriprep"
    WITHDRAWN = read_withdrawn(Path.cwd(), COHORT["dataset"]["name"])
    ASKED = COHORT["dataset"] | {"withdrawn": WITHDRAWN}  # no parameter of other rules
    if IMAGES:
        PLAN = plan_images(ASKED, FETCHING, ROOT / "configs/manifest")
        SCAN = {key: COHORT["dataset"].get(key) for key in SETTINGS} | {
            "engine": COHORT["preprocess"]["engine"]
        }
        SCANS = plan_scans(PLAN, SCAN, LISTING)
    if workflow.is_main_process:
        NOTES = PLAN.notes if IMAGES else people_notes(ASKED)
        print(*NOTES, sep="\n", end="\n" * bool(NOTES), file=sys.stderr)
    if FMRIPREP:
        PLACES = find_places(
            COHORT["preprocess"],
            PLAN.folder,
            COHORT["dataset"]["name"],
            complete=bool(COHORT["dataset"]["root"]),
        )
        os.environ.update(container_environment(PLACES, Path.cwd(), os.environ))
except (ValueError, OSError) as error:
    raise WorkflowError(str(error))

with suppress(sqlite3.Error):  # whoever logs settles again, and says what is wrong
    settle(LOCAL)  # a project that was moved has its artifacts here
DATASET = COHORT["dataset"]["name"]
ATLAS = COHORT["atlas"]["name"]
ENVIRONMENT = str(ROOT / "workflow/envs/dysconnect.yaml")
TABLE = KIND == "table"  # connections as numbers, no series
INDEX = "edges" if TABLE else "series"
WANTED = PLAN.wanted if IMAGES else []
UNITS = [SHARED, *WANTED] if IMAGES else []
FETCHED = KIND != "simulated" and not COHORT["dataset"]["root"]
KEEP = FETCHING["keep"] or not FETCHED
READING = {  # what a participant's series depend on; of fMRIPrep's settings only where its outputs are
    key: value
    for key, value in COHORT["preprocess"].items()
    if not FMRIPREP or key in ("engine", "min_coverage", "space")
}
LEFT_BY_FMRIPREP = {  # how its BOLD is found
    "kind": "derivatives",
    **{
        key: COHORT["dataset"].get(key)
        for key in ("task", "session", "run", "entities")
    },
    "space": COHORT["preprocess"].get("space", "").split(":")[0],
}
KEEP_OUTPUTS = COHORT["preprocess"].get("keep_outputs", True)
ATLAS_FILES = (
    [COHORT["atlas"]["nodes"], COHORT["atlas"]["image"]]
    if "image" in COHORT["atlas"]
    else []
)
ON_SURFACE = COHORT["preprocess" if FMRIPREP else "dataset"].get("space") == "fsLR"
SURFACE_FILES = (
    [COHORT["atlas"]["surface"]]
    if ON_SURFACE and COHORT["atlas"].get("surface")
    else []
)
PLANTED = COHORT["dataset"]["plant"] is not None
VALIDATED = any(COHORT["validate"]["cohorts"].values())


wildcard_constraints:
    dataset=DATASET,
    atlas=ATLAS,
    measure="|".join(sorted(set(STORED.values()))),
    experiment="|".join(EXPERIMENTS),
    unit="[A-Za-z0-9-]+",
    participant="sub-[A-Za-z0-9]+",


@cache
def digest_of(script):
    """Digest of the files of the library that a script reaches, and of the script."""
    return digest(ROOT / f"workflow/scripts/{script}.py")


def code(script):
    """Parameter that changes with the code of a rule, wherever the checkout lies: a change reruns the rule."""
    return lambda wildcards: digest_of(script)


def connectome_file(experiment):
    """Connectomes that an experiment is trained on."""
    measure = STORED[EXPERIMENTS[experiment]["connectivity"]["measure"]]
    return f"results/{DATASET}/connectivity/{ATLAS}_{measure}.h5"


def pretraining_files(experiment):
    """Connectomes and people of another data set that an experiment is pretrained on."""
    own = pretraining(training_sections(EXPERIMENTS[experiment]))
    return [own["connectomes"], own["participants"]] if own else []


def gpus(wildcards):
    """How many GPUs an experiment asks for: graph networks one, unless training.device=cpu."""
    own = EXPERIMENTS[wildcards.experiment]
    wanted = own["training"]["device"] != "cpu"
    return int(own["model"]["name"] in GRAPH_MODELS and wanted)


def bundle_file(experiment):
    """What predicts a new person with the models of an experiment; the floor has none of its own."""
    return (
        [f"results/{DATASET}/predict/{experiment}.npz"] if experiment in BUNDLED else []
    )


def estimator(measure):
    """Covariance estimator of a stored measure; two experiments must not ask for different ones."""
    own = {
        experiment["connectivity"]["estimator"]
        for experiment in [COHORT, *EXPERIMENTS.values()]
        if STORED[experiment["connectivity"]["measure"]] == measure
    }
    if len(own) > 1:
        raise WorkflowError(
            f"connectivity.estimator of {measure} is {' and '.join(sorted(own))} in different experiments. "
            "Use one for all of them."
        )
    return (
        own.pop() if own else {"correlation": "empirical"}.get(measure, "ledoit_wolf")
    )


def without(config, *sections):
    """A configuration without the sections that a rule does not concern."""
    return {name: value for name, value in config.items() if name not in sections}


def learning(experiments):
    """Experiments that train in epochs and so leave a learning curve."""
    return [
        name
        for name in experiments
        if "epochs" in training_sections(experiments[name])["training"]
    ]


def figure(name, caption, category):
    """A figure of the report as SVG, which Snakemake's own report shows, and as PNG."""
    path = f"results/{{dataset}}/report/figures/{name}"
    shown = report(f"{path}.svg", caption=f"../report/{caption}.rst", category=category)
    return [shown, f"{path}.png"]


def batches():
    """Names of the batches of cohorts of the validation."""
    spec = COHORT["validate"]
    return [
        f"{part}_{batch}"
        for part, count in spec["cohorts"].items()
        for batch in range(-(-count // spec["batch"][part]))
    ]


def cohorts_of(wildcards):
    """Numbers of the cohorts of a batch of the validation."""
    size, count = (
        COHORT["validate"][key][wildcards.part] for key in ("batch", "cohorts")
    )
    start = int(wildcards.batch) * size
    return list(range(start, min(start + size, count)))


def files_of(wildcards):
    """Files of a unit with their addresses, sizes and hashes: when one of them changes, that unit is fetched again."""
    return PLAN.units[wildcards.unit]


def size_of(wildcards):
    """Size of a unit, for people."""
    files = PLAN.units[wildcards.unit]
    return (
        f"{len(files)} files, {sum(file['bytes'] or 0 for file in files) / 1e6:,.0f} MB"
    )


def users_own(wildcards):
    """Files of a unit in the user's own folder."""
    return users_files(COHORT["dataset"], PLAN, SCANS, wildcards.unit)


def scan_settings(wildcards):
    """The part of the dataset's configuration that describes a scan."""
    return SCAN


def settings_of_series(wildcards, resources):
    """Settings that made what connectomes are computed from, for the record; the rules before have them as parameters."""
    own = {name: COHORT[name] for name in ("dataset", "atlas", "denoise")}
    return own | ({"preprocess": READING} if IMAGES else {})


def transport(wildcards, resources):
    """How to fetch; Snakemake does not record a parameter that depends on resources."""
    return FETCHING


def fmriprep_words(wildcards, threads, resources):
    """Command line of fMRIPrep; not recorded, as it depends on resources: other parameters tell what changed."""
    return fmriprep_command(
        COHORT["preprocess"], COHORT["dataset"], wildcards.participant, PLACES, threads
    )


def more_memory(wildcards, attempt):
    """Memory of fMRIPrep, MB: twice as much after it was killed."""
    return attempt * COHORT["preprocess"]["mem_mb"]


def more_time(wildcards, attempt):
    """Minutes of fMRIPrep: twice as many after it was killed; it resumes."""
    return attempt * COHORT["preprocess"]["runtime"]


def check_fmriprep_runs():
    """Stop before the first job where fMRIPrep must run and is not there; else say what its container will see."""
    waiting = [
        job for job in workflow.dag.needrun_jobs() if job.rule.name == "fmriprep"
    ]
    if not waiting:
        return
    version, n = COHORT["preprocess"]["version"], len(waiting)
    if DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method:
        bound = places_sentence(bound_folders(PLACES, Path.cwd()))
        print(
            f"fMRIPrep {version}: {n} participants, in the container; {bound}.",
            file=sys.stderr,
        )
    elif not shutil.which("fmriprep"):
        raise WorkflowError(
            f"fMRIPrep is to run for {n} participants, and is not installed here. Add --sdm apptainer to the command "
            "(needs Apptainer or Singularity), also when only a later step is to be made again."
        )


def check_disk():
    """Stop before the first job where the disk is too small, and say what is needed."""
    if IMAGES and FETCHED:
        needed = room_needed(PLAN, KEEP, workflow.cores or 1)
        try:
            check_room(needed, PLAN.folder)
        except OSError as error:
            raise WorkflowError(
                f"{error.strerror}. Add to the overrides acquire.folder=/larger/disk, dataset.limit=4 for a first try, "
                f"or acquire.keep=false, which deletes a participant's images once the regional series exist."
            )
