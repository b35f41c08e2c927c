"""Compose the configuration for the workflow; and Hydra's own multirun, for scratch sweeps over models.

``python -m dysconnect -m model=gcn,ridge training.lr=1e-3,1e-4`` trains every combination on connectomes that
``snakemake`` has made, writes under ``results/scratch/`` and tags its MLflow runs `scratch`. ``python -m dysconnect
predict ...`` is the console script ``dysconnect predict``.
"""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dysconnect.config import (
    GRAPH_MODELS,
    STORED,
    ConfigError,
    check_pretraining,
    leaf_keys,
    nearest,
    pretraining,
    training_sections,
    validate,
)
from dysconnect.predict.command import console

if TYPE_CHECKING:
    import pandas as pd

    from dysconnect.tracking.sweeps import Sweep
    from dysconnect.train import Trained

GROUPS = (
    "dataset", "preprocess", "atlas", "denoise", "connectivity", "graph", "training", "localize", "stimulate",
    "validate",
)  # fmt: skip
VALIDATION = "validate_localization"  # chosen like an experiment, but of the cohort: nothing is trained


def compose_workflow(
    config_dir: str | Path, schema: str | Path, command_line: Mapping[str, object]
) -> tuple[dict, dict[str, dict]]:
    """Compose and validate the configuration of a cohort and of every experiment.

    Parameters
    ----------
    config_dir, schema : path
    command_line : mapping
        What ``snakemake --config`` gives: group choices (``dataset=abide``), ``experiment=a,b`` to choose
        experiments (``validate_localization`` among them validates the localization and trains nothing), and
        ``overrides='key=value ...'``. An override applies to every experiment that has its key:
        ``model.hidden=64`` leaves the linear models as they are.

    Returns
    -------
    cohort : dict
        The configuration without an experiment.
    experiments : dict of str to dict
        The configuration of each experiment, the confound floor first.

    Raises
    ------
    ConfigError
        Names the key or option that is unknown, and the nearest known one.
    """
    unknown = sorted(set(command_line) - {*GROUPS, "experiment", "overrides"})
    if unknown:
        known = [*GROUPS, "experiment", "overrides"]
        raise ConfigError(f"--config {unknown[0]}: unknown key{nearest(unknown[0], known)}")
    groups = [f"{group}={command_line[group]}" for group in GROUPS if group in command_line]
    overrides = command_line.get("overrides") or []
    overrides = shlex.split(overrides) if isinstance(overrides, str) else list(overrides)
    with hydra.initialize_config_dir(str(Path(config_dir).resolve()), version_base="1.3"):
        used: set[str] = set()
        chosen = command_line.get("experiment")
        validated = [f"experiment={VALIDATION}"] if VALIDATION in str(chosen).split(",") else []
        cohort = _compose([*groups, *validated], overrides, used)
        names = _experiment_names(cohort, chosen)
        experiments = {name: _compose([*groups, f"experiment={name}"], overrides, used) for name in names}
    _refuse_unused(overrides, used, [cohort, *experiments.values()])
    validate(cohort, schema)
    for name, config in experiments.items():
        validate(config, schema, f"experiment {name}")
        check_model(config, name)
        _refuse_contradiction(Path(config_dir) / "experiment" / f"{name}.yaml", name, groups, overrides)
    return cohort, experiments


def _experiment_names(cohort: dict, chosen: object) -> list[str]:
    names = cohort["experiments"] if chosen is None else str(chosen).split(",")
    floor = cohort["evaluate"]["floor"]
    return [name for name in dict.fromkeys([floor, *names]) if name != VALIDATION]


