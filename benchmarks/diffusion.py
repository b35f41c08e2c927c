"""Diffusion: cost of one person of ds006395's size, ringing against dipy, and whether a bundle's FA is found again.

python benchmarks/diffusion.py person    # 96 x 96 x 60 voxels of 2 mm, 60 directions, 10 b0; 200,000 seeds
python benchmarks/diffusion.py clean     # of that size: field, motion, eddy currents, lost slices; seconds of each step
python benchmarks/diffusion.py ringing
python benchmarks/diffusion.py chain [--people 50] [--effect 0.8]
Each writes benchmarks/results/diffusion_NAME.json. Seconds are the processor's, not of the clock on the wall.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

OUT = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
SPEC = {
    "seeds": 200_000, "step": 0.5, "angle": 20, "shortest": 10, "longest": 250, "reach": 2.0, "noise": True,
    "ringing": True, "seed": 0,
}  # fmt: skip


def person(args: argparse.Namespace) -> dict:
    """One person, through the whole stage, in this process; the images are made in another one."""
    from dysconnect.data.atlas import load_atlas
    from dysconnect.tractography.person import run_person
    from dysconnect.tractography.written import read_person

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        subprocess.run([sys.executable, __file__, "make", "--folder", scratch], check=True)
        entry, atlas = json.loads((folder / "entry.json").read_text()), {"image": str(folder / "atlas.nii.gz")}
        start, anatomy = time.process_time(), {"transform": "fast", "resolution": 2, "seed": 0}
        results = folder / "results" / "tractography"
        row = run_person(entry, load_atlas("seitzman300"), results, atlas, SPEC, anatomy)
        seconds = time.process_time() - start
        if row["problem"]:
            raise SystemExit(row["problem"])
        _, about = read_person(results / row["matrices"])
    return {"core_minutes": round(seconds / 60, 1), "goal_minutes": 15, "goal_mb": 2000, **about}


def make(args: argparse.Namespace) -> None:
    """Write the person that `person` measures."""
    from tractperson import write_atlas, write_person

    from dysconnect.data.atlas import load_atlas

    folder = Path(args.folder)
    (folder / "entry.json").write_text(
        json.dumps(write_person(folder, shape=(96, 96, 60), voxel=2.0, number=60, t1w=1.0))
    )
    write_atlas(folder / "atlas.nii.gz", load_atlas("seitzman300"))


def clean(args: argparse.Namespace) -> dict:
    """Field, motion, eddy currents and lost slices of 96 x 96 x 60 voxels, 60 directions and 10 b0: seconds, errors."""
    import resource

    from dysconnect.diffusion import clean as steps
    from dysconnect.reading.encoding import Encoding

    scan = shifted_scan()
    seconds, calls = {}, {"field": "estimate_field", "mask": "brain_of", "registration": "register"}
    calls |= {"prediction": "predict", "b0 beside the others": "common_motion", "lost slices": "slice_losses"}
    for name, function in calls.items():
        setattr(steps, function, timed(getattr(steps, function), name, seconds))
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = steps.cleaned(
        scan["data"], scan["affine"], scan["bvals"], scan["bvecs"], Encoding(1, -1, 0.05), scan["reverse"],
        Encoding(1, 1, 0.05),
    )  # fmt: skip
    whole = time.process_time() - start
    off = np.linalg.norm(done.motion[:, :3] - scan["moved"], axis=1)
    return {
        "seconds": whole,
        "seconds_of": {**seconds, "rest": whole - sum(seconds.values())},
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "peak_mb_before": before / 1024,
        "translation_error_mm": [float(off.mean()), float(off.max())],
        "turn_error_degrees": float(np.rad2deg(np.abs(done.motion[:, 3:]).mean())),
        "field_rms_error_voxels": float(np.sqrt(((done.field.shift - scan["shift"])[done.mask] ** 2).mean())),
        "false_lost_slices": int(done.dropped.sum()),
    }


def timed(function: Callable, name: str, seconds: dict) -> Callable:
    """The function, its processor time added up."""

    def run(*given, **named):
        start = time.process_time()
        result = function(*given, **named)
        seconds[name] = seconds.get(name, 0) + time.process_time() - start
        return result

    return run


def shifted_scan(shape: tuple = (96, 96, 60), size: float = 2.0) -> dict:
    """A head of folds whose fibres run around it; every volume is shifted, and a field distorts along y."""
    from epi import even_directions, folds
    from scipy import ndimage

    random = np.random.default_rng(0)
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = -size * (np.array(shape) - 1) / 2
    places = np.moveaxis(np.indices(shape), 0, -1) * size + affine[:3, 3]
    inside = 1 / (1 + np.exp((np.linalg.norm(places / (74, 84, 52), axis=-1) - 1) * 40))
    grey, fluid = (1 / (1 + np.exp(-(folds(places, seed) - 1) * 3)) for seed in (1, 2))
    angle = np.arctan2(places[..., 1], places[..., 0])
    along = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], -1)
    bvals = np.full(70, 1000.0)
    bvals[::7] = 0
    bvecs = np.zeros((70, 3))
    bvecs[bvals > 0] = even_directions(60)
    shift = 2.5 * np.exp(-(((places - (0, 55, -20)) / 22) ** 2).sum(-1)).astype(np.float32)
    moved = 0.05 * random.normal(size=(70, 3)).cumsum(0) + 0.15 * random.normal(size=(70, 3))
    moved -= moved[0]

    def seen(bval, bvec, away, sign):
        fibre = np.exp(-bval * (0.3e-3 + 1.4e-3 * (along @ bvec) ** 2))
        still = 100 * inside * (grey * np.exp(-bval * 0.8e-3) + (1 - grey) * fibre) * (1 - fluid)
        still += 180 * inside * fluid * np.exp(-bval * 3e-3)
        return distorted(ndimage.shift(still.astype(np.float32), np.array(away) / size, order=3, mode="nearest"), sign)

    def distorted(image, sign):
        where = np.indices(shape).astype(np.float32)
        for _ in range(8):  # the place whose signal lies here
            where[1] = np.arange(shape[1])[:, None] - sign * ndimage.map_coordinates(shift, where, order=1)
        pile = 1 + sign * ndimage.map_coordinates(np.gradient(shift, axis=1), where, order=1)
        return ndimage.map_coordinates(image, where, order=3) / pile

    def noisy(image):
        return np.abs(image + 3 * random.normal(size=shape)).astype(np.float32)

    data = np.stack([noisy(seen(*volume, 1)) for volume in zip(bvals, bvecs, moved)], -1)
    reverse = noisy(seen(0, np.zeros(3), np.zeros(3), -1))
    return {
        "data": data, "reverse": reverse, "affine": affine, "bvals": bvals, "bvecs": bvecs, "moved": moved,
        "shift": shift,
    }  # fmt: skip


def ringing(args: argparse.Namespace) -> dict:
    """Slices of 96 x 96 voxels, against dipy.denoise.gibbs on one core: the same values?"""
    from dipy.denoise.gibbs import gibbs_removal
    from test_diffusion_tracts import ringing_image

    from dysconnect.diffusion.ringing import without_ringing

    noise = np.random.default_rng(0).normal(0, 3, (96, 96, 10, 6))
    volumes = np.abs(ringing_image(96)[:, :, None, None] + noise).astype(np.float32)
    without_ringing(volumes[..., :1])  # compiled
    images, seconds = {}, {}
    for name, remove in (("ours", without_ringing), ("dipy", lambda data: gibbs_removal(data, inplace=False))):
        start = time.process_time()
        images[name] = remove(volumes)
        seconds[name] = (time.process_time() - start) / 60 * 1000
    apart = np.abs(images["ours"] - images["dipy"]) / images["dipy"].max()
    quantiles = {str(share): float(np.quantile(apart, share)) for share in (0.5, 0.99, 0.999, 1)}
    ratio = seconds["dipy"] / seconds["ours"]
    return {"ms_a_slice": seconds, "ratio": ratio, "difference_to_the_brightest": quantiles}


def chain(args: argparse.Namespace) -> dict:
    """FA of one bundle is lower in half of the phantoms: which edges does the localization name?"""
    from test_diffusion_tracts import PAIRS, fits, matrices
    from tracts import ACROSS, BUNDLES, slab, truth

    from dysconnect.localize.statistics import edge_statistics

    rng, n, bundle = np.random.default_rng(args.seed), args.people, 4
    labels = np.arange(n) % 2
    spread = 0.12 * ACROSS  # of everybody's bundles
    edges = np.full((n, len(PAIRS[0])), np.nan, np.float32)
    for person in range(n):
        across = ACROSS * 1.5 + spread * rng.standard_normal(len(BUNDLES))
        across[bundle] += args.effect * spread * labels[person]  # more across is less FA
        scan = slab(1000 * args.seed + person, across=dict(enumerate(across)))
        edges[person] = matrices(scan, *fits(scan), seed=person + 1, seeds=2500)["fa"][PAIRS]
    seen = np.isnan(edges).mean(0) <= 0.2
    filled = np.where(np.isnan(edges), np.nanmean(edges, 0), edges)[:, seen]
    table = pd.DataFrame({"participant_id": np.arange(n).astype(str), "label": labels, "site": "one"})
    statistics = edge_statistics(filled, table, [], 2000, 0)
    is_true = (PAIRS[0][seen] == BUNDLES[bundle][0]) & (PAIRS[1][seen] == BUNDLES[bundle][1])
    joined = truth()[PAIRS][seen]
    return {
        "people": n,
        "effect": args.effect,
        "edges_seen": int(seen.sum()),
        "t_of_the_bundle": float(statistics.t[is_true][0]),
        "p_of_the_bundle": float(statistics.p_fwer[is_true][0]),
        "largest_t_of_other_bundles": float(np.abs(statistics.t[joined & ~is_true]).max()),
        "largest_t_of_false_pairs": float(np.abs(statistics.t[~joined]).max()),
        "others_named": int((statistics.p_fwer[~is_true] <= 0.05).sum()),
    }


def main() -> None:
    """Run one part, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["person", "clean", "ringing", "chain", "make"])
    parser.add_argument("--folder")
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--effect", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = globals()[args.part](args)
    if found is None:
        return
    found |= {"machine": platform.machine(), "versions": {name: version(name) for name in ("dipy", "numpy", "numba")}}
    print(json.dumps(found, indent=1))
    OUT.mkdir(exist_ok=True)
    (OUT / f"diffusion_{args.part}.json").write_text(json.dumps([found], indent=1))


if __name__ == "__main__":
    main()
