"""Diffusion: cost of one person of ds006395's size, ringing against dipy, and whether a bundle's FA is found again.

python benchmarks/diffusion.py person    # 96 x 96 x 60 voxels of 2 mm, 60 directions, 10 b0; 200,000 seeds
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
    parser.add_argument("part", choices=["person", "ringing", "chain", "make"])
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
