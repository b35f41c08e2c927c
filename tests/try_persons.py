"""Break one person's files in every way that we know, and tell whether one person, everybody or nobody was stopped.

Run before a release (`python tests/try_persons.py [WORD ...]`, some minutes); `test_persons.py` takes a sample. Stages
of the library run in this process: `acquire` and `timeseries` for series, and `preprocess` before it for images.
"""

import errno
import gzip
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import nibabel as nib
import numpy as np
import pandas as pd
from broken import ARRAYS, HARMFUL, HARMLESS, NAMES, changed, matrix

from dysconnect.acquire.images import SHARED, acquire_images, fetch_unit, plan_images
from dysconnect.acquire.local import acquire_local
from dysconnect.data.images.receipts import scan_entry
from dysconnect.data.series import read_index
from dysconnect.fetching import Transport
from dysconnect.preprocess.engine import run_engine
from dysconnect.problems import LONGEST, MachineError
from dysconnect.timeseries import prepare_cohort

VICTIM, PEOPLE, VOLUMES, TR = "sub-03", 6, 40, 5.0
OUT, SAME, STOPPED = "one person out", "the same numbers", "all stopped by the machine"
NODES = pd.DataFrame({"node": [2001, 2002, 17, 18, 51, 7000], "name": NAMES, "radius": 12.0}).assign(
    x=[-20.0, 20, -20, 20, 0, 0], y=[-10.0, -10, 20, 20, 0, 25], z=[0.0, 0, 10, 10, -20, 25]
)
DATASET = {
    "name": "own", "kind": "derivatives", "space": "MNI152NLin2009cAsym", "task": "rest", "exclude": {},
    "contrast": {"cases": ["patient"], "controls": ["control"]}, "covariates": ["age", "sex", "site", "mean_fd"],
    "session": None, "run": None, "segmentation": None, "order": "names", "repetition_time": None, "limit": None,
    "participants": None,
}  # fmt: skip
DENOISE = {
    "name": "plain", "motion": "basic", "wm_csf": None, "global_signal": None, "compcor": None, "n_compcor": "all",
    "fd_threshold": None, "std_dvars_threshold": None, "scrub": 5, "detrend": True, "filter": "butterworth",
    "high_pass": None, "low_pass": None, "min_seconds": 60, "min_degrees_of_freedom": 5, "max_mean_fd": 0.9,
    "max_missing_regions": 0.1,
}  # fmt: skip
SIDECARS = (
    '{"Repet', "[2.0]", "\0", '{"RepetitionTime": "2 s"}', '{"RepetitionTime": 2000}', '{"RepetitionTime": [2.0]}',
    '{"RepetitionTime": true}', '{"RepetitionTime": NaN}', '{"RepetitionTime": 1e400}', '{"RepetitionTime": -2}',
    "[" * 100_000,
)  # fmt: skip
AFFINE = nib.affines.from_matvec(np.diag([8.0, 8, 8]), [-40, -40, -40])
SHAPE = (11, 11, 11)


@dataclass(frozen=True)
class Break:
    """What is done to a cohort of one route, and what must come of it; `around` fails while the stages run."""

    route: str
    name: str
    do: Callable[[Path], None]
    expected: str = OUT
    around: Callable[[], object] = nullcontext


# cohorts


def people(root: Path) -> None:
    """Six people, patients and controls in turn."""
    k = np.arange(1, PEOPLE + 1)
    table = pd.DataFrame(
        {"participant_id": [f"sub-{i:02d}" for i in k], "group": np.where(k % 2, "patient", "control")}
    )
    table.assign(age=40 + k, sex="F", site="one").to_csv(root / "participants.tsv", sep="\t", index=False)


def motion(seed: int) -> pd.DataFrame:
    """Confounds of somebody who lies still."""
    columns = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
    table = pd.DataFrame(np.random.default_rng(seed).normal(size=(VOLUMES, 6)) * 0.01, columns=columns).round(6)
    return table.assign(framewise_displacement=[np.nan] + [0.1] * (VOLUMES - 1))


