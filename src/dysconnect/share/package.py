"""The file that leaves a site: ``SITE.zip`` of a statement, the regions, and the sums.

``statistics.json`` says what was added up and how, ``regions.tsv`` which regions, ``sums.npz`` holds the numbers. No
time stands in it, so that the same people give the same bytes. `unpacked` reads it.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.keeping.whole import whole_file
from dysconnect.pooling.sums import Sums

FORMAT = "dysconnect statistics 1"
STATEMENT, REGIONS, SUMS, DESCRIPTION = "statistics.json", "regions.tsv", "sums.npz", "dataset_description.json"
EPOCH = (1980, 1, 1, 0, 0, 0)  # of all members: when somebody was added up is nobody's business
COLUMNS_OF_REGIONS = ("name", "hemisphere", "x", "y", "z", "system", "network", "radius")


@dataclass(frozen=True)
class Package:
    """What one site gives.

    Attributes
    ----------
    about : mapping
        ``statistics.json``: `format`, `dysconnect`, `site`, `release`, `measure` (`name`, `directed`), `atlas` (`name`,
        `title`, `hash`), `processing` (dotted keys) and `processing_hash`, `columns` (`name`, `kind`, `unit`,
        `centre`), `edges` (how many, 0 where only circuits are given), `circuits` (names), `people` (`n`, `patients`,
        `controls`, `cells`: level to [patients, controls]), `left_out`, `contrast`, `licence`, `contact`, `models`.
    regions : DataFrame, [N rows]
    sums : Sums
        Of everybody, over edges then circuits.
    norm : Sums or None
        Of the controls alone.
    """

    about: Mapping
    regions: pd.DataFrame
    sums: Sums
    norm: Sums | None = None

    @property
    def site(self) -> str:
        """Name of the site."""
        return self.about["site"]


def hash_of(value: object) -> str:
    """SHA-256 of something fit for JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def release_of(about: Mapping, sums: Sums, norm: Sums | None) -> str:
    """Number of a release: of the same statement and sums the same, [16 hexadecimal digits]."""
    arrays = _arrays(sums, norm)
    digest = hashlib.sha256(hash_of(about).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape}".encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:16]


def packed(about: Mapping, regions: pd.DataFrame, sums: Sums, norm: Sums | None) -> Package:
    """A package with the number of its release."""
    kept = regions[[name for name in COLUMNS_OF_REGIONS if name in regions]]
    return Package({"format": FORMAT, "release": release_of(about, sums, norm), **about}, kept, sums, norm)


def write_package(path: str | Path, package: Package) -> None:
    """Write a package as a zip; the same package gives the same bytes."""
    members = {
        STATEMENT: json.dumps(package.about, indent=1, sort_keys=True).encode(),
        REGIONS: package.regions.to_csv(sep="\t", index=False, float_format="%.6g").encode(),
        SUMS: npz(_arrays(package.sums, package.norm)),
        DESCRIPTION: json.dumps(_description(package.about), indent=1).encode(),
    }
    content = zipped(members, zipfile.ZIP_DEFLATED)
    with whole_file(Path(path), len(content)) as file:
        file.write(content)


def _arrays(sums: Sums, norm: Sums | None) -> dict[str, np.ndarray]:
    arrays = {"xx": sums.xx, "xy": sums.xy, "yy": sums.yy, "given": sums.given}
    arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    if norm is not None:
        arrays |= {"norm_xx": norm.xx, "norm_xy": norm.xy, "norm_yy": norm.yy}
    return arrays


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as the bytes of an ``.npz`` without times."""
    return zipped({f"{name}.npy": npy(value) for name, value in arrays.items()})


def npy(value: np.ndarray) -> bytes:
    """Give an array as the bytes of an ``.npy``."""
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=False)
    return buffer.getvalue()


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Files as the bytes of a zip without times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name, EPOCH), content, method)
    return buffer.getvalue()


def _description(about: Mapping) -> dict:
    """``dataset_description.json`` of BIDS derivatives."""
    return {
        "Name": f"Sums of connections: {about['site']}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "License": about["licence"],
        "GeneratedBy": [{"Name": "dysconnect", "Version": about["dysconnect"]}],
    }
