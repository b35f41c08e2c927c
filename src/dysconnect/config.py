"""Check a composed configuration, so that a typo stops before any job and names the key."""

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from math import ceil
from pathlib import Path

import jsonschema

from dysconnect.models import GRAPH_MODELS

# what is stored on disk for each measure: the tangent space is learned from covariances inside training folds
STORED = {"correlation": "correlation", "partial": "partial", "tangent": "covariance"}
LINEAR_TRAINING = ("permutations", "seed")


class ConfigError(ValueError):
    """The configuration cannot be used; the message names the key and the remedy."""


def validate(config: Mapping, schema_file: str | Path, where: str = "configuration") -> None:
    """Validate a composed configuration against the JSON schema.

    Raises
    ------
    ConfigError
        With the dotted name of the key, what is wrong with it, and the nearest known key.
    """
    schema = json.loads(Path(schema_file).read_text())
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(config), key=lambda error: (-len(error.absolute_path), error.message))
    if errors:
        raise ConfigError(f"{where}: " + "; ".join(describe(error) for error in errors[:3]))


def describe(error: jsonschema.ValidationError) -> str:
    """Say in one sentence what is wrong, and where."""
    place = ".".join(map(str, error.absolute_path))
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        extra = sorted(set(error.instance) - set(known))
        return "; ".join(f"unknown key {dotted(place, key)}{nearest(key, known)}" for key in extra)
    if error.validator == "required":
        absent = sorted(set(error.validator_value) - set(error.instance))
        return f"missing key {', '.join(dotted(place, key) for key in absent)}"
    return f"{place or 'the configuration'}: {error.message}"


def dotted(place: str, key: str) -> str:
    """Join the place and the key with a dot."""
    return f"{place}.{key}" if place else key


def nearest(key: str, known: Iterable[str]) -> str:
    """Suggest the nearest known key, or list the known ones."""
    known = list(known)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else f" (known: {', '.join(known[:20])})"


def leaf_keys(config: Mapping, prefix: str = "") -> list[str]:
    """List all dotted keys of a nested mapping, sections included."""
    keys = []
    for name, value in config.items():
        keys.append(dotted(prefix, name))
        if isinstance(value, Mapping):
            keys += leaf_keys(value, dotted(prefix, name))
    return keys


def config_hash(config: Mapping) -> str:
    """Hash a configuration, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def pretraining(sections: Mapping) -> dict:
    """Return files and groups that an experiment is pretrained on; empty without pretraining.

    Parameters
    ----------
    sections : mapping
        From `training_sections`. Without ``training.pretrain.participants``, the table is that of the data set in whose
        folder the connectomes lie.
    """
    spec = sections["training"].get("pretrain") or {}
    if not spec:
        return {}
    own = Path(spec["connectomes"]).parent.parent / "timeseries/participants.tsv"
    return {**spec, "participants": spec["participants"] or str(own)}


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
    if dataset["kind"] == "table":
        raise ConfigError(
            f"dataset={dataset['name']} holds connections without series, and the validation plants in series. "
            "Leave validate_localization out, or choose another dataset."
        )
    needed = ceil(1 / cohort["localize"]["alpha"]) - 1
    if spec["permutations"] < needed:
        raise ConfigError(
            f"validate.permutations: {spec['permutations']} give no p as small as localize.alpha; {needed} or more do."
        )


def training_sections(config: Mapping) -> dict:
    """Return the part of an experiment's configuration that its training reads, and nothing else.

    A learning rate does not concern a linear model, nor the number of label permutations a graph network;
    so a change of one does not train the other again.
    """
    graph_model = config["model"]["name"] in GRAPH_MODELS
    keys = [
        key for key in config["training"] if (key not in LINEAR_TRAINING if graph_model else key in LINEAR_TRAINING)
    ]
    if not config["training"]["pretrain"]["connectomes"]:
        keys = [key for key in keys if key != "pretrain"]
    return {
        "model": config["model"],
        "measure": config["connectivity"]["measure"],
        "graph": config["graph"] if graph_model else {},
        "training": {key: config["training"][key] for key in [*keys, "seed"]},
    }
