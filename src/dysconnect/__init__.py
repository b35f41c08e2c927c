"""Which connections differ in dystonia, and how sure are we."""

__version__ = "0.1.0"


def __getattr__(name: str):
    """Load `GraphClassifier` when it is asked for: torch takes seconds."""
    if name == "GraphClassifier":
        from dysconnect.train.graph.classifier import GraphClassifier

        return GraphClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