def numbers(seed: int) -> np.ndarray:
    """Series of six regions, [T, 6]."""
    return np.round(1000 + 10 * np.random.default_rng(seed).normal(size=(VOLUMES, len(NAMES))), 3)


def write_series_cohort(root: Path) -> None:
    """Tables of series with sidecars and confounds."""
    people(root)
    for k in range(1, PEOPLE + 1):
        stem = f"sub-{k:02d}_task-rest"
        pd.DataFrame(numbers(k), columns=NAMES).to_csv(root / f"{stem}_timeseries.tsv", sep="\t", index=False)
        (root / f"{stem}_timeseries.json").write_text(json.dumps({"RepetitionTime": TR}))
        table = motion(k)
        table.to_csv(root / f"{stem}_desc-confounds_timeseries.tsv", sep="\t", index=False, na_rep="n/a")
        (root / f"{stem}_desc-confounds_timeseries.json").write_text("{}")


def write_images_cohort(root: Path) -> None:
    """What fMRIPrep leaves, tiny."""
    people(root)
    for k in range(1, PEOPLE + 1):
        name = f"sub-{k:02d}"
        folder = root / name / "func"
        folder.mkdir(parents=True)
        data = (100 + np.random.default_rng(k).standard_normal((*SHAPE, VOLUMES))).astype(np.float32)
        write_image(image_of(root, name), data)
        sidecar_of(root, name).write_text(json.dumps({"RepetitionTime": TR}))
        write_image(mask_of(root, name), np.ones(SHAPE, np.uint8))
        motion(k).to_csv(confounds_of(root, name, "images"), sep="\t", index=False, na_rep="n/a")


def write_image(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE, seconds: float = TR) -> None:
    """Write an image, 8 mm."""
    image = nib.Nifti1Image(data, affine)
    if data.ndim == 4:
        image.header.set_zooms((8, 8, 8, seconds))
    nib.save(image, path)


def image_of(root: Path, name: str = VICTIM) -> Path:
    """BOLD of somebody."""
    return root / name / "func" / f"{name}_task-rest_space-{DATASET['space']}_desc-preproc_bold.nii.gz"


def mask_of(root: Path, name: str = VICTIM) -> Path:
    """Brain mask of somebody."""
    return root / name / "func" / f"{name}_task-rest_space-{DATASET['space']}_desc-brain_mask.nii.gz"


def series_of(root: Path, name: str = VICTIM) -> Path:
    """Table of series of somebody."""
    return root / f"{name}_task-rest_timeseries.tsv"


def confounds_of(root: Path, name: str = VICTIM, route: str = "series") -> Path:
    """Confounds of somebody."""
    folder = root / name / "func" if route == "images" else root
    return folder / f"{name}_task-rest_desc-confounds_timeseries.tsv"


def sidecar_of(root: Path, name: str = VICTIM, route: str = "images") -> Path:
    """Sidecar of somebody's images or series."""
    if route == "series":
        return series_of(root, name).with_suffix(".json")
    return image_of(root, name).with_name(image_of(root, name).name.replace(".nii.gz", ".json"))


# stages


def run_series(root: Path, out: Path, between: Callable[[Path], None] = lambda root: None) -> tuple[pd.DataFrame, dict]:
    """`acquire` and `timeseries`; `between` is done to the folder after the first."""
    participants, index = acquire_local(DATASET | {"root": str(root)}, root)
    between(root)
    return finished(participants, index, out)


def run_images(root: Path, out: Path, between: Callable[[Path], None] = lambda root: None) -> tuple[pd.DataFrame, dict]:
    """`acquire`, `preprocess` and `timeseries`."""
    spec = DATASET | {"root": str(root)}
    plan = plan_images(spec, {}, root)
    receipts = [fetch_unit(unit, [], root, Transport(), spec) for unit in [SHARED, *plan.wanted]]
    participants, _ = acquire_images(spec, plan, receipts, 1)
    between(root)
    entries = [scan_entry(receipt["unit"], receipt) for receipt in receipts[1:]]
    rows = [run_engine(entry, NODES, out / "series", {}, {"engine": "derivatives"}) for entry in entries]
    out.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(out / "series.tsv", sep="\t", index=False)
    return finished(participants, read_index(out / "series.tsv"), out)


