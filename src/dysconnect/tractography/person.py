"""One person of stage `tractography`: matrices of connections and quality; what goes wrong stays in the row."""

import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from dysconnect.diffusion.brain import brain_of
from dysconnect.diffusion.clean import Cleaned, cleaned
from dysconnect.diffusion.gradients import check_orientation, refuse_turned
from dysconnect.diffusion.nodes import Regions, connected
from dysconnect.diffusion.noise import without_noise
from dysconnect.diffusion.order import refuse_disordered
from dysconnect.diffusion.ringing import without_ringing
from dysconnect.diffusion.tensor import Tensor, tensor_maps
from dysconnect.diffusion.tracking import orientations, rim, seeds_in, streamlines
from dysconnect.problems import one_line, reason
from dysconnect.reading.gradients import B0, for_fibres, for_tensor
from dysconnect.tractography.pictures import PICTURES, Bundles, write_pictures
from dysconnect.tractography.place import Place, anatomy_of, placed
from dysconnect.tractography.scan import Scan, read_scan
from dysconnect.tractography.written import write_person

AROUND = 3  # voxels around the brain in which noise is taken out


def run_person(
    entry: Mapping, nodes: pd.DataFrame, folder: Path, atlas: Mapping, spec: Mapping, anatomy: Mapping
) -> dict:
    """Bring one person's diffusion scan to matrices; what goes wrong is written into the row.

    Parameters
    ----------
    entry : mapping
        Row of the index of scans: `participant_id`, `bold` (the diffusion images), `reverse` where there is one, `t1w`
        (paths), `problem`.
    nodes : DataFrame, [N rows]
    folder : path
        ``results/DATASET/tractography``.
    atlas : mapping
        The `atlas` section, with the label `image`.
    spec, anatomy : mapping
        The `tractography` and `preprocess` sections.

    Returns
    -------
    dict
        `participant_id`, `matrices` (the file, relative to `folder`), `mean_fd` (mm), `note`, `problem`, and the
        pictures of `write_pictures`.
    """
    name = entry["participant_id"]
    row = {"participant_id": name, "matrices": "", "mean_fd": np.nan, "note": "", "problem": ""}
    row |= dict.fromkeys(PICTURES, "")
    try:
        if entry.get("problem"):
            raise ValueError(entry["problem"])
        row |= _traced(entry, nodes, Path(folder), atlas, spec, anatomy)
    except Exception as problem:  # whatever a person's files raise is their reason; the machine's troubles go on
        row["problem"] = reason(problem, name)
        print(f"{name}: {row['problem']}; goes on without.", flush=True)
    return row


