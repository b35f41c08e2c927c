"""Which connections differ in dystonia, and how sure are we."""

from importlib import import_module

__version__ = "0.1.0"


def __getattr__(name: str):
    """Load `GraphClassifier` when it is asked for: torch takes seconds.

    By its name, so that who imports `__version__` is not taken for a user of the networks (see `dysconnect.code`).
    """
    if name == "GraphClassifier":
        return import_module("dysconnect.train.graph.classifier").GraphClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
