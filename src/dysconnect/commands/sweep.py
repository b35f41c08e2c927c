"""``dysconnect sweep``: Hydra's own multirun, for scratch sweeps over models; also ``python -m dysconnect``.

``dysconnect sweep -m model=gcn,ridge training.lr=1e-3,1e-4`` trains every combination on connectomes that
``snakemake`` has made, writes under ``results/scratch/`` and tags its MLflow runs `scratch`.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override as Given
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dysconnect.data.measures import STORED
from dysconnect.keeping.address import AddressError
from dysconnect.keeping.made import MadeOtherwise, read_made, refuse_other_settings
from dysconnect.plan.checks import check_graphs, check_pretraining, check_values
from dysconnect.plan.compose import check_model, to_dict
from dysconnect.plan.config import ConfigError, training_sections, validate

if TYPE_CHECKING:
    import pandas as pd

    from dysconnect.learning.trained import Trained
    from dysconnect.tracking.sweeps import Sweep


def _of_the_project(name: str) -> Path:
    """A folder of the configuration: here, or in the checkout where only the results are here."""
    here = Path.cwd() / name
    return here if here.exists() else Path(__file__).resolve().parents[3] / name


def main(arguments: Sequence[str]) -> int:
    """Run ``dysconnect sweep`` with the arguments of Hydra; return the exit status."""
    sys.argv = [sys.argv[0], *arguments]  # Hydra reads no others
    hydra.main(config_path=str(_of_the_project("configs")), config_name="config", version_base="1.3")(train_one)()
    return 0


def train_one(config: DictConfig) -> float:
    """Train one model on connectomes that the workflow has made, log it as scratch, return its AUC."""
    job = HydraConfig.get()
    if job.mode == RunMode.RUN:
        with _in_one_line():
            return scratch(_checked(config), Path("results"), job.runtime.output_dir)
    with _in_one_line():
        settings = _checked(config)
        if job.job.num == 0:
            _check_sweep(job)
    return scratch(settings, Path("results"), job.runtime.output_dir, sweep_of(job))


@contextmanager
def _in_one_line() -> Iterator[None]:
    """End with the reason alone, where it says what to do."""
    try:
        yield
    except (AddressError, ConfigError, ConnectionError, FileNotFoundError, MadeOtherwise) as error:
        sys.exit(f"{error}")


def _checked(config: DictConfig) -> dict:
    """Resolve and validate a configuration as `snakemake` does, and refuse results that other settings have made."""
    settings = to_dict(config)
    validate(settings, _of_the_project("workflow/schemas") / "config.schema.json")
    check_values(settings)
    folder = Path("results").absolute() / settings["dataset"]["name"]
    connectomes, _, splits = _files(folder, settings)
    refuse_other_settings(read_made(connectomes, splits), settings, folder)
    return settings


def _check_sweep(job: DictConfig) -> None:
    """Check every value of a sweep before the first is trained: each with the first ones of the others."""
    swept, fixed = _swept(job)
    first = [next(one.sweep_string_iterator()) for one in swept.values()] if _countable(swept) else []
    for place, one in enumerate(swept.values() if first else ()):
        for text in one.sweep_string_iterator():
            values = [*first[:place], text, *first[place + 1 :]]
            chosen = [f"{key}={value}" for key, value in zip(swept, values)]
            _checked(hydra.compose("config", [*fixed, *chosen]))


def sweep_of(job: DictConfig) -> "Sweep":
    """Tell from Hydra's own configuration of one job which sweep it belongs to and what was swept."""
    from dysconnect.tracking.sweeps import Sweep

    swept, _ = _swept(job)
    parsed = zip(job.overrides.task, OverridesParser.create().parse_overrides(list(job.overrides.task)))
    chosen = [text for text, one in parsed if one.key_or_group in swept]
    many = [sum(1 for _ in one.sweep_string_iterator()) for one in swept.values()] if _countable(swept) else None
    named = tuple(one.input_line for one in swept.values())
    return Sweep(Path(job.sweep.dir).absolute(), named, tuple(chosen), None if many is None else prod(many))


def _swept(job: DictConfig) -> tuple[dict[str, Given], list[str]]:
    """Overrides with several values, by key, and the others."""
    record = Path(job.sweep.dir).absolute() / "multirun.yaml"  # the sweeper's, written before the first job
    given = list(OmegaConf.load(record).hydra.overrides.task) if record.exists() else []
    given += [f"{key}={value}" for key, value in (job.sweeper.get("params") or {}).items()]
    parsed = OverridesParser.create().parse_overrides(given)
    swept = {one.key_or_group: one for one in parsed if one.is_sweep_override()}
    return swept, [one.input_line for one in parsed if one.key_or_group not in swept]