def _traced(entry: Mapping, nodes: pd.DataFrame, folder: Path, atlas: Mapping, spec: Mapping, anatomy: Mapping) -> dict:
    if not atlas.get("image"):
        raise ValueError(
            f"atlas={atlas.get('name')} has spheres: streamlines end between them. Choose an atlas with a label image, "
            "such as atlas=wholebrain100"
        )
    name, clock = entry["participant_id"], {}
    with timed(clock, "read"):
        scan = read_scan(entry["bold"], entry.get("reverse", ""))
    clean, tensor, doubts = prepared(scan, spec, clock)
    with tempfile.TemporaryDirectory() as scratch, timed(clock, "anatomy and atlas"):
        head = anatomy_of(entry["t1w"], name, folder.parent, Path(scratch), anatomy)
        b0 = clean.data[..., scan.bvals <= B0].mean(-1)
        place = placed(b0, clean.mask, scan.affine, head, atlas["image"])
    bundles = Bundles(nodes, clean.mask.shape, scan.affine)
    matrices, counts = traced(scan, clean, tensor, place, nodes, spec, clock, bundles)
    with timed(clock, "pictures"):
        pictures = write_pictures(folder / "pictures" / name, scan, clean, tensor, bundles)
    quality = clean.quality | place.measures | counts
    white = place.callosum & (tensor.fa > np.median(tensor.fa[clean.mask]))
    quality["fa_callosum"] = float(np.median(tensor.fa[white])) if white.any() else np.nan
    about = {"seconds": clock, "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}
    note = one_line("; ".join((*scan.notes, *doubts)))
    path = folder / "people" / f"{name}.h5"
    maps = {"fa": tensor.fa, "md": tensor.md}
    write_person(path, matrices, nodes["name"], maps, scan.affine, {"quality": quality, "note": note, **about})
    return {"matrices": path.relative_to(folder).as_posix(), "mean_fd": quality["mean_fd"], "note": note, **pictures}


def prepared(scan: Scan, spec: Mapping, clock: dict[str, float]) -> tuple[Cleaned, Tensor, list[str]]:
    """Clean a scan and fit the tensor; and what could not be judged of it."""
    data = scan.data
    if spec["noise"]:
        with timed(clock, "noise"):
            rough = brain_of(data[..., scan.bvals <= B0].mean(-1), scan.affine)
            data, _ = without_noise(data, ndimage.binary_dilation(rough, iterations=AROUND))
    if spec["ringing"]:
        with timed(clock, "ringing"):
            data = without_ringing(data)
    with timed(clock, "field, motion, eddy currents, lost slices"):
        given = (scan.bvals, scan.bvecs, scan.encoding, scan.reverse, scan.reverse_encoding)
        clean = cleaned(data, scan.affine, *given)
        refuse_disordered(clean.data[clean.mask], scan.bvals, clean.bvecs, scan.name)
        inside = clean.data * clean.mask[..., None]
        orientation = check_orientation(inside, scan.affine, scan.bvals, clean.bvecs)
        refuse_turned(orientation, scan.name)
    doubts = [] if orientation.judged else ["whether the gradients' axes fit the image could not be judged"]
    with timed(clock, "tensor"):
        return clean, tensor_maps(*_volumes(clean, scan, for_tensor(scan.bvals)), clean.mask), doubts


def _volumes(clean: Cleaned, scan: Scan, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, b values and directions of some volumes, bool [V]."""
    data = clean.data if chosen.all() else clean.data[..., chosen]
    return data, scan.bvals[chosen], clean.bvecs[chosen]


def traced(
    scan: Scan,
    clean: Cleaned,
    tensor: Tensor,
    place: Place,
    nodes: pd.DataFrame,
    spec: Mapping,
    clock: dict,
    watch: Callable | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Follow streamlines, seen by `watch`, and count them by region: matrices [N, N] by name; what all are like."""
    affine, seed = scan.affine, int(spec["seed"])
    with timed(clock, "orientations"):
        fibres = orientations(*_volumes(clean, scan, for_fibres(scan.bvals)), clean.mask, affine)
    with timed(clock, "streamlines"):
        seeds = seeds_in(rim(place.tissues) & clean.mask, affine, int(spec["seeds"]), seed)
        ways = {"step": spec["step"], "angle": spec["angle"], "seed": seed + 1}
        ways |= {"shortest": spec["shortest"], "longest": spec["longest"]}
        codes = np.asarray(place.labels.dataobj)
        regions = Regions.of(codes, place.labels.affine, nodes["node"].to_numpy())
        batches = streamlines(fibres, place.tissues, seeds, affine, **ways)
        maps, how = {"fa": tensor.fa, "md": tensor.md}, (spec["reach"], spec["fewest"])
        matrices = connected(batches, regions, maps, affine, *how, watch)
    count = matrices["count"]
    reached = count.any(0)
    return matrices, {
        "seeds": len(seeds),
        "connecting_streamlines": float(count.sum() / 2),
        "regions_without_streamlines": float((~reached).mean()),
        "regions_outside": float((regions.volumes == 0).mean()),
    }


@contextmanager
def timed(clock: dict[str, float], name: str) -> Iterator[None]:
    """Write the processor seconds of a step into `clock`, and say them."""
    start = time.process_time()
    yield
    clock[name] = round(time.process_time() - start, 1)
    print(f"{name}: {clock[name]} s", flush=True)
