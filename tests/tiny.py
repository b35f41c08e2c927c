"""Tiny image datasets with the names, people and traps of the real ones; manifests that point at a test's server."""

import gzip
import hashlib
import json
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

DS006395 = {
    "sub-C01713": {"RepetitionTime": 2}, "sub-C01715": {"RepetitionTime": 2}, "sub-P00774": {"RepetitionTime": 2},
    "sub-P00777": {"RepetitionTime": 2}, "sub-C01856": {"PhaseEncodingDirection": "i-"},
    "sub-P00964": {"PhaseEncodingDirection": "i-"}, "sub-P00987": {"volumes": 10}, "sub-P00821": {"cut": True},
}  # fmt: skip
TURNED = {"sub-C01715": "i", "sub-C01721": "i", "sub-P00777": "i", "sub-P00816": "i", "sub-P00804": "j",
          "sub-P00880": "j"}  # fmt: skip
NOT_PACKED = ("sub-C01718", "sub-C01719", "sub-C01722", "sub-C01725", "sub-C01731", "sub-P00782", "sub-P00790")


def write_image(path: Path, shape: tuple[int, ...], affine: np.ndarray, repetition_time: float, seed: int) -> None:
    """Write a small image of noise around a constant."""
    rng = np.random.default_rng(seed)
    image = nib.Nifti1Image((100 + rng.standard_normal(shape)).astype(np.float32), affine)
    image.header.set_xyzt_units("mm", "sec")
    if len(shape) == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], repetition_time))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def raw_like_ds006395(folder: Path, manifest: pd.DataFrame) -> None:
    """Write everybody of the real manifest with a tiny scan, and the traps of the real dataset."""
    people = manifest[manifest["participant_id"] != ""].drop_duplicates("participant_id")
    rng = np.random.default_rng(0)
    for k, row in enumerate(people.itertuples()):
        name, own = row.participant_id, DS006395.get(row.participant_id, {})
        write_image(folder / f"{name}/anat/{name}_T1w.nii.gz", (4, 4, 4), np.eye(4), 0, k)
        (folder / f"{name}/anat/{name}_T1w.json").write_text("{}")
        _finger_tapping(folder / f"{name}/func", name, k)
        if name == "sub-P00927":
            continue
        bold = folder / f"{name}/func/{name}_task-rest_bold.nii.gz"
        sidecar = {"RepetitionTime": 0.9, "PhaseEncodingDirection": "j"}
        sidecar["SoftwareVersions"] = "syngo_MR_D13D" if k % 3 == 0 else "syngo_MR_E11"
        sidecar |= {key: value for key, value in own.items() if key not in ("volumes", "cut")}
        write_image(bold, (4, 4, 4, own.get("volumes", 20)), np.eye(4), sidecar["RepetitionTime"], k)
        if own.get("cut"):
            content = gzip.decompress(bold.read_bytes())
            bold.write_bytes(gzip.compress(content[: len(content) // 2]))
        bold.with_name(f"{name}_task-rest_bold.json").write_text(json.dumps(sidecar))
    table = pd.DataFrame(
        {
            "participant_id": people["participant_id"],
            "group": people["group"],
            "sex": np.where(np.arange(len(people)) % 40 == 0, "m", rng.choice(["F", "M"], len(people))),
            "age": rng.integers(25, 75, len(people)),
            "Burke-Fahn_scale": 0,
        }
    )
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "tiny", "BIDSVersion": "1.2.1"}))


def _finger_tapping(folder: Path, name: str, seed: int) -> None:
    """Write a scan of finger tapping and its events: two blocks, and rest after each."""
    bold = folder / f"{name}_task-finger_bold.nii.gz"
    write_image(bold, (4, 4, 4, 12), np.eye(4), 2.0, 1000 + seed)
    if name in NOT_PACKED:
        bold.write_bytes(gzip.decompress(bold.read_bytes()))
    sidecar = {
        "RepetitionTime": 2,
        "PhaseEncodingDirection": TURNED.get(name, "j-"),
        "SoftwareVersions": "syngo_MR_E11",
    }
    bold.with_name(f"{name}_task-finger_bold.json").write_text(json.dumps(sidecar))
    hands = ("right", "left") if seed % 2 else ("left", "right")
    rows = [f"{6 * k:.3f}\t6.0\t{name}" for k, name in enumerate((hands[0], "rest", hands[1], "rest"))]
    text = "\n".join(["onset\tduration\ttrial_type", *rows, ""])
    (folder / f"{name}_task-finger_events.tsv").write_text(text)


def point_at(manifest: pd.DataFrame, folder: Path, base: str) -> pd.DataFrame:
    """The manifest of a tiny copy: same paths, its own sizes and hashes (of the same kinds), other addresses."""
    rows = manifest.copy()
    contents = [(folder / path).read_bytes() for path in rows["path"]]
    rows["bytes"] = [len(content) for content in contents]
    kinds = rows["hash"].str.partition(":")[0]
    rows["hash"] = [f"{kind}:{hashlib.new(kind, content).hexdigest()}" for kind, content in zip(kinds, contents)]
    rows["urls"] = [f"{base}/{path}" for path in rows["path"]]
    return rows


class Counting(SimpleHTTPRequestHandler):
    """Serve a folder and count the requests; quietly."""

    def do_GET(self):
        """Count, then serve."""
        self.server.requests.append(self.path)
        super().do_GET()

    def log_message(self, *args):
        """Say nothing."""


@contextmanager
def served(folder: Path):
    """Serve a folder on loopback; yields the base URL and the list of paths asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Counting, directory=str(folder)))
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server.requests
    finally:
        server.shutdown()
        server.server_close()


def like_fmriprep(folder: Path, manifest: pd.DataFrame, people: list[str], volumes: int = 100) -> None:
    """Write what fMRIPrep would have left of some people of a manifest, on a coarse grid; all are in the tables."""
    affine = np.diag([12.0, 12.0, 12.0, 1.0])
    affine[:3, 3] = [-84, -114, -66]
    everybody = manifest[manifest["participant_id"] != ""].drop_duplicates("participant_id")
    rng = np.random.default_rng(1)
    for k, name in enumerate(people):
        own = manifest.loc[manifest["participant_id"] == name, "path"]
        for path in map(folder.joinpath, own):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.name.endswith("preproc_bold.nii.gz"):
                write_image(path, (14, 18, 14, volumes), affine, 2.5, k)
            elif path.name.endswith("brain_mask.nii.gz"):
                nib.save(nib.Nifti1Image(np.ones((14, 18, 14), np.uint8), affine), path)
            elif path.name.endswith(".json"):
                path.write_text(json.dumps({"RepetitionTime": 2.5}))
            else:
                names = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
                motion = pd.DataFrame(0.01 * rng.standard_normal((volumes, 6)), columns=names)
                for name_ in names:
                    motion[f"{name_}_derivative1"] = motion[name_].diff()
                motion["framewise_displacement"] = 0.1 + 0.01 * k
                motion.to_csv(path, sep="\t", index=False, na_rep="n/a")
    for path in manifest.loc[manifest["participant_id"] == "", "path"]:
        if path == "participants.tsv":
            table = everybody[["participant_id"]].assign(
                Age=rng.integers(50, 80, len(everybody)),
                Gender=rng.choice(["F", "M"], len(everybody)),
                OSITJ=8,
                MMSE=28,
            )
            table.to_csv(folder / path, sep="\t", index=False)
        else:
            (folder / path).write_text("{}")
