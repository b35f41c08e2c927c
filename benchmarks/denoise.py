"""Denoising of all regions of a scan, against nilearn.signal.clean: the same result, how much sooner.

python benchmarks/denoise.py [--repeats 5]
Writes benchmarks/results/denoise.json.
"""

import argparse
import json
import os
import platform
import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd
from nilearn import signal
from quick import OUT, median_seconds
from threadpoolctl import threadpool_limits

from dysconnect.denoising.projection import filter_operator, projection

VOLUMES, REPETITION_TIME = 400, 0.9
BANDS = {
    "butterworth": {"detrend": True, "filter": "butterworth", "high_pass": 0.01, "low_pass": 0.1},
    "cosine": {"detrend": True, "filter": "cosine", "high_pass": 0.01, "low_pass": None},
}


def scan(n_regions: int) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Series [T, N], 24 regressors [T, 24], and volumes to keep, nine in ten of them."""
    rng = np.random.default_rng(0)
    series = 1000 + 10 * rng.standard_normal((VOLUMES, n_regions))
    kept = np.ones(VOLUMES, bool)
    kept[rng.choice(np.arange(1, VOLUMES // 2), VOLUMES // 10, replace=False)] = False
    return series, pd.DataFrame(rng.standard_normal((VOLUMES, 24))), kept


def compare(n_regions: int, name: str, scrubbed: bool, again: bool, repeats: int) -> dict:
    """One strategy; `again` says whether a scan of that length was denoised before, whose filter is kept."""
    series, regressors, kept = scan(n_regions)
    kept = kept if scrubbed else np.ones(VOLUMES, bool)
    spec, mask = BANDS[name], np.flatnonzero(kept) if scrubbed else None

    def ours() -> np.ndarray:
        if not again:
            filter_operator.cache_clear()
        return projection(regressors, kept, REPETITION_TIME, spec).clean(series)

    def peer() -> np.ndarray:
        return signal.clean(
            series, confounds=regressors.to_numpy(), sample_mask=mask, standardize="zscore_sample",
            t_r=REPETITION_TIME, detrend=spec["detrend"], filter=name,
            high_pass=spec["high_pass"], low_pass=spec["low_pass"],
        )  # fmt: skip

    difference = float(np.abs(ours() - peer()).max())
    what = f"denoise {VOLUMES} volumes x {n_regions} regions, 24 regressors, {name}"
    what += (", 40 volumes scrubbed" if scrubbed else "") + ("" if again else ", first scan of that length")
    with threadpool_limits(1):  # as a worker of a cohort has
        times = {"ours": median_seconds(ours, repeats), "peer": median_seconds(peer, repeats)}
    against = "nilearn signal.clean, one thread each"
    return {"what": what, **times, "difference": difference, "against": against, "goal": 1}


def main() -> None:
    """Run all comparisons, print and save them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    OUT.mkdir(exist_ok=True)
    warnings.simplefilter("ignore")  # nilearn announces a change of its next version
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    versions = {name: version(name) for name in ("numpy", "scipy", "nilearn")}
    rows = []
    for n_regions in (300, 1000):
        for name, scrubbed, again in (
            ("butterworth", False, True),
            ("butterworth", False, False),
            ("butterworth", True, True),
            ("cosine", False, True),
        ):
            row = compare(n_regions, name, scrubbed, again, repeats)
            ratio = row["peer"] / row["ours"]
            rows.append({**row, "unit": "s", "ratio": round(ratio, 1), "machine": machine, "versions": versions})
            print(
                f"{row['what']}: {ratio:.1f} x as fast as {row['against']} ({row['ours']:.4f} s, {row['peer']:.4f} s), "
                f"largest difference {row['difference']:.0e}"
            )
    (OUT / "denoise.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
