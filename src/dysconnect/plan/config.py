"""Check a composed configuration, so that a typo stops before any job and names the key."""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from os.path import expanduser
from pathlib import Path

import jsonschema

from dysconnect.data.measures import ESTIMATORS, MEASURES
from dysconnect.models.cards import CARDS, is_graph

LINEAR_TRAINING = ("permutations", "calibration")  # read by linear models alone
ALL_TRAINING = ("memory", "seed")  # read by all
TEXT = {"string", "null", "object"}  # types of the schema that go with a text
LONGEST = 300  # signs of a message about one value


class ConfigError(ValueError):
    """The configuration cannot be used; the message names the key and the remedy."""


def validate(config: Mapping, schema_file: str | Path, where: str = "configuration") -> None:
    """Validate a composed configuration against the JSON schema.

    Raises
    ------
    ConfigError
        With the dotted name of the key, what is wrong with it, and the nearest known key.
    """
    schema = read_schema(schema_file)
    for key, value in leaves(config):
        if isinstance(value, float) and not isfinite(value):
            raise ConfigError(f"{where}: {key}: {value} is no number to work with. Give a finite one.")
    errors = sorted(Validator(schema).iter_errors(config), key=lambda error: (-len(error.absolute_path), error.message))
    if errors:
        raise ConfigError(f"{where}: " + "; ".join(describe(error) for error in errors[:3]))


def read_schema(schema_file: str | Path) -> dict:
    """Read the JSON schema; rules of models and measures are those of the cards and of the table."""
    schema = json.loads(Path(schema_file).read_text())
    parts = schema["properties"]
    parts["model"] |= _one_of("name", {name: _options(card.options) for name, card in CARDS.items()})
    parts["connectivity"] |= _one_of(
        "measure", {name: _estimators(measure.estimator) for name, measure in MEASURES.items()}
    )
    plain = (m for m in MEASURES.values() if not (m.tangent or m.diagonal))  # as norms and recovery need
    alone = [measure.name for measure in plain]
    parts["localize"]["properties"]["measure"] = {"enum": alone}
    return schema


def _one_of(key: str, cases: Mapping[str, Mapping]) -> dict:
    """Rule of an object of which a key has one of several values, and what each of them asks of the other keys."""
    rules = [
        {"if": {"required": [key], "properties": {key: {"const": name}}}, "then": rule} for name, rule in cases.items()
    ]
    return {"properties": {key: {"enum": [*cases]}}, "allOf": rules}


def _options(limits: Mapping[str, Mapping]) -> dict:
    return {"additionalProperties": False, "required": [*limits], "properties": {"name": {}, **limits}}


def _estimators(default: str | None) -> dict:
    rule = {"const": None, "description": "this measure needs none"} if default is None else {"enum": [*ESTIMATORS]}
    return {"additionalProperties": False, "properties": {"measure": {}, "estimator": rule}}


def _is_integer(_, value: object) -> bool:
    """Whether a number is whole in Python too: 5.0 folds would end in an error of the first job."""
    return isinstance(value, int) and not isinstance(value, bool)


Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


