"""Whose problem it is: a person's file becomes that person's reason; the machine's troubles stop the job."""

import errno
import os
import re
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

LONGEST = 300  # characters of a reason
HEAD = 190  # of them before the cut: what is wrong comes first, what to do last

MACHINE = frozenset(
    getattr(errno, name)
    for name in (
        "ENOENT", "EACCES", "EPERM", "ENOSPC", "EDQUOT", "EROFS", "EFBIG", "EMFILE", "ENFILE", "ENOMEM", "EIO",
        "ESTALE", "ENXIO", "ENODEV", "EBUSY", "ETXTBSY", "EAGAIN", "ETIMEDOUT", "ENOTCONN", "ECONNRESET",
        "ECONNABORTED", "ECONNREFUSED", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "EREMOTEIO", "ENOLCK",
        "EPIPE", "EUCLEAN", "ENOMEDIUM", "EKEYEXPIRED", "ENOKEY", "ESHUTDOWN",
    )
    if hasattr(errno, name)
)  # fmt: skip
CLASSES = (  # for themselves: libraries leave the errno out
    MemoryError, ImportError, FileNotFoundError, PermissionError, TimeoutError, ConnectionError,
)  # fmt: skip
WORDS = re.compile(  # of libraries in C, which tell nothing but words: HDF5, ITK, torch
    "|".join(re.escape(os.strerror(code)) for code in sorted(MACHINE - {errno.ENOENT, errno.EAGAIN, errno.EBUSY}))
    + "|out of memory|can't allocate memory|bad_alloc|can't start new thread|disk full",
    re.IGNORECASE,
)
REMEDIES = {
    errno.ENOSPC: "free some room",
    errno.EDQUOT: "your quota is used up: free some room",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "choose a folder that can be written to, with --directory",
    errno.EMFILE: "raise the number of open files (ulimit -n)",
    errno.EACCES: "mend the permissions",
    errno.EPERM: "mend the permissions",
    errno.ENOENT: "a file that was there before is gone: put it back",
}


class MachineError(RuntimeError):
    """The machine's trouble, not a file's: nobody is left out for it; the job stops and can be run again."""


def reason(error: Exception, who: str = "") -> str:
    """Say in one line why a person is left out, from whatever their files raised.

    Parameters
    ----------
    error : Exception
        Caught around the work on one person.
    who : str
        The person, for the message where it is not their fault.

    Returns
    -------
    str
        At most `LONGEST` characters, without tabs or line breaks.

    Raises
    ------
    MachineError
        When the error, or one that it came from, is the machine's: no room, no permission, no memory, no handle, a
        stale mount, a package that is missing, or a file that has vanished since it was collected.
    """
    for cause in _chain(error):
        if isinstance(cause, MachineError):
            raise cause
        if is_machine(cause):
            raise MachineError(f"{who}: " * bool(who) + _machine_text(cause)) from error
    if isinstance(error, ValueError | OSError) and str(error):
        return one_line(str(error))
    traceback.print_exception(error)  # nobody foresaw it: the log says where
    return one_line(f"{type(error).__name__}: {error}")


def is_machine(error: BaseException) -> bool:
    """Whether an error, for itself, is the machine's."""
    if isinstance(error, CLASSES):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in MACHINE
    return isinstance(error, OSError | RuntimeError) and bool(WORDS.search(str(error)[:10_000]))


def refuse_gone(files: Iterable[tuple[str, str | Path]]) -> None:
    """Stop where files that a stage collected or made are no longer there.

    Parameters
    ----------
    files : iterable of (person, path)
        An empty path is none.

    Raises
    ------
    MachineError
        Names them, and what brings them back.
    """
    absent = [(name, Path(path)) for name, path in files if path and not Path(path).exists()]
    if not absent:
        return
    first = ", ".join(f"{name} ({path.name})" for name, path in absent[:3])
    more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
    raise MachineError(
        f"{len(absent)} {'files' if len(absent) > 1 else 'file'} that {'were' if len(absent) > 1 else 'was'} there "
        f"before {'are' if len(absent) > 1 else 'is'} gone: {first}{more}. Nobody is left out for this: "
        f"{remedy_gone(absent)}."
    )


