"""The quality of a cohort as single numbers, for the record of experiments."""

from collections.abc import Mapping

import pandas as pd

from dysconnect.quality.scans import EFFECTS, OVERLAPS, marked


def quality_metrics(
    quality: Mapping, scans: pd.DataFrame | None = None, spec: Mapping | None = None
) -> dict[str, float]:
    """Quality of a cohort as metrics ``quality.*``, named alike in every run; what was not measured is left out.

    Parameters
    ----------
    quality : mapping
        Summary of the `quality` stage.
    scans : DataFrame, optional
        Of `dysconnect.quality.scans.scan_table`, for a cohort of images.
    spec : mapping, optional
        The `quality` section, by which scans are marked.
    """
    subjects, link, metrics = quality["subjects"], quality["qcfc"]["everybody"], {}
    for side in ("cases", "controls"):
        metrics |= {f"kept_{side}": subjects[side]["kept"], f"total_{side}": subjects[side]["total"]}
        for name, key in (("mean_fd", "motion"), ("seconds", "seconds")):
            metrics[f"{name}_{side}"] = quality[key].get(side, {}).get("mean")
    metrics |= {f"{name}_p": quality[key].get("p") for name, key in (("mean_fd", "motion"), ("seconds", "seconds"))}
    metrics |= {"mean_fd_d": quality["motion"].get("d"), "excluded_p": subjects["p"]}
    for name, key in (("qcfc_median_r", "median_r"), ("qcfc_share", "share"), ("qcfc_distance_rho", "rho")):
        metrics |= {name: link.get(key, {}).get("value"), f"{name}_p": link.get(key, {}).get("p")}
    metrics["edges_tested"] = quality["edges"]["tested"]
    if scans is not None:
        metrics |= scan_metrics(scans, spec)
    return {f"quality.{name}": float(value) for name, value in metrics.items() if value is not None}


def scan_metrics(table: pd.DataFrame, spec: Mapping) -> dict[str, float]:
    """Means over the scans that are used, for the record: one number a measure; NaN where unknown."""
    used = table[table["included"]]
    names = ("tsnr", "dvars", "silent_regions", "spikes", "censored", *OVERLAPS, *EFFECTS)
    means = {f"{name}_mean": float(used[name].mean()) for name in names}
    means["coverage_mean"] = float(used["mean_coverage"].mean())
    failed = int((table["problem"] != "").sum())
    return {
        **means,
        "scans": len(table),
        "scans_failed": failed,
        "scans_marked": int(marked(table, spec).any(axis=1).sum()),
    }
