# Compose the configuration once; the only Python among the rules.
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "src"))

from dysconnect.__main__ import compose_workflow
from dysconnect.acquire import source_files
from dysconnect.config import STORED, training_sections

try:
    COHORT, EXPERIMENTS = compose_workflow(
        ROOT / "configs", ROOT / "workflow/schemas/config.schema.json", config
    )
    SOURCES = source_files(COHORT["dataset"])
except (ValueError, FileNotFoundError) as error:
    raise WorkflowError(str(error))

DATASET = COHORT["dataset"]["name"]
ATLAS = COHORT["atlas"]["name"]
ENVIRONMENT = str(ROOT / "workflow/envs/dysconnect.yaml")
IMAGES = COHORT["dataset"]["kind"] == "derivatives"
PLANTED = COHORT["dataset"]["plant"] is not None


wildcard_constraints:
    dataset=DATASET,
    atlas=ATLAS,
    measure="|".join(sorted(set(STORED.values()))),
    experiment="|".join(EXPERIMENTS),


def library(*modules):
    """Files of the library that a stage uses: a change in one of them reruns the stage."""
    places = [ROOT / "src/dysconnect" / module for module in modules]
    files = [
        (
            [place.with_suffix(".py")]
            if place.with_suffix(".py").exists()
            else place.rglob("*.*")
        )
        for place in places
    ]
    return sorted(
        str(file)
        for group in files
        for file in group
        if file.suffix in {".py", ".tsv", ".html", ".css"}
    )


def connectome_file(experiment):
    """Connectomes that an experiment is trained on."""
    measure = STORED[EXPERIMENTS[experiment]["connectivity"]["measure"]]
    return f"results/{DATASET}/connectivity/{ATLAS}_{measure}.h5"


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
    """A figure of the report, as Snakemake's own report shows it."""
    path = f"results/{{dataset}}/report/figures/{name}.svg"
    return report(path, caption=f"../report/{caption}.rst", category=category)