def remedy_gone(absent: Sequence[tuple[str, Path]]) -> str:
    """What brings files back: the stage among whose results they were, or their owner."""
    parts = absent[0][1].parts
    at = len(parts) - 1 - parts[::-1].index("results") if "results" in parts[:-1] else None
    stage = parts[at + 2] if at is not None and len(parts) > at + 3 else ""
    if at is not None and parts[at + 1] == "data":  # whatever lies there was fetched
        return "fetch them again: add --forcerun download to the same command"
    if stage in ("preprocess", "tractography"):  # of whom nothing is gone need not be made again
        folder, shown = Path(*parts[: at + 3]), "/".join(parts[at : at + 3])
        tables = [f"{shown}/participants/{table}" for table in _tables(folder, {name for name, _ in absent})]
        return f"make them again: add --forcerun {' '.join(tables) or stage} to the same command"
    if stage in ("acquire", "timeseries"):
        return f"make them again: add --forcerun {stage} to the same command"
    return "put them back, or, if they are gone for good, add --forcerun acquire to the same command"


def _tables(folder: Path, names: Collection[str]) -> list[str]:
    """Tables of a stage's jobs in which some people are: of one person each, or of many; none where all must be named.

    Of several tables of one person (an earlier version left those of other jobs) the newest is the one.
    """
    tables = sorted((folder / "participants").glob("*.tsv"), key=lambda path: path.stat().st_mtime_ns)
    holding = {name: table.name for table in tables for name in people_of(table)}
    wanted = {holding[name] for name in names if name in holding}
    return sorted(wanted) if wanted != set(holding.values()) and set(names) <= holding.keys() else []


def people_of(table: Path) -> list[str]:
    """Whose rows stand in the table of a job."""
    return [line.partition("\t")[0] for line in table.read_text().splitlines()[1:]]


def one_line(text: str) -> str:
    """Shorten to `LONGEST` characters in one line; a long text loses its middle."""
    plain = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text[: 100 * LONGEST] + text[100 * LONGEST :][-LONGEST:]).strip()
    if len(plain) <= LONGEST:
        return plain
    return f"{plain[:HEAD].rstrip()} ... {plain[HEAD + 5 - LONGEST :].lstrip()}"


def counted(reasons: Mapping[str, str], most: int = 3) -> list[str]:
    """One line a reason, the most frequent first: how many people, why, and the first of their names.

    Parameters
    ----------
    reasons : mapping of str to str
        By person; "" for those who are not concerned. A person's name in a reason does not make it another one.
    most : int
        Names that are listed.
    """
    alike: dict[str, list[str]] = {}
    for name, text in reasons.items():
        if text:
            alike.setdefault(re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", "sub-...", text), []).append(
                name
            )
    lines = []
    for text, names in sorted(alike.items(), key=lambda item: -len(item[1])):
        text = text if len(names) > 1 else reasons[names[0]]
        shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
        lines.append(f"{len(names):4d}  {one_line(text)} ({shown})")
    return lines


def frequent(reasons: Iterable[str], most: int = 3) -> list[str]:
    """Most frequent reasons, the first of every kind: numbers in a reason do not make it another one."""
    alike: dict[str, list[str]] = {}
    for text in filter(None, reasons):
        alike.setdefault(re.sub(r"\d[\d.,]*", "", text), []).append(text)
    return [texts[0] for texts in sorted(alike.values(), key=len, reverse=True)[:most]]


def left_out(reasons: Mapping[str, str]) -> str:
    """Say for the terminal how many people are included, and why the others are not (`reasons` by person)."""
    lines = counted(reasons)
    included = sum(not text for text in reasons.values())
    summary = f"{included} of {len(reasons)} people are included"
    return "\n".join([f"{summary}; left out:", *lines] if lines else [f"{summary}."])


def decided(notes: Mapping[str, str], what: str = "columns") -> str:
    """Say for the terminal what was decided about people's files (`notes` by person); else nothing."""
    lines = counted(notes)
    return "\n".join([f"What was decided about {what}:", *lines]) if lines else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _machine_text(cause: BaseException) -> str:
    if isinstance(cause, MemoryError):
        what, remedy = "memory is used up", "close other programs, or give the job more memory"
    elif isinstance(cause, OSError) and cause.errno is not None:
        place = f": {cause.filename}" if cause.filename else ""
        what, remedy = f"{cause.strerror or cause}{place}", REMEDIES.get(cause.errno, "mend it")
    else:
        what, remedy = one_line(str(cause) or type(cause).__name__), "mend it"
    return f"{what}. Nobody is left out for this: {remedy}, then run the same command again; what was finished is kept."
