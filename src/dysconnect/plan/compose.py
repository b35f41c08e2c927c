"""Compose the configuration of a cohort and of its experiments from what was typed, with Hydra."""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dysconnect.data.measures import MEASURES
from dysconnect.keeping.remembered import remembered
from dysconnect.models.cards import CARDS
from dysconnect.plan.checks import check_asked, check_values
from dysconnect.plan.config import (
    ConfigError,
    leaf_keys,
    nearest,
    read_schema,
    rules_of,
    settle,
    takes_names,
    validate,
    wants_mapping,
    wants_text,
    wants_texts,
)
from dysconnect.plan.overrides import FORM, QUOTED, Override, mapping_of, read_overrides, text_of, texts_of
from dysconnect.reading.events import check_kinds

GROUPS = (
    "dataset", "preprocess", "tractography", "atlas", "denoise", "connectivity", "graph", "training", "localize",
    "stimulate", "validate", "share",
)  # fmt: skip
VALIDATION = "validate_localization"  # chosen like an experiment, but of the cohort: nothing is trained
REGIONAL = "floor_regional"  # joins the floor where the measure says something of every region


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
    for override in overrides:
        _check_choice(override, config_dir)
    rules = read_schema(schema)
    chosen, state = _names(command_line.get("experiment")), _state(config_dir)
    with hydra.initialize_config_dir(str(Path(config_dir).resolve()), version_base="1.3"):
        used: set[str] = set()
        validated = [f"experiment={VALIDATION}"] if VALIDATION in (chosen or []) else []
        cohort = _suited(_compose(state, [*groups, *validated], overrides, rules, used))
        names = _experiment_names(cohort, chosen, config_dir)
        experiments = {name: _compose(state, [*groups, f"experiment={name}"], overrides, rules, used) for name in names}
    remembered(__file__).keep()
    _refuse_unused(overrides, used, [cohort, *experiments.values()])
    validate(cohort, schema)
    check_denoising(cohort, "")
    for name, config in experiments.items():
        validate(config, schema, f"experiment {name}")
        check_model(config, name)
        check_denoising(config, f"experiment {name}: ")
        _refuse_contradiction(Path(config_dir) / "experiment" / f"{name}.yaml", name, groups, overrides)
    check_values(cohort)
    check_asked(cohort, experiments, [*_options(config_dir, "experiment")], {override.key for override in overrides})
    return cohort, experiments


def _choices(command_line: Mapping[str, object], config_dir: str | Path) -> list[str]:
    """Group choices of the command line, ``dataset=abide``, each of a file that exists."""
    known = [*GROUPS, "experiment", "overrides"]
    for key in command_line:
        if key not in known:
            raise ConfigError(f"--config {key}: unknown key{nearest(key, known)}")
    groups = [Override(group, _choice(group, command_line[group])) for group in GROUPS if group in command_line]
    for choice in groups:
        _check_choice(choice, config_dir)
    return [str(choice) for choice in groups]


def _choice(group: str, value: object) -> str:
    """Name of a file; a number is one too, a list, a mapping or a truth value (``off`` in a config file) is none."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise ConfigError(f'{group}: {value!r} is no name of a file. In a config file write {group}: "NAME", with quotes.')


def _check_choice(override: Override, config_dir: str | Path) -> None:
    """Refuse the choice of a file that is not there."""
    if override.key == "experiment":
        raise ConfigError(f"overrides: {override}: experiments are chosen with --config experiment=NAME,NAME")
    if _is_choice(override) and override.sign:
        raise ConfigError(f"overrides: {override}: write {override.key}={override.value or 'NAME'}")
    if _is_choice(override):
        _refuse_absent(override.key, override.value, _options(config_dir, override.key))


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
    """Experiments to be trained, the floor first, and what else needs no connection; each has a file."""
    names, known = cohort["experiments"] if chosen is None else chosen, _options(config_dir, "experiment")
    measure, floors = MEASURES.get(cohort["connectivity"]["measure"]), [cohort["evaluate"]["floor"]]
    floors += [REGIONAL] * bool(measure and measure.regional)
    for name in [*floors, *names]:
        _refuse_absent("experiment", str(name), known)
    return [name for name in dict.fromkeys([*floors, *names]) if name != VALIDATION]


def _state(config_dir: str | Path) -> str:
    """Digest of what decides how the files of a folder are composed: their names and content, and Hydra's version."""
    files = sorted((path.relative_to(config_dir).as_posix(), path) for path in Path(config_dir).rglob("*.yaml"))
    hashed = hashlib.sha256(hydra.__version__.encode())
    for name, path in files:
        hashed.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return hashed.hexdigest()


