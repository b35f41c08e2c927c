"""What does not fit together, refused before anything is fetched or computed."""

import sys
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from math import ceil
from pathlib import Path

from dysconnect.acquire.diffusion import is_diffusion
from dysconnect.acquire.scan import RAW_ENGINES
from dysconnect.data.images.spaces import TEMPLATE_SPACE, refuse_other_space, refuse_without_surface
from dysconnect.data.labelled import pretraining
from dysconnect.data.matrices import CONTENTS, TRACED
from dysconnect.data.measures import MEASURES, STORED, measure_of
from dysconnect.data.structure import graph_files, refuse_as_graph
from dysconnect.keeping.place import SHARED_FOLDERS
from dysconnect.models.cards import CARDS
from dysconnect.plan.config import ConfigError, nearest, training_sections
from dysconnect.plan.pictures import measure_named
from dysconnect.preprocess.fmriprep import check_fmriprep, template_of

ANSWERS = ("group", "participant_id", "label", "included", "exclusion_reason")  # of participants.tsv: never covariates
COVARIATES = ("dataset.covariates", "localize.nuisance", "stimulate.covariates")


def check_engine(dataset: dict, spec: dict, atlas: dict) -> None:
    """Refuse an engine or an atlas that does not fit the images, or that is not installed, before anything is fetched.

    Raises
    ------
    ValueError
        Says which engine fits, or how to install it.
    """
    engine, kind = spec["engine"], dataset["kind"]
    fitting = {"bids": RAW_ENGINES, "derivatives": ("derivatives",)}.get(kind, (engine,))
    if kind in ("local", "matrices") and engine in RAW_ENGINES:
        what = "regional series" if kind == "local" else "matrices of connections"
        raise ValueError(
            f"preprocess={engine} is for raw images, but dataset.root={dataset['root']} holds none (of this task) and "
            f"is read as {what}. Leave preprocess out, or give the folder of the raw images."
        )
    if engine not in fitting:
        raise ValueError(
            f"preprocess={engine} does not fit dataset={dataset['name']}, whose images are "
            f"{'raw' if kind == 'bids' else 'preprocessed already'}. Add --config preprocess={' or '.join(fitting)}."
        )
    if engine == "ants" and kind == "bids" and find_spec("ants") is None:
        raise ValueError(
            f"preprocess=ants needs antspyx: {_ants_for(sys.version_info)}. "
            "Or preprocess with the container of fMRIPrep: --sdm apptainer --config preprocess=fmriprep."
        )
    if kind == "bids" and engine == "fmriprep":
        check_fmriprep(spec)
    if kind in ("bids", "derivatives"):
        _refuse_other_atlas(dataset, spec, atlas)


def _ants_for(version: tuple[int, ...]) -> str:
    """How to get antspyx for a version of Python; the versions that fit have no wheel for every one."""
    if version < (3, 13):
        return "pip install -e '.[imaging]' -c requirements.lock"
    return "it has no wheel for Python 3.13, so use 3.12 (make run PYTHON=python3.12 VENV=.venv312)"


def _refuse_other_atlas(dataset: dict, spec: dict, atlas: dict) -> None:
    """Refuse an atlas in another space than the images have, or will have."""
    what, key = f"dataset={dataset['name']}", "dataset.space"
    if dataset["kind"] == "derivatives":
        space = dataset["space"]
    elif spec["engine"] == "fmriprep":
        space, what, key = template_of(spec["space"]), f"preprocess.space={spec['space']}", "preprocess.space"
    else:
        space = TEMPLATE_SPACE
    refuse_other_space(space, atlas.get("space"), what, key)
    refuse_without_surface(space, atlas, what)


def check_pretraining(experiments: Mapping[str, Mapping], dataset: str) -> None:
    """Refuse to pretrain on files that are not there, or on the data set that is classified.

    Raises
    ------
    ConfigError
        With the command that makes the files.
    """
    for name, config in experiments.items():
        spec = pretraining(training_sections(config))
        absent = [spec[key] for key in ("connectomes", "participants") if spec and not Path(spec[key]).exists()]
        where = Path(spec["connectomes"]).parent if spec else Path()
        source = where.parent.name if where.name == "connectivity" else "NAME"
        if source == dataset:
            raise ConfigError(
                f"experiment {name} is pretrained on {source}, which is the data set to classify. Choose another with "
                "--config dataset=NAME, or another file in training.pretrain.connectomes."
            )
        if absent:
            raise ConfigError(
                f"experiment {name} is pretrained on {' and '.join(absent)}: not there yet. First run, in this folder, "
                f"`snakemake --config dataset={source} --until connectivity`, then this command again."
            )