def _compose(groups: Sequence[str], overrides: Sequence[str], used: set[str]) -> dict:
    """Compose one configuration with those overrides that fit it, and note them in `used`."""
    try:
        choices = [text for text in overrides if _is_choice(text)]
        plain = _to_dict(hydra.compose("config", [*groups, *choices]))
        keys = set(leaf_keys(plain))
        fitting = [text for text in overrides if text not in choices and _key(text) in keys]
        used.update(choices, fitting)
        return _to_dict(hydra.compose("config", [*groups, *choices, *fitting])) if fitting else plain
    except HydraException as error:
        raise ConfigError(str(error)) from error


def check_model(config: Mapping, name: str) -> None:
    """Refuse a graph network on features that are no edges, and a model of covariances on anything else."""
    model, measure = config["model"]["name"], config["connectivity"]["measure"]
    if model in ("low_rank", "riemann") and measure != "tangent":
        raise ConfigError(
            f"experiment {name}: model={model} needs covariances, and connectivity={measure} has none. "
            "Choose connectivity=tangent for it."
        )
    if model in GRAPH_MODELS and measure == "tangent":
        raise ConfigError(
            f"experiment {name}: model={model} needs edges, and connectivity=tangent has none. "
            "Choose connectivity=correlation or partial for it."
        )


def _refuse_contradiction(file: Path, name: str, groups: Sequence[str], overrides: Sequence[str]) -> None:
    """Refuse a choice for all experiments of what an experiment chooses itself: it would no longer be its name."""
    own = re.findall(r"override\s+/(\w+)\s*:", file.read_text())
    for text in [*groups, *overrides]:
        if _is_choice(text) and _key(text) in own:
            raise ConfigError(
                f"{text}: experiment {name} chooses its own {_key(text)}. Write a file in configs/experiment/ for "
                "another combination, and choose it with --config experiment=NAME."
            )


def _is_choice(text: str) -> bool:
    """Whether an override chooses a file of a group (``model=gcn``), rather than a value."""
    return _key(text) in {*GROUPS, "model"} or text.startswith(("+", "~"))


def _key(text: str) -> str:
    try:
        return OverridesParser.create().parse_override(text).key_or_group
    except HydraException as error:
        raise ConfigError(
            f"overrides: {text!r} is not of the form key=value ({str(error).splitlines()[0]})."
        ) from error


def _refuse_unused(overrides: Sequence[str], used: set[str], configs: Sequence[dict]) -> None:
    for text in overrides:
        if text not in used:
            known = dict.fromkeys(key for config in configs for key in leaf_keys(config))
            raise ConfigError(f"overrides: unknown key {_key(text)}{nearest(_key(text), known)}")


def _to_dict(config: DictConfig) -> dict:
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


@hydra.main(config_path=str(Path.cwd() / "configs"), config_name="config", version_base="1.3")
def main(config: DictConfig) -> float:
    """Train one model on connectomes that the workflow has made, log it as scratch, return its AUC."""
    job = HydraConfig.get()
    sweep = sweep_of(job) if job.mode == RunMode.MULTIRUN else None
    return scratch(_to_dict(config), Path("results"), job.runtime.output_dir, sweep)


def sweep_of(job: DictConfig) -> "Sweep":
    """Tell from Hydra's own configuration of one job which sweep it belongs to and what was swept."""
    from dysconnect.tracking.sweeps import Sweep

    folder = Path(job.sweep.dir).absolute()
    told, parser = folder / "multirun.yaml", OverridesParser.create()  # the sweeper's, written before the first job
    given = list(OmegaConf.load(told).hydra.overrides.task) if told.exists() else []
    given += [f"{key}={value}" for key, value in (job.sweeper.get("params") or {}).items()]
    swept = {one.key_or_group: one for one in parser.parse_overrides(given) if one.is_sweep_override()}
    own = [text for text in job.overrides.task if _key(text) in swept]
    try:
        expected = prod(sum(1 for _ in one.sweep_string_iterator()) for one in swept.values())
    except HydraException:  # a glob over files, or a distribution that another sweeper draws from
        expected = None
    return Sweep(folder, tuple(one.input_line for one in swept.values()), tuple(own), expected)