def _of_files(state: str, chosen: list[str]) -> DictConfig:
    """What Hydra makes of the files: in 0.15 s, and every job of a run asks for the same again, for each experiment."""

    def made():
        return json.dumps(OmegaConf.to_container(hydra.compose("config", chosen), resolve=False))

    return OmegaConf.create(json.loads(remembered(__file__).value(" ".join(chosen), state, made)))


def _compose(state: str, groups: Sequence[str], overrides: Sequence[Override], rules: Mapping, used: set[str]) -> dict:
    """Compose one configuration with those overrides that fit it, and note them in `used`."""
    choices = [override for override in overrides if _is_choice(override)]
    try:
        config = _of_files(state, [*groups, *map(str, choices)])
    except (HydraException, OmegaConfBaseException, YAMLError, UnicodeError, TypeError) as error:
        raise ConfigError(f"configs/ does not compose: {' '.join(str(error).split())[:300]}") from error
    OmegaConf.set_struct(config, False)  # the schema judges which keys there are, and names the nearest
    nodes = config.atlas.nodes
    keys = set(leaf_keys(OmegaConf.to_container(config, resolve=False)))
    for override in overrides:
        if override not in choices and (override.key in keys or override.sign or takes_names(rules, override.key)):
            _set(config, override, rules, keys)
            used.add(override.key)
    used.update(override.key for override in choices)
    if config.atlas.nodes != nodes:
        _name_atlas(config, {override.key for override in overrides})
    try:
        return settle(to_dict(config), rules)
    except (OmegaConfBaseException, RecursionError) as error:
        raise ConfigError(f"a ${{...}} does not resolve: {' '.join(str(error).split())[:300]}") from error


def _suited(config: dict) -> dict:
    """Suit what follows from the measure: what is planted in a simulated cohort, and motion in a task and at rest.

    Motion that goes with the task differs between groups where that of the whole run does not.
    """
    measure, dataset, localize = MEASURES.get(config["connectivity"]["measure"]), config["dataset"], config["localize"]
    if measure and measure.timed and dataset.get("kind") == "simulated":
        dataset["plant"] |= {"measure": measure.name}
    if config["denoise"].get("task"):
        parts = {"mean_fd": ["mean_fd_task", "mean_fd_rest"]}
        localize["nuisance"] = [part for name in localize["nuisance"] for part in parts.get(name, [name])]
    return config


def _name_atlas(config: DictConfig, typed: Collection[str]) -> None:
    """Give another table of regions than the chosen atlas's a title and a citation of its own."""
    defaults = {"title": f"own regions, {Path(str(config.atlas.nodes)).name}", "citation": "not published"}
    for name, value in defaults.items():
        if f"atlas.{name}" not in typed:
            OmegaConf.update(config, f"atlas.{name}", value)


def _set(config: DictConfig, override: Override, rules: Mapping, keys: set[str]) -> None:
    """Set one key to what was typed."""
    if "~" in override.sign:
        raise ConfigError(f"overrides: {override}: no key can be removed. Set it to null, where it may be.")
    swallowed = next((word for word in override.value.split() if "." in word and word.strip("=") in keys), None)
    if swallowed:
        raise ConfigError(f"overrides: {swallowed} in {override} is a key without its value. Write {swallowed}=VALUE")
    value = _value(override, rules)
    try:
        OmegaConf.update(config, override.key, value, merge=True, force_add=True)
    except (OmegaConfBaseException, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"overrides: {override}: {' '.join(str(error).split())[:200]}. {FORM}") from error


def _value(given: Override, rules: Mapping) -> object:
    """Value of an override: text as typed where the key is one of text, else what Hydra reads."""
    wanted = rules_of(rules, given.key)
    if wants_text(wanted, given.value):
        if given.value.endswith(","):
            raise ConfigError(f"overrides: {given} ends with a comma. Overrides are separated by blanks.")
        return text_of(given.value)
    typed = texts_of(given.value) if wants_texts(wanted) else mapping_of(given.value) if wants_mapping(wanted) else None
    return _parsed(given) if typed is None else typed


def _parsed(override: Override) -> object:
    """Value by Hydra's grammar: numbers, true, null, lists, mappings."""
    bare = override.value[1:-1] if QUOTED.fullmatch(override.value) else override.value
    try:
        parsed = OverridesParser.create().parse_override(f"key={bare}")
        value = parsed.value()
    except (HydraException, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"overrides: {override} cannot be read ({reason}). {FORM}") from error
    if parsed.is_sweep_override() or not (value is None or isinstance(value, str | int | float | list | dict)):
        raise ConfigError(f"overrides: {override} is several values, and a run has one. A list is written [A,B].")
    return value


