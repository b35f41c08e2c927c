"""Diffusion: cost of one person of ds006395's size, ringing against dipy, and whether a bundle's FA is found again.

python benchmarks/diffusion.py person    # 96 x 96 x 60 voxels of 2 mm, 60 directions, 10 b0; 200,000 seeds
python benchmarks/diffusion.py clean     # of that size: field, motion, eddy currents, lost slices; seconds of each step
python benchmarks/diffusion.py ringing
python benchmarks/diffusion.py chain [--people 200] [--effect 0.8] [--draws 50] [--jobs 2]    # goes on where it stopped
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
    "seeds": 200_000, "step": 0.5, "angle": 20, "shortest": 10, "longest": 250, "reach": 2.0, "fewest": 10,
    "noise": True, "ringing": True, "seed": 0,
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
    """FA of a bundle is lower in half of the phantoms: is that edge named, and any other, as often as a formula says?

    Every phantom is a person whose six bundles differ at random from everybody's, and are lowered or not by a design in
    which the six groups are orthogonal: so one set of phantoms is six studies, and each is drawn again and again.
    """
    from multiprocessing import Pool

    folder = OUT / "diffusion_people"
    folder.mkdir(parents=True, exist_ok=True)
    given = [(folder, args.seed, person, args.effect) for person in range(args.people)]
    with Pool(args.jobs) as pool:
        edges = np.stack(list(pool.imap(phantom_fa, given)))
    rows = [
        study(edges, size, bundle, draw, args)
        for size in (50, 100)
        for bundle in range(6)
        for draw in range(args.draws)
        if size <= args.people
    ]
    table = pd.DataFrame(rows)
    sizes = table.groupby("people").mean(numeric_only=True).drop(columns=["bundle"])
    bundles = table.pivot_table(index="people", columns="bundle", values="named").round(3)
    return {
        "phantoms": args.people,
        "draws": args.draws,
        "effect": args.effect,
        "by_people": {int(n): row | {"power_by_formula": formula(n, args.effect, row["edges"])}
                      for n, row in sizes.to_dict("index").items()},
        "named_by_bundle": {int(n): row.tolist() for n, row in zip(bundles.index, bundles.to_numpy())},
    }  # fmt: skip


def lowered(people: int) -> np.ndarray:
    """Whose bundle is lowered, [people, 6] bool: in every eight people four of each bundle, two of each pair."""
    from scipy.linalg import hadamard

    return np.tile(hadamard(8)[:, 1:7] > 0, (-(-people // 8), 1))[:people]


def phantom_fa(given: tuple[Path, int, int, float]) -> np.ndarray:
    """FA of all pairs of regions in one phantom, and true d of its bundles; from its file where it was made before."""
    from test_diffusion_tracts import PAIRS, fits, matrices
    from tracts import ACROSS, BUNDLES, slab

    folder, seed, person, effect = given
    path = folder / f"{seed}_{person}_{effect}_{SPEC['fewest']}.npy"
    if not path.exists():
        spread = 0.12 * ACROSS  # of everybody's bundles
        away = np.random.default_rng([seed, person]).standard_normal(len(BUNDLES))
        away = away + effect * lowered(person + 1)[person]
        scan = slab(100_000 * (seed + 1) + person, across=dict(enumerate(1.5 * ACROSS + spread * away)))
        fa = matrices(scan, *fits(scan), seed=person + 1, seeds=2500, fewest=SPEC["fewest"])["fa"][PAIRS]
        np.save(path.with_suffix(".part.npy"), np.r_[fa, away])
        path.with_suffix(".part.npy").rename(path)
    return np.load(path)


def study(edges: np.ndarray, people: int, bundle: int, draw: int, args: argparse.Namespace) -> dict:
    """One cohort, half of it with the bundle lowered: what is named; and whether the bundle itself would be."""
    from test_diffusion_tracts import PAIRS
    from tracts import BUNDLES, truth

    from dysconnect.localize.statistics import edge_statistics

    rng, group = np.random.default_rng([args.seed, people, bundle, draw]), lowered(len(edges))[:, bundle]
    chosen = np.r_[tuple(rng.permutation(np.flatnonzero(group == side))[: people // 2] for side in (0, 1))]
    labels, fa, away = group[chosen].astype(int), edges[chosen, :28], edges[chosen, 28 + bundle]
    seen = np.isnan(fa).mean(0) <= 0.2
    fa = fa[:, seen]
    filled = np.where(np.isnan(fa), np.nanmean(fa, 0), fa)
    table = pd.DataFrame({"participant_id": np.arange(people).astype(str), "label": labels, "site": "one"})
    statistics = edge_statistics(filled, table, [], 999, draw)
    pairs = list(zip(PAIRS[0][seen], PAIRS[1][seen]))
    right = np.array([pair == BUNDLES[bundle] for pair in pairs])
    named, joined = statistics.p_fwer <= 0.05, truth()[PAIRS][seen]
    true_t = edge_statistics(away[:, None], table, [], 99, draw).t[0]
    return {
        "people": people,
        "bundle": bundle,
        "edges": int(seen.sum()),
        "named": bool(named[right].any()),
        "named_by_true_values": bool(abs(true_t) > np.quantile(statistics.max_null, 0.95)),
        "other_named": bool(named[~right].any()),
        "other_bundle_named": bool(named[~right & joined].any()),
        "false_pair_named": bool(named[~joined].any()),
        "mean_t": float(-statistics.t[right].mean()) if right.any() else 0.0,
        "mean_t_of_true_values": float(true_t),
    }


def formula(people: float, effect: float, tests: float) -> float:
    """Power of a two-sided t test of two halves at .05 by the number of tests."""
    from scipy.stats import nct, t

    df, shift = people - 2, effect * np.sqrt(people / 4)
    limit = t.isf(0.025 / tests, df)
    return float(nct.sf(limit, df, shift) + nct.cdf(-limit, df, shift))


def main() -> None:
    """Run one part, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["person", "clean", "ringing", "chain", "make"])
    parser.add_argument("--folder")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1)
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
