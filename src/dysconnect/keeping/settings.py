"""Settings compared: their hash, and which of them differ."""

import hashlib
import json
from collections.abc import Iterator, Mapping

TOLD = ("title", "citation", "licence", "kind")  # change no number, or follow from root and nodes


def config_hash(config: Mapping) -> str:
    """Hash a configuration, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def differing(key: str, had: object, wanted: object) -> Iterator[tuple[str, object, object]]:
    """Dotted keys of the settings that differ below a key, with both values as they are typed.

    Of a group whose choice (`name`) differs, the choice alone is of interest.
    """
    if not (isinstance(had, Mapping) and isinstance(wanted, Mapping)):
        if had != wanted:
            yield key, _word(had), _word(wanted)
    elif had.get("name") != wanted.get("name"):
        yield key, _word(had.get("name")), _word(wanted.get("name"))
    else:
        for name in dict.fromkeys([*had, *wanted]):
            yield from differing(f"{key}.{name}".lstrip("."), had.get(name), wanted.get(name))


def _word(value: object) -> str:
    """A value as it is typed."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
