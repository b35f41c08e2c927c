"""Settings that made results, kept beside them, so that a later run does not claim others."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py

from dysconnect.keeping.place import portable
from dysconnect.keeping.settings import TOLD, differing

# the stage that makes what a section of the settings decides
STAGES = {
    "dataset": "acquire", "preprocess": "preprocess", "atlas": "timeseries", "denoise": "timeseries",
    "connectivity": "connectivity", "splits": "splits",
}  # fmt: skip


class MadeOtherwise(ValueError):
    """Results were made with other settings than a run claims."""


def read_made(connectomes: str | Path, splits: str | Path) -> dict[str, dict]:
    """Settings that made connectomes and splits, by section; empty where the files do not say.

    Parameters
    ----------
    connectomes : path
        HDF5; its attributes `settings` and `estimator` are read.
    splits : path
        Table; what made it stands in a JSON file of the same name.
    """
    beside = Path(splits).with_suffix(".json")
    if not Path(connectomes).exists():
        return {}
    with h5py.File(connectomes) as file:
        attributes = {name: file.attrs[name] for name in ("settings", "estimator") if name in file.attrs}
    if "settings" not in attributes or not beside.exists():
        return {}
    estimator = {"connectivity": {"estimator": str(attributes["estimator"])}} if "estimator" in attributes else {}
    return json.loads(attributes["settings"]) | estimator | json.loads(beside.read_text())


def refuse_other_settings(made: Mapping[str, Mapping], config: Mapping, folder: str | Path) -> None:
    """Refuse to use results for a run whose settings did not make them.

    Parameters
    ----------
    made : mapping
        Of `read_made`.
    config : mapping
        Composed configuration of the run.
    folder : path
        Of the results, for the message.

    Raises
    ------
    MadeOtherwise
        Names every setting that differs with its stage, and the command that makes the results anew.
    """
    differing = _differing(made, config)
    if not differing:
        return
    settings = " ".join(f"{key}={had}" for key, had, _ in differing)
    raise MadeOtherwise(
        f"{folder} was made with other settings than those of this run: {_said(differing)}. Make it anew with "
        f"`{_command(differing)}`, or give this run what made it: {settings}"
    )


def other_settings(made: Mapping[str, Mapping], config: Mapping) -> str:
    """Say which settings made results and are not those of a run, each with its stage; nothing where all are the same.

    Parameters
    ----------
    made : mapping
        Of `read_made`.
    config : mapping
        Composed configuration of the run.
    """
    return _said(_differing(made, config))


def _said(differing: list[tuple[str, object, object]]) -> str:
    return "; ".join(f"{key}={had}, not {wanted} (stage {STAGES[key.split('.')[0]]})" for key, had, wanted in differing)


def _differing(made: Mapping, config: Mapping) -> list[tuple[str, object, object]]:
    return list(_pairs(made, json.loads(json.dumps(portable(config)))))


def _pairs(made: Mapping, config: Mapping) -> Iterator[tuple[str, object, object]]:
    """Settings that differ: key, what made the results, what is wanted; of a group whose choice differs, the choice."""
    for section, had in made.items():
        wanted = config.get(section, {})
        if had.get("name") != wanted.get("name"):
            yield section, had.get("name"), wanted.get("name")
            continue
        partial = section in ("preprocess", "connectivity")  # only what is recorded of these made the results
        for key in had if partial else dict.fromkeys([*had, *wanted]):
            if had.get(key) != wanted.get(key) and key not in TOLD:
                yield from differing(f"{section}.{key}", had.get(key), wanted.get(key))


def _command(differing: list[tuple[str, object, object]]) -> str:
    chosen = [f"{key}={wanted}" for key, _, wanted in differing if "." not in key]
    given = " ".join(f"{key}={wanted}" for key, _, wanted in differing if "." in key)
    return " ".join(["snakemake --config", *chosen, *([f"'overrides={given}'"] if given else [])])
