"""Packages of other sites, read: they come by mail, so nothing in them is executed and nothing is believed unread.

What a file says of itself decides how large its parts may be, each part is read no further than that, and the numbers
must be such as sums of people can be.
"""

import io
import json
import re
import tokenize
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd

from dysconnect.data.edges import Pairs
from dysconnect.pooling.sums import Sums
from dysconnect.reading.archives import DAMAGED
from dysconnect.share.package import DESCRIPTION, FORMAT, REGIONS, STATEMENT, SUMS, Package, hash_of, release_of
from dysconnect.share.statement import regions_hash

SCHEMA = Path(__file__).with_name("statistics.schema.json")
MEMBERS = {STATEMENT: 5e6, REGIONS: 5e6, DESCRIPTION: 1e5, SUMS: None}  # bytes at most; sums as the statement says
MOST = 4e9  # bytes of sums
PACKED = 1e7, 100  # bytes of sums from which they may not be so many times the bytes of the file: numbers pack badly
HEADER = 1000  # bytes that an array takes beside its values
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # categories of characters that a terminal obeys, or that turn a text round
FORMULA = re.compile(r"[=@\uff1d\uff20]|[-+\uff0b\uff0d](?![\d ()/.-]*$)")  # at the start of a cell of a spreadsheet
SLACK = 1e-9  # relative: what rounding may do to an inequality
CHECKER = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int),
)  # 45.0 is no integer: it is to be a place


class PackageError(ValueError):
    """The file of a site cannot be used; the message names it, what is wrong and what to do."""


def read_package(path: str | Path) -> Package:
    """Read a package.

    Raises
    ------
    PackageError
        When it is no package, is damaged, is larger than what it says of itself allows, holds anything but plain
        numbers, or numbers that no people could have.
    """
    path = Path(path)
    if not path.is_file():
        raise PackageError(f"{path}: no such file. Name the SITE.zip that a site has sent.")
    try:
        with zipfile.ZipFile(path) as file:
            return _read(file)
    except PackageError as error:
        raise PackageError(f"{path} {error} Ask the site for its file again.") from error
    except (*DAMAGED, OSError) as error:
        raise PackageError(f"{path} is damaged or no zip ({error}). Ask the site for its file again.") from error


def _read(file: zipfile.ZipFile) -> Package:
    _refuse_members(file)
    about = _statement(member_bytes(file, STATEMENT, MEMBERS[STATEMENT]))
    regions = _regions(member_bytes(file, REGIONS, MEMBERS[REGIONS]), about)
    shapes = _shapes(about, len(regions))
    size = sum(8 * int(np.prod(shape)) + HEADER for shape in shapes.values())
    if size > MOST:
        raise PackageError(f"says that it holds {size / 1e9:.0f} GB of sums, and at most {MOST / 1e9:.0f} are read.")
    if size > PACKED[0] and size > PACKED[1] * file.getinfo(SUMS).compress_size:
        raise PackageError(f"says that it holds {size / 1e6:.0f} MB of sums, and has far fewer bytes.")
    arrays = _arrays(member_bytes(file, SUMS, size), shapes)
    columns = tuple(column["name"] for column in about["columns"])
    given = arrays["given"]
    sums = Sums(columns, arrays["xx"], arrays["xy"], arrays["yy"], given)
    norm = Sums(columns, arrays["norm_xx"], arrays["norm_xy"], arrays["norm_yy"], given) if len(arrays) > 4 else None
    said = {key: value for key, value in about.items() if key not in ("format", "release")}
    if release_of(said, sums, norm) != about["release"]:
        raise PackageError("is not what was written: its content has another number than it says.")
    _refuse_impossible(about, sums, norm)
    return Package(about, regions, sums, norm)


def _refuse_members(file: zipfile.ZipFile) -> None:
    names = [one.filename for one in file.infolist()]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise PackageError(f"holds {', '.join(sorted(twice)[:3])} twice.")
    foreign = sorted(set(names) - set(MEMBERS))
    if foreign:
        raise PackageError(f"holds {', '.join(map(repr, foreign[:3]))}, which no file of sums has.")
    absent = sorted(set(MEMBERS) - set(names))
    if absent:
        raise PackageError(f"lacks {', '.join(absent)}: it is no file of sums, or half of one.")


