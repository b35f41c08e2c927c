"""Results that other code or other settings have made: what is said of them before they are made again.

Snakemake's own reason is two long lists of parameters, or the digests of two versions of the code.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping
from pathlib import Path

from dysconnect.keeping.made import other_settings, read_made
from dysconnect.keeping.sealed import Maker, makers
from dysconnect.plan.run import Run
from dysconnect.version import __version__

RECORDS = Path(".snakemake/metadata")
KEEP = "--touch (once: they then count as made by this code with these settings) or --rerun-triggers mtime (that run)"


def code_note(run: Run, known: Collection[str], project: str | Path = ".") -> str:
    """Say how many of the results that a run makes are there by other code, and what becomes of them.

    Parameters
    ----------
    run : Run
    known : collection of str
        Digests of the code of today's scripts, see `dysconnect.keeping.code.digest`.
    project : path
        With ``results/`` and ``.snakemake/``.

    Returns
    -------
    str
        Nothing where all results are of this code.
    """
    every = makers(run.dataset, Path(project, "results"))
    sealed = {place: maker for place, maker in every.items() if run.makes(place)}
    records = {place: _recorded(Path(project), place) for place in sealed}
    again = [place for place in sealed if records[place] and not _is_of(records[place], known)]
    kept = [place for place in sealed if not records[place] and sealed[place].code not in known]
    sentences = [
        f"{len(again)} of {len(sealed)} results were made by other code{_versions(sealed, again)}, and are made again "
        f"with all that depends on them: {_stages(again)}. To keep them as they are, add {KEEP}.",
        f"{len(kept)} of {len(sealed)} results were made by other code{_versions(sealed, kept)}, and Snakemake, which "
        f"has no record of them, goes by their times alone: {_stages(kept)}. To make them again, add --forceall.",
    ]
    said = [text for text, places in zip(sentences, (again, kept)) if places]
    return f"results/{run.dataset}: {' '.join(said)}" if said else ""


def settings_note(run: Run, project: str | Path = ".") -> str:
    """Say with which other settings the results that a run makes are there; nothing where they are the same."""
    folder, measure = Path("results", run.dataset), run.cohort["localize"]["measure"]
    connectomes = Path(project, folder, f"connectivity/{run.atlas}_{measure}.h5")
    try:
        made = read_made(connectomes, Path(project, folder, "train/splits.tsv"))
    except (OSError, ValueError):  # damaged: the job that reads them says so, and how they are made again
        return ""
    said = other_settings(made, run.cohort | {"connectivity": {"estimator": run.estimator(measure)}}) if made else ""
    return f"{folder} was made with other settings: {said}. What depends on them is made again." if said else ""


def _recorded(project: Path, place: str) -> str:
    """Parameters with which Snakemake has recorded a result, as text; nothing where it has not."""
    path = project / RECORDS / urlsafe_b64encode(f"results/{place}".encode()).decode()
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("params", ""))
    except (OSError, ValueError, AttributeError):  # none, or of another version of Snakemake
        return ""


def _is_of(record: str, known: Collection[str]) -> bool:
    return any(digest in record for digest in known)


def _stages(places: Collection[str]) -> str:
    return ", ".join(dict.fromkeys(place.split("/")[1] for place in places))


def _versions(sealed: Mapping[str, Maker], places: Collection[str]) -> str:
    """Which versions made some results, where it is not this one."""
    others = sorted({sealed[place].version for place in places} - {__version__})
    return f", dysconnect {', '.join(others)}; this is {__version__}" if others else ""
