"""Compose the configuration for the workflow; and Hydra's own multirun, for scratch sweeps over models.

``python -m dysconnect -m model=gcn,ridge training.lr=1e-3,1e-4`` trains every combination on connectomes that
``snakemake`` has made, writes under ``results/scratch/`` and tags its MLflow runs `scratch`. ``python -m dysconnect
predict ...`` is the console script ``dysconnect predict``.
"""

import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
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
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dysconnect.config import (
    GRAPH_MODELS,
    STORED,
    ConfigError,
    check_asked,
    check_pretraining,
    check_values,
    leaf_keys,
    nearest,
    pretraining,
    rules_of,
    settle,
    takes_names,
    training_sections,
    validate,
    wants_mapping,
    wants_text,
    wants_texts,
)
from dysconnect.made import MadeOtherwise, read_made, refuse_other_settings
from dysconnect.overrides import FORM, QUOTED, Override, mapping_of, read_overrides, text_of, texts_of
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
    groups = _choices(command_line, config_dir)
    overrides = read_overrides(command_line.get("overrides"))
    for own in overrides:
        _check_choice(own, config_dir)
    rules = json.loads(Path(schema).read_text())
    chosen = _names(command_line.get("experiment"))
    with hydra.initialize_config_dir(str(Path(config_dir).resolve()), version_base="1.3"):
        used: set[str] = set()
        validated = [f"experiment={VALIDATION}"] if VALIDATION in (chosen or []) else []
        cohort = _compose([*groups, *validated], overrides, rules, used)
        names = _experiment_names(cohort, chosen, config_dir)
        experiments = {name: _compose([*groups, f"experiment={name}"], overrides, rules, used) for name in names}
    _refuse_unused(overrides, used, [cohort, *experiments.values()])
    validate(cohort, schema)
    for name, config in experiments.items():
        validate(config, schema, f"experiment {name}")
        check_model(config, name)
        _refuse_contradiction(Path(config_dir) / "experiment" / f"{name}.yaml", name, groups, overrides)
    check_values(cohort)
    check_asked(cohort, experiments, [*_options(config_dir, "experiment")], {own.key for own in overrides})
    return cohort, experiments


def _choices(command_line: Mapping[str, object], config_dir: str | Path) -> list[str]:
    """Group choices of the command line, ``dataset=abide``, each of a file that exists."""
    known = [*GROUPS, "experiment", "overrides"]
    for key in command_line:
        if key not in known:
            raise ConfigError(f"--config {key}: unknown key{nearest(key, known)}")
    groups = [Override(group, _choice(group, command_line[group])) for group in GROUPS if group in command_line]
    for own in groups:
        _check_choice(own, config_dir)
    return [str(own) for own in groups]


