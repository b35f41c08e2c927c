"""What a process worked out of the content of files is kept for the next: every job of the workflow asks for the same.

It lies in the folder of Snakemake where the workflow runs. Nothing depends on it but time: it may be deleted, and what
cannot be read or written is worked out again.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

FOLDER = Path(".snakemake")  # below the working folder; where there is none, nothing is kept
MEMORIES = "dysconnect_*.json"


class Memory:
    """Values by name, each of which holds for one state of what it was made of.

    Parameters
    ----------
    path : path
        A JSON file, and so are the values.
    maker : str
        The code that makes them: what another made is forgotten.
    """

    def __init__(self, path: Path, maker: str):
        self.path, self.maker, self.values, self.changed = path, maker, {}, False
        with suppress(OSError, ValueError, AttributeError):
            self.values = json.loads(path.read_text(encoding="utf-8")).get(maker, {})

    def value(self, name: str, state: str, make: Callable[[], object]) -> object:
        """The value of a name, made anew where it was kept for another state."""
        if self.values.get(name, [None])[0] != state:
            self.values[name] = state, make()
            self.changed = True
        return self.values[name][1]

    def keep(self) -> None:
        """Write what is new for the next process; several may do so at once."""
        if self.changed and self.path.parent.is_dir():
            with suppress(OSError):
                number, part = tempfile.mkstemp(prefix=self.path.stem, suffix=".json", dir=self.path.parent)
                with open(number, "w", encoding="utf-8") as file:
                    json.dump({self.maker: self.values}, file)
                os.replace(part, self.path)
        self.changed = False


def remembered(module: str) -> Memory:
    """What a module made and is kept where this process works; another version of it made nothing of worth.

    Parameters
    ----------
    module : str
        Its ``__file__``.
    """
    return _memory(Path.cwd() / FOLDER / MEMORIES.replace("*", Path(module).stem), module)


@lru_cache(None)
def _memory(path: Path, module: str) -> Memory:
    return Memory(path, hashlib.sha256(Path(module).read_bytes()).hexdigest())