def member_bytes(file: zipfile.ZipFile, name: str, most: float) -> bytes:
    """Content of a member, read no further than it may be long, whatever its header says."""
    with file.open(name) as member:
        content = member.read(int(most) + 1)
    if len(content) > most:
        raise PackageError(f"holds a {name} of more than {most / 1e6:.3g} MB.")
    return content


def _statement(content: bytes) -> dict:
    try:
        about = plain_json(content)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"holds a {STATEMENT} that cannot be read ({str(error)[:100]}).") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        had = about.get("format") if isinstance(about, dict) else None
        raise PackageError(f"is of the format {had!r}, and this version reads {FORMAT!r}.")
    if wrong := why_not_stated(about):
        raise PackageError(f"has a {STATEMENT} in which {wrong}.")
    if hash_of(about["processing"]) != about["processing_hash"]:
        raise PackageError("says processing keys that have another hash than it says.")
    return about


def why_not_stated(about: Mapping) -> str:
    """Why a statement is none that may be sent; empty where it is one."""
    if wrong := why_not_shown(texts_of(about)):
        return wrong
    error = next(iter(CHECKER(json.loads(SCHEMA.read_text())).iter_errors(about)), None)
    if error is None:
        return ""
    return f"{'.'.join(map(str, error.absolute_path)) or 'it'} is not as it must be: {error.message[:200]}"


def texts_of(value: object) -> Iterator[str]:
    """All words in something of JSON, and the names of its keys."""
    if isinstance(value, str):
        yield value
    for part in [*value, *value.values()] if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from texts_of(part)


def why_not_shown(texts: Iterable[str]) -> str:
    """Which of some words of others is not to be shown, and why; empty where all may be."""
    for text in texts:
        if any(unicodedata.category(letter) in UNSEEN for letter in text):
            return f"{text[:50]!r} has characters that cannot be seen"
        if FORMULA.match(text):
            return f"{text[:50]!r} begins as a formula of a spreadsheet does"
    return ""


def plain_json(content: bytes) -> object:
    """Read JSON without NaN and with every key once; ValueError for anything else."""
    return json.loads(content.decode("utf-8"), parse_constant=_no_number, object_pairs_hook=_once)


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _once(pairs: list) -> dict:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError("a key stands in it twice")
    return dict(pairs)


def _regions(content: bytes, about: Mapping) -> pd.DataFrame:
    try:
        text = pd.read_csv(io.BytesIO(content), sep="\t", dtype=str, keep_default_na=False)
        table = text.astype({name: float for name in ("x", "y", "z")})
    except (ValueError, KeyError) as error:
        raise PackageError(f"holds a {REGIONS} that cannot be read ({str(error)[:100]}).") from error
    words = [*text, *text.drop(columns=["x", "y", "z"]).to_numpy().ravel()]
    if wrong := why_not_shown(words):
        raise PackageError(f"holds a {REGIONS} in which {wrong}.")
    if not np.isfinite(table[["x", "y", "z"]]).all(axis=None):
        raise PackageError(f"holds a {REGIONS} with regions that lie nowhere.")
    if "name" not in table or table["name"].duplicated().any() or regions_hash(table) != about["atlas"]["hash"]:
        raise PackageError(f"holds a {REGIONS} of other regions than its {STATEMENT} says.")
    return table


def _shapes(about: Mapping, n_regions: int) -> dict[str, tuple[int, ...]]:
    """Shape of every array that there may be."""
    edges, names = about["edges"], [column["name"] for column in about["columns"]]
    if edges not in (0, len(Pairs(n_regions, about["measure"]["directed"]))):
        raise PackageError(f"says {edges:,} connections, which {n_regions} regions do not have.")
    if len(set(names)) < len(names):
        raise PackageError("names a column twice.")
    q, outcomes = len(names), edges + len(about["circuits"])
    shapes = {"xx": (q, q), "xy": (q, outcomes), "yy": (outcomes,)}
    return shapes | {"given": (outcomes,)} | {f"norm_{name}": shape for name, shape in shapes.items()}


