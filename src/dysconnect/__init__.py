"""Which connections differ in dystonia, and how sure are we."""

__version__ = "0.1.0"
