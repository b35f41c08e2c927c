"""On PYTHONPATH, this hides every package that a bare GPU machine lacks, from all processes."""

import re
import sys
from importlib import metadata

BARE = ("torch", "torch_geometric", "numpy", "scipy", "pandas", "scikit-learn", "numba")


def spelled(name: str) -> str:
    """A distribution's name as all spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(names) -> set[str]:
    """Distributions and all that they need."""
    found, waiting = set(), [spelled(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            try:
                asked = metadata.requires(name) or []
            except metadata.PackageNotFoundError:  # for another system
                continue
            waiting += [spelled(re.match(r"[\w.-]+", one)[0]) for one in asked if "extra ==" not in one]
    return found


THERE = needed(BARE)
ABSENT = {
    package
    for package, sources in metadata.packages_distributions().items()
    if not THERE & set(map(spelled, sources)) and package != "dysconnect"
}


class Bare:
    """One of the ways in which Python finds modules, which finds fewer."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        """Nothing of what is absent."""
        return None if name.partition(".")[0] in ABSENT else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)


sys.meta_path[:] = [Bare(finder) for finder in sys.meta_path]