def finished(participants: pd.DataFrame, index: pd.DataFrame, out: Path) -> tuple[pd.DataFrame, dict]:
    """`timeseries`: the table, and the denoised series by person."""
    names = {"atlas": "few", "denoise": "plain"}
    table, kept = prepare_cohort(participants, index, NODES, DENOISE, out, names)
    series = {row.participant_id: (out / row.series).read_bytes() for row in kept.itertuples()}
    return table.set_index("participant_id"), series


COHORTS = {"series": (write_series_cohort, run_series), "images": (write_images_cohort, run_images)}


# what is broken


def rewritten(place: Callable[[Path], Path], change: Callable) -> Callable[[Path], None]:
    """Rewrite the rows of a table of the victim."""

    def do(root: Path) -> None:
        path = place(root)
        path.write_bytes(change([line.split("\t") for line in path.read_text().splitlines()]))

    return do


def bytes_changed(place: Callable[[Path], Path], change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Change the bytes of a file of the victim."""
    return lambda root: place(root).write_bytes(change(place(root).read_bytes()))


def as_array(change: Callable) -> Callable[[Path], None]:
    """The series as an array, which has no names: the whole cohort would need dataset.order, so all are given so."""

    def do(root: Path) -> None:
        path = series_of(root)
        path.unlink()
        path.with_suffix(".npy").write_bytes(change(numbers(3)))

    return do


def as_matrix(kind: str) -> Callable[[Path], None]:
    """A matrix of connections instead of the series."""
    return lambda root: pd.DataFrame(matrix(6, kind), columns=NAMES).to_csv(series_of(root), sep="\t", index=False)


def with_confounds(route: str, **columns) -> Callable[[Path], None]:
    """Confounds with other columns."""

    def do(root: Path) -> None:
        table = pd.read_csv(confounds_of(root, route=route), sep="\t").assign(**columns)
        table.to_csv(confounds_of(root, route=route), sep="\t", index=False, na_rep="n/a")

    return do


def with_sidecar(route: str, text: str) -> Callable[[Path], None]:
    """Another text in the sidecar that tells the repetition time."""
    return lambda root: sidecar_of(root, route=route).write_text(text)


def with_series(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Other numbers in the table of series."""
    return lambda root: pd.DataFrame(change(numbers(3)), columns=NAMES).to_csv(
        series_of(root), sep="\t", index=False, na_rep="n/a"
    )


def replaced(place: Callable[[Path], Path], by: str) -> Callable[[Path], None]:
    """A folder, a dead link or a link to a device instead of a file."""

    def do(root: Path) -> None:
        path = place(root)
        path.unlink()
        if by == "folder":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero" if by == "device" else root / ".git/annex/objects/gone")

    return do


def twisted(change: Callable[[np.ndarray], np.ndarray], place: Callable = image_of, **more) -> Callable[[Path], None]:
    """Other voxels in an image of the victim."""

    def do(root: Path) -> None:
        data = np.asanyarray(nib.load(place(root)).dataobj)
        write_image(place(root), change(data), **more)

    return do


def with_header(offset: int, content: bytes) -> Callable[[bytes], bytes]:
    """A packed image with other bytes in its header."""

    def change(packed: bytes) -> bytes:
        whole = bytearray(gzip.decompress(packed))
        whole[offset : offset + len(content)] = content
        return gzip.compress(bytes(whole))

    return change


def spoiled(data: np.ndarray, value: float, where: object) -> np.ndarray:
    """Some voxels or volumes with another value."""
    data = data.copy()
    data[where] = value
    return data


@contextmanager
def failing(target: str, error: Callable[[], BaseException], part: str = "") -> Iterator[None]:
    """Let a function of the machine fail, for paths that hold `part`."""
    module, _, name = target.rpartition(".")
    owner = __import__(module, fromlist=["x"])
    own = getattr(owner, name)

    def fails(*args, **kwargs):
        if part in " ".join(map(str, args)):
            raise error()
        return own(*args, **kwargs)

    with mock.patch.object(owner, name, fails):
        yield


def machine(code: str, target: str, part: str = "") -> Callable[[], object]:
    """The machine's trouble, told by its errno."""
    number = getattr(errno, code)
    return lambda: failing(target, lambda: OSError(number, os.strerror(number), "/scratch/x"), part)


def all_breaks() -> list[Break]:
    """Every way that we know."""
    series = [
        *(Break("series", f"series: {name}", rewritten(series_of, make)) for name, (make, _) in HARMFUL.items()),
        *(Break("series", f"series: {name}", rewritten(series_of, make), SAME)
          for name, make in HARMLESS.items() if name != "packed"),
        *(Break("series", f"array: {name}", as_array(make)) for name, (make, _) in ARRAYS.items()),
        *(Break("series", f"matrix: {kind}", as_matrix(kind))
          for kind in ("correlations", "fisher z", "covariances", "graph", "upper half")),
        *(Break("series", f"a {by} for series", replaced(series_of, by)) for by in ("folder", "device", "dead link")),
        Break("series", "constant", with_series(np.ones_like)),
        Break("series", "zero", with_series(np.zeros_like)),
        Break("series", "all alike", with_series(lambda x: np.repeat(x[:, :1], 6, axis=1))),
        Break("series", "two alike", with_series(lambda x: x[:, [0, 1, 2, 3, 4, 0]])),
        Break("series", "cut off", with_series(lambda x: np.clip(x, None, 1005))),
        Break("series", "NaN", with_series(lambda x: spoiled(x, np.nan, (7, 2)))),
        Break("series", "overflow", rewritten(series_of, lambda rows: changed(rows, 5, 2, "1e400"))),
        Break("series", "short", with_series(lambda x: x[:5])),
        Break("series", "one volume", with_series(lambda x: x[:1])),
    ]  # fmt: skip
    for route in ("series", "images"):
        table = lambda root, route=route: confounds_of(root, route=route)
        forms = {
            name: make for name, (make, _) in HARMFUL.items() if name not in ("transposed", "name twice", "Latin-1")
        }
        series += [
            *(Break(route, f"confounds: {name}", rewritten(table, make)) for name, make in forms.items()),
            *(Break(route, f"confounds: {name}", rewritten(table, make), SAME)
              for name, make in HARMLESS.items() if name not in ("packed", "another order")),
            *(Break(route, f"a {by} for confounds", replaced(table, by)) for by in ("folder", "device")),
            Break(route, "displacement unknown", with_confounds(route, framewise_displacement=np.nan)),
            Break(route, "displacement -1", with_confounds(route, framewise_displacement=-1.0)),
            Break(route, "displacement in micrometres", with_confounds(route, framewise_displacement=120.0)),
            Break(route, "displacement of commas", with_confounds(route, framewise_displacement="0,1")),
            *(Break(route, f"sidecar: {text[:20]}", with_sidecar(route, text)) for text in SIDECARS),
        ]  # fmt: skip
    return series + image_breaks() + machine_breaks()


def image_breaks() -> list[Break]:
    """Ways to break an image."""
    whole, big = (slice(None),) * 3, (32767).to_bytes(2, "little")
    images = {
        "truncated": bytes_changed(image_of, lambda b: b[: len(b) // 2]),
        "cut by a byte": bytes_changed(image_of, lambda b: b[:-1]),
        "checksum": bytes_changed(image_of, lambda b: b[:-8] + bytes(8)),
        "a bit": bytes_changed(image_of, lambda b: b[:5000] + bytes([b[5000] ^ 1]) + b[5001:]),
        "empty": bytes_changed(image_of, lambda b: b""),
        "not packed": bytes_changed(image_of, gzip.decompress),
        "a web page": bytes_changed(image_of, lambda b: b"<html>Not found</html>"),
        "magic": bytes_changed(image_of, with_header(344, b"abcd")),
        "size of the header": bytes_changed(image_of, with_header(0, b"\x01\0\0\0")),
        "type of the voxels": bytes_changed(image_of, with_header(70, b"\xff\x7f")),
        "shape of terabytes": bytes_changed(image_of, with_header(42, big * 4)),
        "side of zero": bytes_changed(image_of, with_header(42, b"\0\0")),
        "side below zero": bytes_changed(image_of, with_header(42, b"\xff\xff")),
        "offset beyond the end": bytes_changed(image_of, with_header(108, np.float32(1e9).tobytes())),
        "NaN offset": bytes_changed(image_of, with_header(108, np.float32(np.nan).tobytes())),
        "affine of zeros": bytes_changed(image_of, with_header(280, bytes(48))),
        "affine of NaN": bytes_changed(image_of, with_header(280, np.full(12, np.nan, "f4").tobytes())),
        "3D": twisted(lambda data: data[..., 0]),
        "5D": twisted(lambda data: data[..., None, :]),
        "complex": twisted(lambda data: data.astype(np.complex64)),
        "NaN throughout": twisted(lambda data: np.full_like(data, np.nan)),
        "NaN volume": twisted(lambda data: spoiled(data, np.nan, (*whole, 7))),
        "zero": twisted(np.zeros_like),
        "zero volume": twisted(lambda data: spoiled(data, 0, (*whole, 7))),
        "constant": twisted(np.ones_like),
        "one volume": twisted(lambda data: data[..., :1]),
        "other length than confounds": twisted(lambda data: data[..., :-3]),
        "somewhere else": twisted(lambda data: data, affine=AFFINE + 500 * np.eye(4, k=3)),
        "mask of another shape": twisted(lambda data: data[:-1], mask_of),
        "mask elsewhere": twisted(lambda data: data, mask_of, affine=AFFINE + np.eye(4, k=3)),
        "empty mask": twisted(np.zeros_like, mask_of),
        "truncated mask": bytes_changed(mask_of, lambda b: b[: len(b) // 2]),
        "mask of terabytes": bytes_changed(mask_of, with_header(42, big * 3)),
    }  # fmt: skip
    links = [(f"a {by} for {what}", replaced(place, by)) for by in ("folder", "dead link")
             for what, place in (("the image", image_of), ("the mask", mask_of))]  # fmt: skip
    harmless = (
        "size of the header",
        "a folder for the mask",
    )  # nobody reads it; a folder is no mask, as if there were none
    return [Break("images", name, do, SAME if name in harmless else OUT) for name, do in [*images.items(), *links]]


def machine_breaks() -> list[Break]:
    """What is not the person's fault: nothing is done to the folder, or a file vanishes after `acquire`."""
    nothing = lambda root: None
    codes = ("ENOSPC", "EDQUOT", "EIO", "ESTALE", "EMFILE", "EACCES")
    reading = [Break("series", f"{code} while reading", nothing, STOPPED,
                     machine(code, "dysconnect.reading.numeric.read_content", VICTIM)) for code in codes]  # fmt: skip
    writing = [Break(route, f"{code} while writing", nothing, STOPPED, machine(code, target))
               for code in ("ENOSPC", "EDQUOT", "EROFS")
               for route, target in (("series", "dysconnect.timeseries.cohort.write_series"),
                                     ("images", "dysconnect.preprocess.subject.write_series"),
                                     ("images", "dysconnect.preprocess.subject.write_picture"))]  # fmt: skip
    images = [Break("images", f"{code} while reading", nothing, STOPPED,
                    machine(code, "dysconnect.data.images.volumes.GZIP", VICTIM)) for code in codes]  # fmt: skip
    memory = [Break(route, "no memory", nothing, STOPPED, lambda target=target: failing(target, MemoryError))
              for route, target in (("series", "dysconnect.timeseries.cohort.plan"),
                                    ("images", "dysconnect.preprocess.subject.regional_series"))]  # fmt: skip
    return [*reading, *writing, *images, *memory]


VANISHED = {
    "series": {"series": series_of, "confounds": confounds_of},
    "images": {"image": image_of, "confounds": lambda root: confounds_of(root, route="images"), "mask": mask_of},
}


def outcome(route: str, root: Path, out: Path, healthy: dict, between: Callable = lambda root: None) -> tuple[str, str]:
    """What became of a cohort, and the message."""
    try:
        table, series = COHORTS[route][1](root, out, between)
    except MachineError as error:
        return STOPPED, str(error)
    except Exception as error:
        return "all stopped", f"{type(error).__name__}: {error}"
    lost = table.index[~table["included"]].tolist()
    told = str(table["exclusion_reason"].get(VICTIM, ""))
    if lost == [VICTIM] and all(series[name] == healthy[name] for name in series):
        return (OUT if 10 < len(told) <= LONGEST else "a bad reason"), told
    if not lost:
        return (SAME if series == healthy else "SILENT: other numbers"), told
    return "others out", f"{lost}: {told}"


class Laboratory:
    """Healthy cohorts of both routes, copied for every attempt."""

    def __init__(self, folder: Path):
        self.folder, self.healthy, self.count = folder, {}, 0
        for route, (write, run) in COHORTS.items():
            (folder / route).mkdir(parents=True)
            write(folder / route)
            self.healthy[route] = run(folder / route, folder / f"{route}-out")[1]
            assert len(self.healthy[route]) == PEOPLE

    def attempt(self, one: Break) -> tuple[str, str]:
        """Break a copy and run the stages."""
        with self.copy(one.route) as (root, out):
            one.do(root)
            with one.around():
                return outcome(one.route, root, out, self.healthy[one.route])

    def vanish(self, route: str, what: str) -> tuple[str, str]:
        """Remove a file between `acquire` and the rest."""
        with self.copy(route) as (root, out):
            return outcome(route, root, out, self.healthy[route], lambda root: VANISHED[route][what](root).unlink())

    @contextmanager
    def copy(self, route: str) -> Iterator[tuple[Path, Path]]:
        """A copy of a healthy cohort, and a folder for what is made of it; both go afterwards."""
        self.count += 1
        root, out = self.folder / f"{self.count}", self.folder / f"{self.count}-out"
        shutil.copytree(self.folder / route, root)
        out.mkdir()
        yield root, out
        for folder in (root, out):
            shutil.rmtree(folder)


def without_pictures():
    """Nobody looks at carpets here, and they take most of the time."""
    return mock.patch("dysconnect.preprocess.subject.write_picture", lambda *_: None)


def main(words: Sequence[str]) -> int:
    """Try everything, or what holds one of the words in route and name; 1 where anything is not as it must be."""
    with tempfile.TemporaryDirectory() as folder, without_pictures():
        laboratory, wrong, tried = Laboratory(Path(folder)), 0, 0
        attempts = [
            (one.route, one.name, one.expected, lambda one=one: laboratory.attempt(one)) for one in all_breaks()
        ]
        attempts += [(route, f"{what} vanished", STOPPED, lambda r=route, w=what: laboratory.vanish(r, w))
                     for route, files in VANISHED.items() for what in files]  # fmt: skip
        for route, name, expected, attempt in attempts:
            if words and not any(word in f"{route} {name}" for word in words):
                continue
            found, message = attempt()
            tried, wrong = tried + 1, wrong + (found != expected)
            print(
                f"{'ok   ' if found == expected else 'WRONG'} {route:7}{name:36}{found:28}{message[:300]}", flush=True
            )
    print(f"{tried} ways, {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