def check_graphs(experiments: Mapping[str, Mapping]) -> None:
    """Refuse graphs of other connectomes that are not there, are no graph, or that a network does not use.

    Raises
    ------
    ConfigError
        With what to change, or the command that makes the files.
    """
    for name, config in experiments.items():
        sections = training_sections(config)
        files = graph_files(sections)
        if not files:
            continue
        if "graph" not in CARDS[config["model"]["name"]].needs or sections["training"].get("pretrain"):
            why = "pretrained" if sections["training"].get("pretrain") else "without a graph"
            raise ConfigError(
                f"experiment {name}: model={config['model']['name']} is {why}, and graph.connectomes is set. Choose a "
                "network such as gcn or gat from random weights, or leave graph.connectomes out."
            )
        path = Path(files["connectomes"])
        absent = [file for file in files.values() if not Path(file).exists()]
        if absent:
            raise ConfigError(
                f"experiment {name} has graphs of {' and '.join(absent)}: not there yet. First run, in this folder, "
                f"`snakemake --config dataset={path.parent.parent.name} connectivity={measure_named(path)} "
                "--until connectivity`, then this command again."
            )
        if (measure := measure_named(path)) in STORED.values():  # a file of another name says it when it is read
            refuse_as_graph(measure, path)


def check_source(cohort: Mapping, experiments: Mapping[str, Mapping]) -> None:
    """Refuse a measure of streamlines, or of other people's tools, where there are neither, before any job.

    Raises
    ------
    ConfigError
        Says where it comes from.
    """
    dataset = cohort["dataset"]
    if dataset["kind"] == "matrices" or is_diffusion(dataset):
        return
    asked = [cohort["localize"]["measure"], *(config["connectivity"]["measure"] for config in experiments.values())]
    given = next((measure for measure in asked if MEASURES[measure].given), None)
    if given:
        raise ConfigError(
            f"{given} is computed from no series: it comes as matrices (dataset=local, docs/how-to/matrices.md) or of "
            f"diffusion images (dataset=ds006395_dwi). dataset={dataset['name']} has neither. Choose another "
            "connectivity."
        )


def check_given(experiments: Mapping[str, Mapping], content: str) -> None:
    """Refuse experiments that need another measure than matrices of a content give, before any job.

    Raises
    ------
    ConfigError
        With the experiments of this run that go.
    """
    measures = {name: config["connectivity"]["measure"] for name, config in experiments.items()}
    blind = [name for name, config in experiments.items() if config["model"]["name"] == "floor"]
    given = CONTENTS[content].measures
    wrong = [name for name, measure in measures.items() if name not in blind and measure not in given]
    if wrong:
        going = [*(name for name in experiments if name not in wrong)]
        raise ConfigError(
            f"{', '.join(wrong)} {'needs' if len(wrong) == 1 else 'need'} {measures[wrong[0]]}, which is computed from "
            f"series; the matrices give {' or '.join(given)}. Choose experiments that see it: --config "
            f"experiment={','.join([*going, 'ridge', 'logistic'] if len(going) < 2 else going)}"
        )


def check_tracts(cohort: Mapping) -> None:
    """Refuse what diffusion images cannot give, before any job.

    Raises
    ------
    ConfigError
        For a measure that streamlines do not give, an atlas without label image, or another engine than `ants`.
    """
    measure, engine = cohort["localize"]["measure"], cohort["preprocess"]["engine"]
    if measure not in TRACED:
        raise ConfigError(
            f"dataset={cohort['dataset']['name']} is diffusion images, which give no {measure}. Choose --config "
            f"connectivity={' or '.join(TRACED)}."
        )
    if "image" not in cohort["atlas"]:
        raise ConfigError(
            f"atlas={cohort['atlas']['name']} has spheres, and streamlines end between them. Choose one with a label "
            "image: --config atlas=wholebrain100."
        )
    if engine != "ants":
        raise ConfigError(f"preprocess={engine}: diffusion images need preprocess=ants, which registers their T1w.")
    check_validation(cohort)


def check_validation(cohort: Mapping) -> None:
    """Refuse a validation that cannot be made, before any job.

    Raises
    ------
    ConfigError
        Says what to change.
    """
    spec, dataset = cohort["validate"], cohort["dataset"]
    if not any(spec["cohorts"].values()):
        return
    if dataset["kind"] in ("table", "matrices"):
        raise ConfigError(
            f"dataset={dataset['name']} holds connections without series, and the validation plants in series. "
            "Leave validate_localization out, or choose another dataset."
        )
    measure = measure_of(cohort["localize"]["measure"])
    if measure.timed:
        raise ConfigError(
            f"the validation plants in series of rest, whatever time it is, and connectivity={measure.name} depends on "
            "when volumes were taken. Leave validate_localization out, or choose connectivity=correlation."
        )
    needed = ceil(1 / cohort["localize"]["alpha"]) - 1
    if spec["permutations"] < needed:
        raise ConfigError(
            f"validate.permutations: {spec['permutations']} give no p as small as localize.alpha; {needed} or more do."
        )