def _choice(group: str, value: object) -> str:
    """Name of a file; a number is one too, a list, a mapping or a truth value (``off`` in a config file) is none."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise ConfigError(f'{group}: {value!r} is no name of a file. In a config file write {group}: "NAME", with quotes.')


def _check_choice(own: Override, config_dir: str | Path) -> None:
    """Refuse the choice of a file that is not there."""
    if own.key == "experiment":
        raise ConfigError(f"overrides: {own}: experiments are chosen with --config experiment=NAME,NAME")
    if _is_choice(own) and own.sign:
        raise ConfigError(f"overrides: {own}: write {own.key}={own.value or 'NAME'}")
    if _is_choice(own):
        _refuse_absent(own.key, own.value, _options(config_dir, own.key))


def _refuse_absent(group: str, name: str, known: Sequence[str]) -> None:
    """Refuse a name that is none of the files of a group."""
    if name not in known:
        close = nearest(name, known) if "did you mean" in nearest(name, known) else ""
        raise ConfigError(
            f"{group}={name}: there is no configs/{group}/{name or 'NAME'}.yaml{close}. There are {', '.join(known)}."
        )


def _options(config_dir: str | Path, group: str) -> list[str]:
    """Names of the files of a group."""
    return sorted(path.stem for path in Path(config_dir, group).glob("*.yaml"))


def _names(chosen: object) -> list[str] | None:
    """Names of the experiments as typed, ``a,b`` or a list; None where none are chosen."""
    if chosen is None or (isinstance(chosen, list | tuple) and all(isinstance(name, str) for name in chosen)):
        return chosen and list(chosen)
    if not isinstance(chosen, str | int) or isinstance(chosen, bool):
        raise ConfigError(f"experiment: {chosen!r} is no list of names. Write experiment=floor,correlation_ridge")
    return [name.strip() for name in str(chosen).strip("[]").split(",")]


def _experiment_names(cohort: dict, chosen: list[str] | None, config_dir: str | Path) -> list[str]:
    """Experiments to be trained, the floor first; each has a file."""
    names, known = cohort["experiments"] if chosen is None else chosen, _options(config_dir, "experiment")
    for name in [cohort["evaluate"]["floor"], *names]:
        _refuse_absent("experiment", str(name), known)
    return [name for name in dict.fromkeys([cohort["evaluate"]["floor"], *names]) if name != VALIDATION]


def _compose(groups: Sequence[str], overrides: Sequence[Override], rules: Mapping, used: set[str]) -> dict:
    """Compose one configuration with those overrides that fit it, and note them in `used`."""
    choices = [own for own in overrides if _is_choice(own)]
    try:
        config = hydra.compose("config", [*groups, *map(str, choices)])
    except (HydraException, OmegaConfBaseException, YAMLError, UnicodeError) as error:
        raise ConfigError(f"configs/ does not compose: {' '.join(str(error).split())[:300]}") from error
    OmegaConf.set_struct(config, False)  # the schema judges which keys there are, and names the nearest
    nodes = config.atlas.nodes
    keys = set(leaf_keys(OmegaConf.to_container(config, resolve=False)))
    for own in overrides:
        if own not in choices and (own.key in keys or own.sign or takes_names(rules, own.key)):
            _set(config, own, rules, keys)
            used.add(own.key)
    used.update(own.key for own in choices)
    if config.atlas.nodes != nodes:
        _name_atlas(config, {own.key for own in overrides})
    try:
        return settle(_to_dict(config), rules)
    except (OmegaConfBaseException, RecursionError) as error:
        raise ConfigError(f"a ${{...}} does not resolve: {' '.join(str(error).split())[:300]}") from error


def _name_atlas(config: DictConfig, typed: Collection[str]) -> None:
    """Give another table of regions than the chosen atlas's a title and a citation of its own."""
    own = {"title": f"own regions, {Path(str(config.atlas.nodes)).name}", "citation": "not published"}
    for name, told in own.items():
        if f"atlas.{name}" not in typed:
            OmegaConf.update(config, f"atlas.{name}", told)


def _set(config: DictConfig, own: Override, rules: Mapping, keys: set[str]) -> None:
    """Set one key to what was typed."""
    if "~" in own.sign:
        raise ConfigError(f"overrides: {own}: no key can be removed. Set it to null, where it may be.")
    swallowed = next((word for word in own.value.split() if "." in word and word.strip("=") in keys), None)
    if swallowed:
        raise ConfigError(f"overrides: {swallowed} in {own} is a key without its value. Write {swallowed}=VALUE")
    value = _value(own, rules)
    try:
        OmegaConf.update(config, own.key, value, merge=True, force_add=True)
    except (OmegaConfBaseException, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"overrides: {own}: {' '.join(str(error).split())[:200]}. {FORM}") from error


def _value(own: Override, rules: Mapping) -> object:
    """Value of an override: text as typed where the key is one of text, else what Hydra reads."""
    wanted = rules_of(rules, own.key)
    if wants_text(wanted):
        if own.value.endswith(","):
            raise ConfigError(f"overrides: {own} ends with a comma. Overrides are separated by blanks.")
        return text_of(own.value)
    typed = texts_of(own.value) if wants_texts(wanted) else mapping_of(own.value) if wants_mapping(wanted) else None
    return _parsed(own) if typed is None else typed


def _parsed(own: Override) -> object:
    """Value by Hydra's grammar: numbers, true, null, lists, mappings."""
    bare = own.value[1:-1] if QUOTED.fullmatch(own.value) else own.value
    try:
        found = OverridesParser.create().parse_override(f"key={bare}")
        value = found.value()
    except (HydraException, ValueError, RecursionError) as error:
        told = str(error).splitlines()[0]
        raise ConfigError(f"overrides: {own} cannot be read ({told}). {FORM}") from error
    if found.is_sweep_override() or not (value is None or isinstance(value, str | int | float | list | dict)):
        raise ConfigError(f"overrides: {own} is several values, and a run has one. A list is written [A,B].")
    return value


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


