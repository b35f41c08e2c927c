"""People of ds006395's size, made from a seed when somebody asks for them, with what is wrong in the real set.

A person's head is one of a few, of which everything that is dear is computed once: a volume, how it changes with each
of six motions (first order, so for motions below a voxel), the region of every voxel, and a T1w. A run is then a
product of small matrices, plus noise out of a pool, packed with ISA-L: a few CPU seconds a person.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import yaml
from isal import isal_zlib
from nibabel.affines import apply_affine
from phantom import Head, bold_image, t1w_image  # of tests/
from scipy import ndimage
from scipy.spatial import cKDTree

from dysconnect.acquire.manifest import read_manifest
from dysconnect.data.atlas import load_atlas
from dysconnect.planted.plant import plant_cohort
from dysconnect.planted.simulated import covariance_kernels, simulate_subject

ROOT = Path(__file__).parents[2]

SEED, BAND = 11, 8  # slices taken at one time, as of a multiband sequence
SLOW, SIDEWAYS = ("sub-C01715",), ("sub-C01856",)  # left out by what their sidecars say
SHORT = {"sub-P00987": 0.5, "sub-C01809": 0.65}  # share of the volumes that is there
CUT, RESTLESS, SPELLED = "sub-P00821", "sub-P00888", "sub-C01725"
SMALL_M = ("sub-C01854", "sub-P00886")  # sex is written m
BY_NAME = ("sub-C01713", "sub-P00774", "sub-P00777", "sub-P00927")  # the configuration leaves them out
OTHERS = ("sub-P00964", "sub-P00933")  # of the group that the contrast does not have
TRAPS = (*SLOW, *SIDEWAYS, *SHORT, CUT, RESTLESS, SPELLED, *SMALL_M)


@dataclass(frozen=True)
class Size:
    """Of the images (mm, s), and how many heads there are."""

    shape: tuple[int, int, int] = (104, 104, 72)
    voxel: float = 2.0
    volumes: int = 400
    seconds: float = 0.9
    t1w: float = 1.0
    noise: float = 60.0  # grey matter is 3,000
    radius: float | None = None  # of the regions, mm; None: that of the atlas
    heads: int = 3  # that people share

    @property
    def nodes(self) -> pd.DataFrame:
        """Regions that have a signal."""
        nodes = load_atlas("seitzman300")
        return nodes if self.radius is None else nodes.assign(radius=self.radius)


FULL = Size()
SMALL = Size(shape=(26, 30, 26), voxel=7.0, volumes=150, t1w=4.0, noise=40.0, radius=10.0, heads=1)


def cast(n: int) -> pd.DataFrame:
    """Who is fetched, [n rows]: `participant_id`, `group`; the traps first, then patients and controls in turns."""
    real = read_manifest(ROOT / "configs/manifest/ds006395.tsv").drop_duplicates("participant_id")
    groups = real[real["group"].isin(["HC", "ULD"])].set_index("participant_id")["group"]
    rest = groups.drop([*TRAPS, *BY_NAME], errors="ignore")
    turns = rest.groupby(rest).cumcount()
    names = [*TRAPS, *turns.sort_values(kind="stable").index][:n]
    return groups[names].reset_index()


class Cohort:
    """Everybody's images and tables, each made when it is asked for and the same every time.

    Parameters
    ----------
    n : int
        People whose scans are there.
    size : Size
    folder : path
        Where what heads have in common is kept.
    """

    def __init__(self, n: int, size: Size, folder: Path):
        self.size, self.folder, self.people = size, folder, cast(n)
        self._heads: dict[int, dict[str, np.ndarray]] = {}
        rng = np.random.default_rng(SEED)
        self.people["age"] = rng.integers(22, 68, n)
        self.people["sex"] = rng.choice(["F", "M"], n)
        self.people["burke_fahn"] = np.where(self.people["group"] == "ULD", rng.integers(1, 13, n), 0)
        self.people["site"] = np.where(np.arange(n) % 5 < 2, "site-A", "site-B")
        self.people["target_fd"] = 0.12 * rng.lognormal(0, 0.2, n)

    @cached_property
    def series(self) -> tuple[list[np.ndarray], list[pd.DataFrame], pd.DataFrame]:
        """Regional series [T, N] of everybody, with a truth planted in patients; their motion; the truth."""
        nodes, spec = self.size.nodes, {"volumes": self.size.volumes, "repetition_time": self.size.seconds}
        kernels, rows = covariance_kernels(nodes), list(self.people.iterrows())
        made = [simulate_subject(row, nodes, kernels, spec, np.random.default_rng([SEED, k])) for k, row in rows]
        plant = yaml.safe_load((ROOT / "configs/dataset/simulated.yaml").read_text())["dataset"]["plant"]
        patients = np.flatnonzero(self.people["group"] == "ULD")
        times = [self.size.seconds] * len(rows)
        planted, truth, _ = plant_cohort([x for x, _ in made], self.people, nodes, times, plant, patients)
        return planted, [motion for _, motion in made], truth

    def files(self) -> Iterator[str]:
        """Paths of all files."""
        yield from ("dataset_description.json", "participants.tsv")
        for name in self.people["participant_id"]:
            yield from (f"{name}/anat/{name}_T1w.{end}" for end in ("json", "nii.gz"))
            yield from (f"{name}/func/{name}_task-rest_bold.{end}" for end in ("json", "nii.gz"))

    def content(self, path: str) -> Iterator[bytes]:
        """A file, block by block."""
        name, parts = path.split("/")[0], path.split("_")
        k = None if "/" not in path else self.people["participant_id"].tolist().index(name)
        if path == "participants.tsv":
            yield self._table().to_csv(sep="\t", index=False).encode()
        elif path == "dataset_description.json":
            yield json.dumps({"Name": "Rehearsal of ds006395; simulated", "BIDSVersion": "1.2.1"}).encode()
        elif path.endswith("bold.json"):
            yield json.dumps(self._sidecar(k, name), indent=1).encode()
        elif path.endswith(".json"):
            yield json.dumps({"Manufacturer": "none: simulated"}).encode()
        else:
            yield from self._bold(k, name) if parts[-1].startswith("bold") else self._t1w(k)

    def _table(self) -> pd.DataFrame:
        """participants.tsv: everybody of the manifest, and the two who are no longer M but m."""
        own = self.people.rename(columns={"burke_fahn": "Burke-Fahn_scale"}).drop(columns=["site", "target_fd"])
        own.loc[own["participant_id"].isin(SMALL_M), "sex"] = "m"
        groups = [*["HC" if name[4] == "C" else "ULD" for name in BY_NAME], *["CD"] * len(OTHERS)]
        more = pd.DataFrame({"participant_id": [*BY_NAME, *OTHERS], "group": groups})
        return pd.concat([own, more.assign(age=50, sex="F", **{"Burke-Fahn_scale": 0})]).sort_values("participant_id")

    def _sidecar(self, k: int, name: str) -> dict:
        software = "syngo MR D13D" if name == SPELLED else ("syngo_MR_D13D", "syngo_MR_E11")[k % 5 >= 2]
        return {
            "RepetitionTime": 2 if name in SLOW else self.size.seconds,
            "PhaseEncodingDirection": "i-" if name in SIDEWAYS else "j",
            "SliceTiming": self._slice_times.tolist(),
            "SoftwareVersions": software,
            "TaskName": "rest",
        }

    @property
    def _slice_times(self) -> np.ndarray:
        """Every `BAND`-th slice is taken at the same time, [Z] s."""
        groups = -(-self.size.shape[2] // BAND)
        return (np.arange(self.size.shape[2]) % groups / groups * self.size.seconds).round(4)

    def _t1w(self, k: int) -> Iterator[bytes]:
        head = self.head(k)
        noise = np.random.default_rng([SEED, k, 1]).integers(-8, 9, head["t1w"].shape, np.int16)
        image = nib.Nifti1Image((head["t1w"] + noise).clip(0).astype(np.int16), head["t1w_affine"])
        image.header.set_xyzt_units("mm")
        yield zlib.compress(image.to_bytes(), level=1, wbits=31)  # ISA-L's, in one piece, was once a byte shorter

    def _bold(self, k: int, name: str) -> Iterator[bytes]:
        """The run as a packed image, volume by volume; of one person the stream ends early."""
        volumes = int(SHORT.get(name, 1) * self.size.volumes)
        header = nib.Nifti1Header()
        header.set_data_dtype(np.int16)
        header.set_data_shape((*self.size.shape, volumes))
        header.set_zooms((*[self.size.voxel] * 3, 2.0 if name in SLOW else self.size.seconds))
        header.set_xyzt_units("mm", "sec")
        header.set_sform(self.head(k)["affine"], 1)
        header["vox_offset"], header["magic"] = 352, b"n+1"
        packer = isal_zlib.compressobj(level=1, wbits=31)
        yield packer.compress(header.binaryblock + bytes(4))
        for t, volume in enumerate(self._volumes(k, name, volumes)):
            if name == CUT and t == volumes // 2:
                return
            yield packer.compress(volume.tobytes(order="F"))
        yield packer.flush()

    def _volumes(self, k: int, name: str, n: int) -> Iterator[np.ndarray]:
        head, rng = self.head(k), np.random.default_rng([SEED, k, 2])
        series, motion = self.series[0][k], self.series[1][k].iloc[:, :6].to_numpy() * ([1] * 3 + [180 / np.pi] * 3)
        motion = motion - motion[0]
        if name == RESTLESS:
            motion[:, :3] += 0.3 * rng.standard_normal((len(motion), 3))
        shape, where = self.size.shape, head["near"]
        late = (self._slice_times / self.size.seconds).astype(np.float32)[where % shape[2]]  # last axis fastest
        noise = rng.standard_normal(np.prod(shape) + (1 << 18), dtype=np.float32) * np.float32(self.size.noise)
        waves = (0.02 * (series - series.mean(0)) / series.std(0)).astype(np.float32)
        for t in range(n):
            volume = head["first"] + motion[t].astype(np.float32) @ head["slopes"]
            now, then = waves[t][head["owner"]], waves[min(t + 1, len(waves) - 1)][head["owner"]]
            volume[where] *= 1 + head["weight"] * (now + late * (then - now))
            volume += np.abs(noise[(start := rng.integers(1 << 18)) : start + len(volume)])
            yield volume.clip(0, 32000).astype(np.int16).reshape(shape)

    def head(self, k: int) -> dict[str, np.ndarray]:
        """What a person's head is made of, computed once for all who share it."""
        number = k % self.size.heads
        path = self.folder / f"head{number}.npz"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            with open(part, "wb") as file:
                np.savez(file, **make_head(number, self.size))
            part.rename(path)
        if number not in self._heads:
            self._heads = {number: dict(np.load(path))}  # the last one only: they are large
        return self._heads[number]


