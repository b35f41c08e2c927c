"""Which connections differ in dystonia, and how sure are we."""

from importlib import import_module

from dysconnect.version import __version__ as __version__


def __getattr__(name: str):
    """Load `GraphClassifier` when it is asked for: torch takes seconds.

    By its name, so that who imports `__version__` is not taken for a user of the networks (`dysconnect.keeping.code`).
    """
    if name == "GraphClassifier":
        return import_module("dysconnect.learning.graph.classifier").GraphClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
