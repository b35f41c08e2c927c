"""Choose a participant's scan by the names of the files, and what belongs to it: mask, confounds, anatomy."""

from collections.abc import Mapping, Sequence

from dysconnect.acquire.diffusion import (
    GRADIENTS,
    asked_of_diffusion,
    belonging,
    forward,
    is_diffusion,
    is_diffusion_image,
)
from dysconnect.acquire.events import find_events, no_events
from dysconnect.acquire.kinds import IMAGES, is_confounds, is_prepared, is_raw, newest_first
from dysconnect.data.images.spaces import is_grayordinates
from dysconnect.problems import one_line
from dysconnect.reading.bids import Ambiguity, Choice, Named, agree, asked_entities, choose, companion, read_name, same

NONE_OF_THIS = "none of the same scan"
FILES = ("bold", "mask", "confounds", "t1w")
ALL_FILES = (*FILES, "events", "reverse", *GRADIENTS)  # events of a task that has some; the others of diffusion


def find_scan(paths: Sequence[str], spec: Mapping) -> dict:
    """Choose the scan of one participant, and what belongs to it.

    Parameters
    ----------
    paths : sequence of str
        Files of one participant, relative to the data folder.
    spec : mapping
        The `dataset` section: `kind` (`bids` or `derivatives`), `task`, `space` (derivatives), and where it has them
        `session`, `run` and `entities`; `engine`, where it is known: fMRIPrep combines echoes; `events` of a task
        that has some, see `events_above`.

    Returns
    -------
    dict
        `bold`, `mask`, `confounds`, `t1w`, and `events` where they are asked for: paths, "" where there is none of this
        scan; `events_problem` where there are no events; `choices`: what was chosen of several, and what was not taken
        though it was there (`what`, `chosen`, `others`, `why`). Of diffusion images (`task`
        dwi) `bold` is the scan, and there are `bval`, `bvec` and `reverse`.

    Raises
    ------
    Ambiguity
        When several scans could be meant and no key says which.
    """
    files = files_of_subject(paths)
    scans = [file for file in files if is_scan(file, spec)]
    wanted, asked = _wanted(scans, spec)
    combined = ("echo",) if spec.get("engine") == "fmriprep" else ()
    bold = choose(wanted, asked, combined)
    if bold.file is None:
        return dict.fromkeys(FILES, "") | {"choices": []}
    rivals = [file for file in files if file.suffix == "bold" and file.extension not in (".json", ".tsv")]
    choices = {"bold": bold, **_companions(bold.file, files, rivals, spec)}
    paths_of = {name: choices[name].file.path if name in choices and choices[name].file else "" for name in FILES}
    if "events" in spec:
        where = bold.file, files, spec["events"], spec["task"]
        paths_of["events"] = find_events(*where)
        paths_of |= {} if paths_of["events"] else {"events_problem": one_line(no_events(*where))}
    paths_of |= belonging(bold.file, files) if is_diffusion(spec) else {}
    rows = [row for name, choice in choices.items() if (row := _row(name, choice, bold.file, combined))]
    return paths_of | {"choices": rows}


def find_left(paths: Sequence[str], spec: Mapping) -> dict:
    """Choose as `find_scan` does among what fMRIPrep left; where it is not clear, `problem` says so."""
    try:
        return find_scan(paths, spec)
    except Ambiguity as error:
        return dict.fromkeys(FILES, "") | {"choices": [], "problem": one_line(str(error))}


def files_of_subject(paths: Sequence[str]) -> list[Named]:
    """Take the names apart; files of another subject in a subject's folder are passed over."""
    files = [read_name(path) for path in paths]
    tops = [file.path.partition("/")[0] for file in files]
    return [
        file for file, top in zip(files, tops) if not top.startswith("sub-") or file.participant_id in (top, "sub-")
    ]


def _wanted(scans: Sequence[Named], spec: Mapping) -> tuple[list[Named], dict[str, str | None]]:
    """Scans of the task, or diffusion images of the direction; and what else is asked of their names."""
    if is_diffusion(spec):
        asked = asked_of_diffusion(spec)
        return forward(scans, asked), asked
    return [file for file in scans if same("task", file.entities.get("task"), spec["task"])], asked_entities(spec)