def leaves(config: object, place: str = "") -> Iterator[tuple[str, object]]:
    """Dotted key and value of everything that is no mapping and no list."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield from leaves(value, dotted(place, key))
    elif isinstance(config, list | tuple):
        for number, value in enumerate(config):
            yield from leaves(value, dotted(place, str(number)))
    else:
        yield place, config


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
    message = error.message if len(error.message) <= LONGEST else f"{error.message[:160]} ... {error.message[-80:]}"
    return f"{place or 'the configuration'}: {message}{_remedy(error)}"


def _remedy(error: jsonschema.ValidationError) -> str:
    """What to write instead, where a message about a value does not show it."""
    value, wanted = error.instance, error.validator_value
    if wanted == "array" and isinstance(value, str | int):
        return f". A list has brackets: [{value}]"
    if wanted == "integer" and isinstance(value, float) and value.is_integer():
        return f". Write {value:.0f}"
    return f" ({error.schema['description']})" if "description" in error.schema else ""


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


def rules_of(schema: Mapping, key: str) -> list[Mapping]:
    """Parts of the schema that may hold for a dotted key, under whatever condition."""
    rules = _alternatives(schema, schema)
    for part in key.split("."):
        rules = [case for rule in rules for below in _below(rule, part) for case in _alternatives(below, schema)]
    return rules


def _below(rule: Mapping, part: str) -> list[Mapping]:
    """Rule of one key of a mapping, or of the members of a list."""
    if part.isdigit() and "items" in rule:
        return [rule["items"]]
    free = rule.get("additionalProperties")
    return [rule["properties"][part]] if part in rule.get("properties", {}) else [free] if free else []


def _alternatives(rule: Mapping, schema: Mapping) -> list[Mapping]:
    """A rule, and those that it refers to or offers."""
    below = [*rule.get("oneOf", []), *rule.get("allOf", []), *([rule["then"]] if "then" in rule else [])]
    if "$ref" in rule:
        place = schema
        for part in rule["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        below.append(place)
    return [rule, *(case for one in below for case in _alternatives(one, schema))]


def wants_text(rules: Iterable[Mapping], value: str = "") -> bool:
    """Whether a value is to be free text: no number, no word of a closed list.

    Where some data sets have a mapping in the same place, a `value` in braces is one.
    """
    types = [rule["type"] for rule in rules if "type" in rule]
    kinds = {kind for one in types for kind in ([one] if isinstance(one, str) else one)}
    words = any("enum" in rule or "const" in rule for rule in rules)
    mapping = "object" in kinds and value.startswith("{")
    return "string" in kinds and kinds <= TEXT and not words and not mapping


def wants_texts(rules: Iterable[Mapping]) -> bool:
    """Whether a list is to hold such texts."""
    return any(wants_text([rule["items"]]) for rule in rules if "items" in rule)


def wants_mapping(rules: Iterable[Mapping]) -> bool:
    """Whether a value is a mapping from any name to such a text."""
    return any(wants_text([rule["additionalProperties"]]) for rule in rules if _is_free(rule))


def takes_names(schema: Mapping, key: str) -> bool:
    """Whether a key is one of the names that its mapping leaves free, such as a column or a site."""
    return "." in key and any(map(_is_free, rules_of(schema, key.rpartition(".")[0])))


def _is_free(rule: Mapping) -> bool:
    return isinstance(rule.get("additionalProperties"), Mapping)


def settle(config: object, schema: Mapping, place: str = "") -> object:
    """Take whole numbers for text where text is wanted (a group that is called 1), and ``~`` for the home folder."""
    if isinstance(config, Mapping):
        return {str(key): settle(value, schema, dotted(place, str(key))) for key, value in config.items()}
    if isinstance(config, list):
        return [settle(value, schema, dotted(place, str(number))) for number, value in enumerate(config)]
    if isinstance(config, int) and not isinstance(config, bool):
        return str(config) if wants_text(rules_of(schema, place)) else config
    is_path = isinstance(config, str) and config.startswith("~") and _is_path(rules_of(schema, place))
    return expanduser(config) if is_path else config


def _is_path(rules: Iterable[Mapping]) -> bool:
    return any(rule.get("format") == "path" for rule in rules)


def without(config: Mapping, *sections: str) -> dict:
    """Return a configuration without some sections, which do not concern a rule."""
    return {name: value for name, value in config.items() if name not in sections}


def training_sections(config: Mapping) -> dict:
    """Return the part of an experiment's configuration that its training reads, and nothing else.

    A learning rate does not concern a linear model, nor the number of label permutations a graph network;
    so a change of one does not train the other again.
    """
    graph_model = is_graph(config["model"]["name"])
    asked = [key for key in config["training"] if key not in ALL_TRAINING]
    keys = [key for key in asked if (key not in LINEAR_TRAINING) == graph_model]
    if not config["training"]["pretrain"]["connectomes"]:
        keys = [key for key in keys if key != "pretrain"]
    graph = config["graph"] if graph_model else {}
    return {
        "model": config["model"],
        "measure": config["connectivity"]["measure"],
        "graph": graph if graph.get("connectomes") else without(graph, "connectomes"),
        "training": {key: config["training"][key] for key in [*keys, *ALL_TRAINING]},
    }