def scratch(config: dict, results: Path, output: str | Path, sweep: "Sweep | None" = None) -> float:
    """Cross-validate one model outside the workflow, for sweeps: nothing here enters a report.

    Parameters
    ----------
    config : dict
        Composed configuration; `model`, `training`, `graph` and `connectivity` are used.
    results : path
        The workflow's results: connectomes, participants and splits are read from there.
    output : path
        Folder for the predictions and scores.
    sweep : Sweep, optional
        That this is one job of; a job that fails is logged as failed under it.

    Returns
    -------
    float
        AUC, which Hydra's sweepers may maximise.

    Raises
    ------
    ConnectionError
        When the tracking server does not answer: before the training, or after it, when the files are written.
    """
    from dysconnect.tracking import choose_uri, log_failure, log_scratch, open_tracking

    handle = open_tracking(choose_uri(config["tracking"]["uri"]), config["tracking"]["experiment"])
    try:
        trained, scores, data_hash = _train(config, results)
        trained.predictions.to_csv(Path(output, "predictions.tsv"), sep="\t", index=False)
        scores.to_csv(Path(output, "scores.tsv"), sep="\t", index=False)
    except Exception as error:
        if sweep:
            log_failure(handle, config, sweep, error)
        raise
    run_id = log_scratch(handle, config, data_hash, scores, trained, sweep)
    row = scores[scores["metric"] == "auc"].iloc[0]
    name = sweep.job if sweep else config["model"]["name"]
    print(f"{name}: AUC {row.value:.3f} [{row.low:.3f}, {row.high:.3f}], logged as scratch run {run_id}")
    return float(row.value)


def _train(config: dict, results: Path) -> tuple["Trained", "pd.DataFrame", str]:
    """Cross-validate on the workflow's connectomes and splits; return also the scores and the hash of the data."""
    import pandas as pd

    from dysconnect.connectivity import labelled_cohort, unlabelled_cohort
    from dysconnect.evaluate import evaluate
    from dysconnect.train import cross_validate

    name, folder, sections = config["model"]["name"], results / config["dataset"]["name"], training_sections(config)
    check_model(config, "scratch")
    files = _needed(folder, f"{config['atlas']['name']}_{STORED[sections['measure']]}.h5")
    wanted = config["dataset"]["contrast"], sections["measure"], sections["training"].get("memory")
    cohort, data_hash = labelled_cohort(*files[:2], *wanted)
    splits = pd.read_csv(files[2], sep="\t")
    check_pretraining({name: config}, folder.name)
    source = pretraining(sections)
    others = unlabelled_cohort(source, cohort) if source else None
    trained = cross_validate(cohort, splits, name, sections, unlabelled=others)
    predictions, floor = {name: trained.predictions}, folder / f"train/{config['evaluate']['floor']}/predictions.tsv"
    if floor.exists() and floor.parent.name != name:  # on the same splits: no score without its floor
        predictions[floor.parent.name] = pd.read_csv(floor, sep="\t")
    nothing = {own: pd.DataFrame(columns=["permutation", "auc"]) for own in predictions}
    known = cohort.participants, config["dataset"]["covariates"]
    scores = evaluate(predictions, nothing, splits, *known, config["evaluate"]).scores
    return trained, scores[scores["experiment"] == name], data_hash


def _needed(folder: Path, connectomes: str) -> list[Path]:
    """What the workflow must have made: connectomes, participants, splits."""
    files = [folder / "connectivity" / connectomes, folder / "timeseries/participants.tsv", folder / "train/splits.tsv"]
    absent = [str(path) for path in files if not path.exists()]
    if absent:
        raise FileNotFoundError(f"{', '.join(absent)}: not made yet. Run `snakemake` for this dataset first.")
    return files


if __name__ == "__main__":
    if sys.argv[1:2] in (["predict"], ["withdraw"]):
        sys.exit(console(sys.argv[1:]))
    main()