def check_denoising(config: Mapping, where: str) -> None:
    """Refuse a measure of series that were not denoised as it needs, or of data that cannot have it."""
    measure, denoise, dataset = MEASURES[config["connectivity"]["measure"]], config["denoise"], config["dataset"]
    if (denoise.get("task") or measure.asks.get("task")) and not dataset.get("trial_types"):
        who = f"connectivity={measure.name}" if measure.asks.get("task") else f"denoise={denoise['name']}"
        raise ConfigError(
            f"{where}{who} needs events of a task, whose responses are taken out, and of dataset={dataset['name']} no "
            "events are said to be of one. Choose one that does (dataset=ds006395_finger), or set dataset.task and "
            "dataset.trial_types={task: [...], rest: [...]}, with the trial_type of each."
        )
    try:
        check_kinds(dataset.get("trial_types") or {"task": ["any"]})
    except ValueError as error:
        raise ConfigError(f"{where}dataset.trial_types: {error}.") from error
    if "low_pass" in measure.asks and str(dataset.get("strategy")).startswith("filt"):
        raise ConfigError(
            f"{where}connectivity={measure.name} needs series without a low-pass, and dataset={dataset['name']} was "
            "band-passed by those who prepared it. Set dataset.strategy=nofilt_global or nofilt_noglobal."
        )
    wrong = {key: value for key, value in measure.asks.items() if denoise.get(key) != value}
    if wrong:
        asked = " ".join(f"denoise.{key}={json.dumps(value)}" for key, value in wrong.items())
        raise ConfigError(
            f"{where}connectivity={measure.name} needs {asked}, and denoise={denoise['name']} is other. Leave that "
            f"choice to connectivity={measure.name}, or set this."
        )


def check_model(config: Mapping, name: str) -> None:
    """Refuse a model without what it needs: a network on features that are no edges, say, or a start that none judge.

    Raises
    ------
    ConfigError
        Names the experiment and the key.
    """
    model, measure = config["model"], config["connectivity"]["measure"]
    card = CARDS[model["name"]]
    lacking = card.lacks(MEASURES[measure])
    if lacking:
        raise ConfigError(
            f"experiment {name}: model={model['name']} needs {lacking}, and connectivity={measure} has none. "
            f"Choose connectivity={' or '.join(card.suited())} for it."
        )
    if model.get("regional") and not MEASURES[measure].regional:
        has = [known.name for known in MEASURES.values() if known.regional]
        raise ConfigError(
            f"experiment {name}: connectivity={measure} says nothing of single regions. Choose "
            f"connectivity={' or '.join(has)} for it, or leave model.regional at false."
        )
    if any(model.get("soften", ())) and not MEASURES[measure].tangent:
        raise ConfigError(
            f"experiment {name}: model.soften={model['soften']} is for the tangent space, and connectivity={measure} "
            "has none. Leave it at [0]."
        )
    if model.get("start", "none") != "none" and not config["training"]["inner_folds"]:
        raise ConfigError(
            f"experiment {name}: model.start={model['start']} needs people whom the network was not fitted on, to say "
            "how much it counts. Set training.inner_folds to 2 or more."
        )


def _refuse_contradiction(file: Path, name: str, groups: Sequence[str], overrides: Sequence[Override]) -> None:
    """Refuse a choice for all experiments of what an experiment chooses itself: it would no longer be its name."""
    chosen = re.findall(r"override\s+/(\w+)\s*:", file.read_text())
    for text in [*groups, *(str(choice) for choice in overrides if _is_choice(choice))]:
        key = text.split("=")[0]
        if key in chosen:
            raise ConfigError(
                f"{text}: experiment {name} chooses its own {key}. Write a file in configs/experiment/ for "
                "another combination, and choose it with --config experiment=NAME."
            )


def _is_choice(override: Override) -> bool:
    """Whether an override chooses a file of a group (``model=gcn``), rather than a value."""
    return override.key in {*GROUPS, "model"}


def _refuse_unused(overrides: Sequence[Override], used: set[str], configs: Sequence[dict]) -> None:
    for override in overrides:
        if override.key not in used:
            known = dict.fromkeys(key for config in configs for key in leaf_keys(config))
            raise ConfigError(f"overrides: unknown key {override.key}{nearest(override.key, known)}")


def to_dict(config: DictConfig) -> dict:
    """Plain mappings and lists, with everything resolved."""
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