def _refuse_contradiction(file: Path, name: str, groups: Sequence[str], overrides: Sequence[Override]) -> None:
    """Refuse a choice for all experiments of what an experiment chooses itself: it would no longer be its name."""
    own = re.findall(r"override\s+/(\w+)\s*:", file.read_text())
    for text in [*groups, *(str(choice) for choice in overrides if _is_choice(choice))]:
        key = text.split("=")[0]
        if key in own:
            raise ConfigError(
                f"{text}: experiment {name} chooses its own {key}. Write a file in configs/experiment/ for "
                "another combination, and choose it with --config experiment=NAME."
            )


def _is_choice(own: Override) -> bool:
    """Whether an override chooses a file of a group (``model=gcn``), rather than a value."""
    return own.key in {*GROUPS, "model"}


def _refuse_unused(overrides: Sequence[Override], used: set[str], configs: Sequence[dict]) -> None:
    for own in overrides:
        if own.key not in used:
            known = dict.fromkeys(key for config in configs for key in leaf_keys(config))
            raise ConfigError(f"overrides: unknown key {own.key}{nearest(own.key, known)}")


def _to_dict(config: DictConfig) -> dict:
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


def _of_the_project(name: str) -> Path:
    """A folder of the configuration: here, or in the checkout where only the results are here."""
    here = Path.cwd() / name
    return here if here.exists() else Path(__file__).resolve().parents[2] / name


@hydra.main(config_path=str(_of_the_project("configs")), config_name="config", version_base="1.3")
def main(config: DictConfig) -> float:
    """Train one model on connectomes that the workflow has made, log it as scratch, return its AUC."""
    job = HydraConfig.get()
    if job.mode == RunMode.RUN:
        with _in_one_line():
            return scratch(_checked(config), Path("results"), job.runtime.output_dir)
    with _in_one_line():
        own = _checked(config)
        if job.job.num == 0:
            _check_sweep(job)
    return scratch(own, Path("results"), job.runtime.output_dir, sweep_of(job))


@contextmanager
def _in_one_line() -> Iterator[None]:
    """End with the reason alone, where it is told what to do."""
    try:
        yield
    except (ConfigError, ConnectionError, FileNotFoundError, MadeOtherwise) as error:
        sys.exit(f"{error}")


def _checked(config: DictConfig) -> dict:
    """Resolve and validate a configuration as `snakemake` does, and refuse results that other settings have made."""
    own = _to_dict(config)
    validate(own, _of_the_project("workflow/schemas") / "config.schema.json")
    folder = Path("results").absolute() / own["dataset"]["name"]
    connectomes, _, splits = _files(folder, own)
    refuse_other_settings(read_made(connectomes, splits), own, folder)
    return own


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
    own = [text for text, one in parsed if one.key_or_group in swept]
    many = [sum(1 for _ in one.sweep_string_iterator()) for one in swept.values()] if _countable(swept) else None
    named = tuple(one.input_line for one in swept.values())
    return Sweep(Path(job.sweep.dir).absolute(), named, tuple(own), None if many is None else prod(many))


def _swept(job: DictConfig) -> tuple[dict[str, Given], list[str]]:
    """Overrides with several values, by key, and the others."""
    told = Path(job.sweep.dir).absolute() / "multirun.yaml"  # the sweeper's, written before the first job
    given = list(OmegaConf.load(told).hydra.overrides.task) if told.exists() else []
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

    from dysconnect.connectivity import labelled_cohort, unlabelled_cohort
    from dysconnect.evaluate import evaluate
    from dysconnect.train import cross_validate

    name, folder, sections = config["model"]["name"], results / config["dataset"]["name"], training_sections(config)
    check_model(config, "scratch")
    files = _needed(folder, config)
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
    own = {name: config[name] for name in ("model", "training", "graph", "connectivity", "evaluate") if name in config}
    names = {name: {"name": config[name]["name"]} for name in ("dataset", "atlas")}
    made = read_made(connectomes, splits)
    if not made:
        print(f"{results / config['dataset']['name']} does not say what made it: logged are the model's settings alone")
    return {**names, **{name: config[name] for name in made}, **own}


if __name__ == "__main__":
    if sys.argv[1:2] in (["predict"], ["withdraw"]):
        sys.exit(console(sys.argv[1:]))
    main()
