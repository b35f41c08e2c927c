"""Packages of other sites, read: they come by mail, so that nothing in them is executed and nothing is believed unread."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.pooling.sums import Sums
from dysconnect.share.package import FORMAT, REGIONS, STATEMENT, SUMS, Package


class PackageError(ValueError):
    """The file of a site cannot be used; the message names it, what is wrong and what to do."""


def read_package(path: str | Path) -> Package:
    """Read a package.

    Raises
    ------
    PackageError
    """
    path = Path(path)
    with zipfile.ZipFile(path) as file:
        about = json.loads(file.read(STATEMENT))
        regions = pd.read_csv(io.BytesIO(file.read(REGIONS)), sep="\t", keep_default_na=False)
        with np.load(io.BytesIO(file.read(SUMS)), allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    if about.get("format") != FORMAT:
        raise PackageError(f"{path} is of the format {about.get('format')!r}, and this version reads {FORMAT!r}.")
    columns = tuple(column["name"] for column in about["columns"])
    sums = Sums(columns, held["xx"], held["xy"], held["yy"], held["given"])
    norm = None
    if "norm_xx" in held:
        norm = Sums(columns, held["norm_xx"], held["norm_xy"], held["norm_yy"], held["given"])
    return Package(about, regions, sums, norm)