def make_head(number: int, size: Size) -> dict[str, np.ndarray]:
    """A head: `first` [V], `slopes` [6, V] by mm and degrees, `near`, `owner` and `weight` of its regions, `t1w`."""
    nodes = size.nodes
    head = Head(nodes, 2, size.seconds, seed=number, voxel=size.voxel, shape=size.shape)
    head.n_volumes = 1
    first = np.asarray(bold_image(head, noise=0, percent=0, drift=0).dataobj[..., 0], np.float32)
    grid = apply_affine(head.bold_affine, np.indices(size.shape).reshape(3, -1).T)
    places = head.from_t1w(apply_affine(np.linalg.inv(head.to_reference), grid))
    away, owner = cKDTree(nodes[["x", "y", "z"]].to_numpy(float)).query(places)
    weight = np.clip((nodes["radius"].to_numpy(float)[owner] + 5 - away) / 4, 0, 1)
    near = np.flatnonzero(weight)
    t1w = t1w_image(head, size.t1w)
    return {
        "first": first.ravel(),
        "affine": head.bold_affine,
        "slopes": np.stack([_slope(first, head, axis) for axis in range(6)]),
        "near": near,
        "owner": owner[near],
        "weight": weight[near].astype(np.float32),
        "t1w": np.asarray(t1w.dataobj),
        "t1w_affine": t1w.affine,
    }


def _slope(first: np.ndarray, head: Head, axis: int, step: float = 0.3) -> np.ndarray:
    """How the volume changes with one mm or degree of motion, [V]."""
    sides = []
    for sign in (step, -step):
        row = np.zeros(6)
        row[axis] = sign
        moved = head._rigid(row)
        back = np.linalg.inv(head.bold_affine) @ np.linalg.inv(moved) @ head.bold_affine
        sides.append(ndimage.affine_transform(first, back[:3, :3], back[:3, 3], order=1))
    return ((sides[0] - sides[1]) / (2 * step)).ravel().astype(np.float32)


def measured(cohort: Cohort, path: str) -> dict:
    """Size and checksum of a file."""
    digest, size = hashlib.sha256(), 0
    for block in cohort.content(path):
        digest.update(block)
        size += len(block)
    return {"path": path, "bytes": size, "hash": f"sha256:{digest.hexdigest()}"}