def is_scan(file: Named, spec: Mapping) -> bool:
    """Whether a file is BOLD as it is read of this dataset, of any task; or diffusion images, where asked for."""
    if is_diffusion(spec):
        return is_diffusion_image(file)
    return is_raw(file) if spec["kind"] == "bids" else is_prepared(file, spec["space"])


def _companions(bold: Named, files: Sequence[Named], rivals: Sequence[Named], spec: Mapping) -> dict[str, Choice]:
    """Anatomy of raw images; mask (in the same space) and confounds of prepared ones."""
    if spec["kind"] == "bids":
        return {"t1w": anatomy(bold, files)}
    tables = newest_first(file for file in files if is_confounds(file))
    bare = [file for file in files if file.suffix == "timeseries" and file.extension == ".tsv" and file not in tables]
    bare = [file for file in bare if not {"desc", "seg", "atlas"} & set(file.entities)]
    companions = {"confounds": companion(bold, tables or bare, rivals)}
    if not is_grayordinates(bold.path):
        masks = [file for file in files if file.suffix == "mask" and file.extension in IMAGES]
        masks = [file for file in masks if file.entities.get("desc") == "brain"]
        companions["mask"] = companion(bold, masks, rivals, ("desc",))
    return companions


def anatomy(bold: Named, files: Sequence[Named]) -> Choice:
    """Choose a T1w: of the same session, else of no session, else of the first of the others."""
    plain = [file for file in files if file.suffix == "T1w" and file.extension in IMAGES]
    plain = [file for file in plain if not {"space", "desc"} & set(file.entities)]
    session = bold.entities.get("ses")
    order = {file.path: (not same("ses", file.entities.get("ses"), session), file.order) for file in plain}
    plain = sorted(plain, key=lambda file: order[file.path])
    return Choice(plain[0], tuple(plain[1:])) if plain else Choice(None)


def _row(what: str, choice: Choice, bold: Named, combined: Sequence[str]) -> dict | None:
    """What the user should know of a choice; None where there was nothing to choose."""
    others = [file for file in choice.others if not _is_part(file, choice.file, combined)]
    if what == "t1w" and choice.file and agree(choice.file, bold, set(choice.file.entities) - {"ses"}):
        others = [file for file in others if agree(file, bold, set(file.entities) - {"ses"})]
    if what in ("confounds", "mask") and choice.file:
        return None
    if not others and not (what == "t1w" and choice.file and "ses" in bold.entities and not _of_session(choice, bold)):
        return None
    return {
        "what": "BOLD" if what == "bold" else "T1w" if what == "t1w" else what,
        "chosen": choice.file.path if choice.file else "",
        "others": [file.path for file in others],
        "why": _why(what, choice, bold, others),
    }


def _is_part(file: Named, chosen: Named | None, combined: Sequence[str]) -> bool:
    """Whether a file is only another echo of what is combined."""
    pairs = [set(one.entities.items()) for one in (file, chosen or file)]
    return chosen is not None and bool(combined) and {key for key, _ in pairs[0] ^ pairs[1]} <= set(combined)


def _of_session(choice: Choice, bold: Named) -> bool:
    return same("ses", choice.file.entities.get("ses"), bold.entities.get("ses"))


def _why(what: str, choice: Choice, bold: Named, others: Sequence[Named]) -> str:
    if choice.file is None:
        return NONE_OF_THIS
    if what == "t1w":
        return "of another session, as this one has none" if not _of_session(choice, bold) else "the first of several"
    return describe_choice(choice.file, others)


def describe_choice(chosen: Named, others: Sequence[Named]) -> str:
    """Say why a scan was taken of several, and which key takes another."""
    runs = [file for file in others if not same("run", file.entities.get("run"), chosen.entities.get("run"))]
    if runs and "run" not in chosen.entities:
        return f"the one without a run in its name (dataset.run={int_or_text(runs[0].entities['run'])} takes another)"
    if runs:
        return f"the first of several runs (dataset.run={int_or_text(runs[0].entities.get('run', '1'))} takes another)"
    return "the one whose name says what was asked"


def joined(files: Sequence[Named]) -> str:
    """Paths as the table of choices lists them."""
    return ", ".join(file.path for file in files)


def int_or_text(value: str) -> str:
    """A number as the configuration wants it, without leading zeros."""
    return str(int(value)) if value.isdecimal() else value