def check_values(cohort: Mapping) -> None:
    """Refuse what is well-formed and cannot be meant, before any job.

    Raises
    ------
    ConfigError
        When the dataset's name is that of another folder of the results, a group is case and control, what is to be
        predicted is a covariate, or the permutations are too few for alpha.
    """
    name = cohort["dataset"]["name"]
    if name.lower() in SHARED_FOLDERS:
        raise ConfigError(f"dataset.name: results/{name} is a folder of the workflow's own. Choose another name.")
    _check_contrast(cohort["dataset"]["contrast"])
    for key in COVARIATES:
        section, _, setting = key.partition(".")
        _check_covariates(key, cohort[section][setting])
    _check_permutations(cohort["localize"])


def _check_permutations(spec: Mapping) -> None:
    needed = ceil(1 / spec["alpha"]) - 1
    if spec["permutations"] < needed:
        raise ConfigError(
            f"localize.permutations: {spec['permutations']} give no p as small as localize.alpha = {spec['alpha']:g}; "
            f"{needed:,} or more do."
        )


def _check_contrast(contrast: Mapping[str, Sequence[str]]) -> None:
    cases, controls = ({name.strip().lower(): name for name in contrast[side]} for side in ("cases", "controls"))
    empty = [side for side in ("cases", "controls") if not all(name.strip() for name in contrast[side])]
    if empty:
        raise ConfigError(f"dataset.contrast.{empty[0]}: a group has no name.")
    both = [f"{cases[name]!r} and {controls[name]!r}" for name in cases if name in controls]
    if both:
        raise ConfigError(
            f"dataset.contrast: {both[0]} are one group, which is among the cases and among the controls. "
            "Leave it out of one of them."
        )


def _check_covariates(key: str, covariates: Sequence[str]) -> None:
    for number, name in enumerate(covariates):
        if name.strip().lower().removeprefix("log_") in ANSWERS:
            raise ConfigError(f"{key}: {name} tells the group or who is left out, and is no covariate. Leave it out.")
        if not name.strip() or name in covariates[:number]:
            raise ConfigError(f"{key}: {name!r} is {'there twice' if name.strip() else 'no name of a column'}.")
    if key == "dataset.covariates" and "log_mean_fd" in covariates:
        raise ConfigError(
            f"{key}: log_mean_fd is nobody's column; the tests take the logarithm: put it into localize.nuisance."
        )


def check_asked(
    cohort: Mapping, experiments: Mapping[str, Mapping], known: Sequence[str], typed: Collection[str]
) -> None:
    """Refuse an experiment that is to be asked for targets or maps and is not there.

    Parameters
    ----------
    cohort, experiments : mapping
    known : sequence of str
        Experiments that there are.
    typed : collection of str
        Keys of the overrides: what was named by hand must also be chosen.

    Raises
    ------
    ConfigError
        With the nearest name, or how to choose it, or what else could be asked.
    """
    floor = cohort["evaluate"]["floor"]
    if experiments[floor]["model"]["name"] != "floor" or experiments[floor]["model"].get("regional"):
        raise ConfigError(f"evaluate.floor: {floor} sees more than covariates, and no floor does.")
    for key in ("localize.attribution", "stimulate.experiment"):
        section, _, setting = key.partition(".")
        name = cohort[section][setting]
        if name is not None and name not in known:
            raise ConfigError(f"{key}: there is no experiment {name!r}{nearest(name, known)}")
        if name is not None and name not in experiments and key in typed:
            raise ConfigError(
                f"{key}: {name} is not among the experiments of this run ({', '.join(experiments)}). Add it: "
                f"--config experiment={','.join([*experiments, name])}"
            )
    name = cohort["stimulate"]["experiment"]
    if name in experiments and MEASURES[experiments[name]["connectivity"]["measure"]].tangent:
        raise ConfigError(
            f"stimulate.experiment: {name} sees the tangent space, where no single connection can be edited. Choose "
            "one that sees the connections themselves, as correlation_ridge or correlation_gcn."
        )
    if name in experiments and training_sections(experiments[name])["graph"].get("connectomes"):
        raise ConfigError(
            f"stimulate.experiment: {name} has graphs of other connectomes (graph.connectomes), and cannot be asked. "
            "Choose one without, as correlation_ridge or correlation_gcn."
        )


def check_share(share: Mapping, name: str) -> None:
    """Refuse sums of a site that has no name or nobody to ask, or of a measure that sums do not hold."""
    measure = measure_of(name)
    if share["what"] == "off":
        return
    asked = {"site": "the name of your site among the others, such as kiel", "contact": "whom others may write to"}
    for key, meaning in asked.items():
        if not share[key]:
            raise ConfigError(f"share.{key} is not given: {meaning}. Add share.{key}=... to the overrides.")
    if measure.adjusted or measure.everywhere:
        raise ConfigError(
            f"connectivity={measure.name} is tested beside the values of every person's regions, which sums do not "
            "hold. Share another measure."
        )
