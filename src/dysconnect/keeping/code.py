"""Which code made a result: a digest of the files that a script or a module reaches by import.

Found by reading the import statements, those inside functions too, so that nobody has to keep a list. Importing a
module runs the ``__init__`` of every package above it, and tables and templates lie beside the modules that read them.
Names are relative to the library or the script, so that the digest is the same in every checkout.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from dysconnect.keeping.remembered import remembered

LIBRARY = Path(__file__).resolve().parents[1]
INIT = "__init__.py"
DATA = (".tsv", ".html", ".css", ".json", ".yaml", ".bib")  # what packages ship beside their modules


def digest(*roots: str | Path) -> str:
    """Digest of some files and of all files that they reach by import, 32 hexadecimal digits.

    Parameters
    ----------
    *roots : path
        Scripts, or modules of the library.
    """
    hashed = hashlib.sha256()
    for name, content in sorted((_name(path), _content(*_version(path))) for path in reached(*roots)):
        hashed.update(f"{name}\0{content}\n".encode())
    return hashed.hexdigest()[:32]


def reached(*roots: str | Path) -> list[Path]:
    """Files that some files use: themselves, modules of the library, scripts beside them, data of packages.

    Of a package from whose module something is imported only the ``__init__`` itself counts; what that imports in turn
    is run, too, but nothing of it is used.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    SyntaxError
        When one of them is no Python.
    """
    waiting, followed, files = [Path(root).resolve() for root in roots], set(), set()
    while waiting:
        path = waiting.pop()
        if path not in followed:
            followed.add(path)
            used, run = _imported(*_version(path))
            waiting += used
            files.update((path, *run))
    remembered(__file__).keep()
    return sorted(files)


@lru_cache(None)
def _name(path: Path) -> str:
    """A file's name that is the same in every checkout."""
    inside = path.is_relative_to(LIBRARY)
    return f"{LIBRARY.name}/{path.relative_to(LIBRARY).as_posix()}" if inside else path.name


def _version(path: Path) -> tuple[Path, int, int]:
    """A file and what changes with its content."""
    stat = path.stat()
    return path, stat.st_mtime_ns, stat.st_size


@lru_cache(None)
def _content(path: Path, *_version: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@lru_cache(None)
def _imported(path: Path, *_version: int) -> tuple[list[Path], list[Path]]:
    """Modules from which a file imports something; and what only runs or is read: ``__init__`` of packages, data."""
    read = _read(path)
    inside = path.is_relative_to(LIBRARY)
    names = path.relative_to(LIBRARY).with_suffix("").parts if inside else ()
    modules = {*read.modules, ".".join([LIBRARY.name, *names])} if inside else read.modules
    files = [_files(name) for name in modules if name.split(".")[0] == LIBRARY.name]
    scripts = [] if inside else [path.with_name(f"{name}.py") for name in read.modules]
    used = {file for module, _ in files for file in module}
    return [*used, *filter(Path.exists, scripts)], [*{file for _, above in files for file in above}, *read.data]


@lru_cache(None)
def _files(module: str) -> tuple[list[Path], list[Path]]:
    """File of a module of the library, and the ``__init__`` that run with it: its own, and of all packages above."""
    if "." not in module:
        return [LIBRARY / INIT], [LIBRARY / INIT]
    parent, _, name = module.rpartition(".")
    files, above = _files(parent)
    if not files or files[-1].name != INIT:  # no package: nothing lies in it
        return [], above
    place = files[-1].with_name(name)
    own = [path for path in (place.with_suffix(".py"), place / INIT) if path.exists()]
    return own, [*above, *(path for path in own if path.name == INIT)]


class _Read(NamedTuple):
    """What the text of a file says: modules that it imports, and data beside it."""

    modules: frozenset[str]
    data: tuple[Path, ...]


def _read(path: Path) -> _Read:
    """Read a file, or remember what it said; who names ``.tsv`` reads what lies beside."""
    package, (modules, suffixes) = _package(path), _said(path)
    beside = [file for file in _beside(path.parent) if file.suffix in DATA] if package else []
    named = any(file.suffix in suffixes for file in beside)
    return _Read(frozenset(modules), tuple(beside if named else ()))


def _said(path: Path) -> tuple[list[str], list[str]]:
    """Modules that a file imports, and kinds of data that it names."""
    content = _content(*_version(path))
    return remembered(__file__).value(_name(path), content, lambda: (_modules(path), _suffixes(path)))


def _suffixes(path: Path) -> list[str]:
    text = path.read_bytes()
    return [suffix for suffix in DATA if suffix.encode() in text]


def _modules(path: Path) -> list[str]:
    """Names that a file imports; ``from a import b`` names a, and maybe the module a.b."""
    package, names = _package(path), set()
    for node in _statements(ast.parse(path.read_bytes(), str(path)).body):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join([*above, *(node.module or "").split(".")]).strip(".")
            names |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
    return sorted(names)


@lru_cache(None)
def _beside(folder: Path) -> list[Path]:
    """Files in a folder, and in the folders in it that are no packages."""
    inner = [path for path in folder.iterdir() if path.is_dir() and not (path / INIT).exists()]
    return sorted(path for place in (folder, *inner) for path in place.iterdir())


def _package(path: Path) -> tuple[str, ...]:
    """Package of a module of the library; none for a script."""
    return (LIBRARY.name, *path.relative_to(LIBRARY).parent.parts) if path.is_relative_to(LIBRARY) else ()


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements, also those inside functions, but not what only type checkers read."""
    for node in body:
        yield node
        skipped = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for field in ("orelse",) if skipped else ("body", "orelse", "handlers", "finalbody", "cases"):
            inner = getattr(node, field, None)
            yield from _statements(inner) if isinstance(inner, list) else ()