def _arrays(content: bytes, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        names = [one.filename.removesuffix(".npy") for one in file.infolist()]
        norm = [name for name in shapes if name.startswith("norm_")]
        if len(set(names)) < len(names) or set(names) not in (set(shapes), set(shapes) - set(norm)):
            raise PackageError(f"holds other arrays than sums: {', '.join(map(repr, names[:8]))}.")
        for name in names:
            kind = np.dtype(bool if name == "given" else "<f8")
            size = kind.itemsize * int(np.prod(shapes[name])) + HEADER
            arrays[name] = plain_array(name, member_bytes(file, f"{name}.npy", size), shapes[name], kind)
    return arrays


def plain_array(name: str, content: bytes, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
    """An array of exactly the shape and type that it must have: its header is read, and never obeyed."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        had, order, stored = reader(stream)
    except (ValueError, KeyError, SyntaxError, TypeError, MemoryError, tokenize.TokenError, RecursionError) as error:
        raise PackageError(f"holds an array {name} that cannot be read ({str(error)[:100]}).") from error
    if (had, stored, order) != (shape, kind, False):
        raise PackageError(
            f"holds an array {name} of {stored} {list(had)}{' in other order' * order}, and {kind} {list(shape)} is "
            "what the sums must be."
        )
    values = np.frombuffer(content[stream.tell() :], kind)
    if values.size != int(np.prod(shape)):
        raise PackageError(f"holds an array {name} with {values.size:,} of {int(np.prod(shape)):,} numbers.")
    if kind.kind == "f" and not np.isfinite(values).all():
        raise PackageError(f"holds NaN or infinity in {name}.")
    return values.reshape(shape)


def _refuse_impossible(about: Mapping, sums: Sums, norm: Sums | None) -> None:
    """Refuse sums that no people could have."""
    _refuse_no_gram(sums, "all people")
    people, place = about["people"], {name: k for k, name in enumerate(sums.columns)}
    kinds = {column["name"]: column["kind"] for column in about["columns"]}
    if [name for name, kind in kinds.items() if kind == "group"] != ["group"]:
        raise PackageError("has no column `group`, or more than one.")
    group = place["group"]
    counted = {name: sums.xx[place[name], place[name]] for name in kinds if kinds[name] in ("level", "site")}
    n = sum(counted[name] for name in counted if kinds[name] == "site")
    cells = {name: [sums.xx[place[name], group], counted[name] - sums.xx[place[name], group]] for name in counted}
    told = {"n": n, "patients": sums.xx[group, group], "controls": n - sums.xx[group, group], "cells": cells}
    if told != people:
        raise PackageError("says other numbers of people than its sums have.")
    if norm is not None:
        _refuse_no_gram(norm, "controls")
        _refuse_no_gram(sums.minus(norm), "patients")
        if norm.xx[group].any() or norm.xy[group].any():
            raise PackageError("has patients among its controls.")
        if any(norm.xx[place[name], place[name]] != people["cells"][name][1] for name in counted):
            raise PackageError("has other controls in its norm than in its sums.")


def _refuse_no_gram(sums: Sums, who: str) -> None:
    """X'X is symmetric and has no negative eigenvalue; what the columns explain of Y'Y is between nothing and all."""
    xx, size = sums.xx, np.sqrt(np.clip(np.diag(sums.xx), 0, None))
    there = size > 0
    scaled = xx[np.ix_(there, there)] / np.outer(size[there], size[there])
    if (xx != xx.T).any() or (np.diag(xx) < 0).any() or xx[~there].any() or np.linalg.eigvalsh(scaled)[0] < -SLACK:
        raise PackageError(f"holds an X'X of {who} that is none: not symmetric, or with a negative eigenvalue.")
    if (sums.yy < 0).any():
        raise PackageError(f"holds negative sums of squares of {who}.")
    along = sums.xy[there] / size[there, None]
    explained = np.einsum("qe,qe->e", along, np.linalg.pinv(scaled, rcond=SLACK, hermitian=True) @ along)
    if sums.xy[~there].any() or (explained > sums.yy * (1 + 1e-6)).any():
        raise PackageError(
            f"holds sums of {who} that explain more than there is: X'Y and the sums of squares disagree."
        )
    if (sums.xy[:, ~sums.given].any()) or sums.yy[~sums.given].any():
        raise PackageError(f"holds numbers of {who} for connections that it says it does not give.")
