"""Whose problem it is: a person's file becomes that person's reason; the machine's troubles stop the job."""

import errno
import re
from collections.abc import Iterator, Mapping

LONGEST = 300  # characters of a reason
HEAD = 190  # of them before the cut: what is wrong comes first, what to do last

MACHINE = frozenset(
    getattr(errno, name)
    for name in (
        "ENOENT", "EACCES", "EPERM", "ENOSPC", "EDQUOT", "EROFS", "EFBIG", "EMFILE", "ENFILE", "ENOMEM", "EIO",
        "ESTALE", "ENXIO", "ENODEV", "EBUSY", "ETXTBSY", "EAGAIN", "ETIMEDOUT", "ENOTCONN", "ECONNRESET",
        "ECONNABORTED", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "EREMOTEIO", "ENOLCK",
    )
    if hasattr(errno, name)
)  # fmt: skip
REMEDIES = {
    errno.ENOSPC: "free some room",
    errno.EDQUOT: "your quota is used up: free some room",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "choose a folder that can be written to, with --directory",
    errno.EMFILE: "raise the number of open files (ulimit -n)",
    errno.EACCES: "mend the permissions",
    errno.EPERM: "mend the permissions",
    errno.ENOENT: "a file that was there before is gone; of results/, add --forcerun and the stage that made it",
}


class MachineError(RuntimeError):
    """The machine's trouble, not a file's: nobody is left out for it; the job stops and can be run again."""


def reason(error: Exception) -> str:
    """Say in one line why a person is left out, from whatever their files raised.

    Parameters
    ----------
    error : Exception
        Caught around the work on one person.

    Returns
    -------
    str
        At most `LONGEST` characters, without tabs or line breaks.

    Raises
    ------
    MachineError
        When the error, or one that it came from, is the machine's: no room, no permission, no memory, no handle, a
        stale mount, or a file that has vanished since it was collected.
    """
    for cause in _chain(error):
        if isinstance(cause, MachineError):
            raise cause
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in MACHINE):
            raise MachineError(_machine_text(cause)) from error
    expected = isinstance(error, ValueError | OSError) and str(error)
    return one_line(str(error) if expected else f"{type(error).__name__}: {error}")


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
        By person; "" for those who are not concerned. A person's own name in a reason does not make it another one.
    most : int
        Names that are told.
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


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _machine_text(cause: BaseException) -> str:
    if isinstance(cause, MemoryError):
        what, remedy = "memory is used up", "close other programs, or give the job more memory"
    else:
        place = f": {cause.filename}" if cause.filename else ""
        what, remedy = f"{cause.strerror or cause}{place}", REMEDIES.get(cause.errno, "mend it")
    return f"{what}. Nobody is left out for this: {remedy}, then run the same command again; what was finished is kept."