def _countable(swept: Mapping[str, Given]) -> bool:
    """Whether the values are known: not so a glob over files, or a distribution that another sweeper draws from."""
    try:
        return all(next(one.sweep_string_iterator(), None) is not None for one in swept.values())
    except HydraException:
        return False


def scratch(config: dict, results: Path, output: str | Path, sweep: "Sweep | None" = None) -> float:
    """Cross-validate one model outside the workflow, for sweeps: nothing here enters a report.

    Parameters
    ----------
    config : dict
        Composed configuration; `model`, `training`, `graph`, `connectivity` and `evaluate` are used, and what made the
        data is logged with them where the data say so.
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
            log_failure(handle, _known(config, results), sweep, error)
        raise
    run_id = log_scratch(handle, _known(config, results), data_hash, scores, trained, sweep)
    row = scores[scores["metric"] == "auc"].iloc[0]
    name = sweep.job if sweep else config["model"]["name"]
    print(f"{name}: AUC {row.value:.3f} [{row.low:.3f}, {row.high:.3f}], logged as scratch run {run_id}")
    return float(row.value)


def _train(config: dict, results: Path) -> tuple["Trained", "pd.DataFrame", str]:
    """Cross-validate on the workflow's connectomes and splits; return also the scores and the hash of the data."""
    import pandas as pd

    from dysconnect.data.labelled import labelled_cohort, pretraining_cohort
    from dysconnect.data.structure import with_graph
    from dysconnect.evaluate import evaluate
    from dysconnect.keeping import sealed
    from dysconnect.train import cross_validate

    name, folder, sections = config["model"]["name"], results / config["dataset"]["name"], training_sections(config)
    check_model(config, "scratch")
    files, floor = _needed(folder, config), folder / f"train/{config['evaluate']['floor']}/predictions.tsv"
    if (results / sealed.FOLDER / folder.name).is_dir():  # not so of results that a script has made
        sealed.check([*files, *([floor] if floor.exists() else [])], results)
    wanted = config["dataset"]["contrast"], sections["measure"], sections["training"].get("memory")
    cohort, data_hash = labelled_cohort(*files[:2], *wanted)
    splits = pd.read_csv(files[2], sep="\t")
    check_pretraining({name: config}, folder.name)
    check_graphs({name: config})
    cohort = with_graph(cohort, sections)
    trained = cross_validate(cohort, splits, name, sections, unlabelled=pretraining_cohort(sections, cohort))
    predictions = {name: trained.predictions}
    if floor.exists() and floor.parent.name != name:  # on the same splits: no score without its floor
        predictions[floor.parent.name] = pd.read_csv(floor, sep="\t")
    nothing = {experiment: pd.DataFrame(columns=["permutation", "auc"]) for experiment in predictions}
    known = cohort.participants, config["dataset"]["covariates"]
    scores = evaluate(predictions, nothing, splits, *known, config["evaluate"]).scores
    return trained, scores[scores["experiment"] == name], data_hash


def _files(folder: Path, config: Mapping) -> list[Path]:
    """What the workflow must have made: connectomes, participants, splits."""
    connectomes = f"{config['atlas']['name']}_{STORED[config['connectivity']['measure']]}.h5"
    return [folder / "connectivity" / connectomes, folder / "timeseries/participants.tsv", folder / "train/splits.tsv"]


def _needed(folder: Path, config: Mapping) -> list[Path]:
    files = _files(folder, config)
    absent = [str(path) for path in files if not path.exists()]
    if absent:
        raise FileNotFoundError(
            f"{', '.join(absent)}: not made yet. Results are looked for in {folder.absolute()}: run `snakemake` for "
            "this dataset first, or give this command in the folder that holds results/ (snakemake's --directory)."
        )
    return files


def _known(config: Mapping, results: Path) -> dict:
    """The settings that a scratch run can vouch for: its own, and those that the data say have made them."""
    connectomes, _, splits = _files(results / config["dataset"]["name"], config)
    used = {name: config[name] for name in ("model", "training", "graph", "connectivity", "evaluate") if name in config}
    names = {name: {"name": config[name]["name"]} for name in ("dataset", "atlas")}
    made = read_made(connectomes, splits)
    if not made:
        print(f"{results / config['dataset']['name']} does not say what made it: logged are the model's settings alone")
    return {**names, **{name: config[name] for name in made}, **used}
