"""Connectomes of one scan equal those of nilearn, and files of series are read alike by both readers."""

import warnings

import numpy as np
import pandas as pd
import pytest
from nilearn.connectome import ConnectivityMeasure
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from dysconnect.connectivity import MANY, cohort_connectomes
from dysconnect.data.estimate import FROM_COVARIANCE, connectome, covariance, scan_connectome
from dysconnect.data.measures import KINDS, measure_of
from dysconnect.data.series import read_series, write_series
from dysconnect.data.written import written_series

ESTIMATORS = {"empirical": EmpiricalCovariance, "ledoit_wolf": LedoitWolf}
N = 12


def scans() -> dict[str, np.ndarray]:
    """Series [T, 12] of every kind that a scan may be."""
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(60, N)) @ (np.eye(N) + rng.normal(size=(N, N)) / 3) * rng.uniform(0.1, 50, N) + 100
    constant, unknown, both = plain.copy(), plain.copy(), plain.copy()
    constant[:, [0, 5]] = 7.25
    unknown[[3, 4], 2] = np.nan
    both[:, 11], both[0, 0] = 0, np.nan
    kept = np.sort(rng.choice(60, 35, replace=False))
    return {
        "plain": plain, "columns first": np.asfortranarray(plain), "constant regions": constant,
        "regions with NaN": unknown, "both": both, "censored": plain[kept], "few volumes": plain[:9],
        "one region": np.where(np.arange(N) == 4, plain, 0.0), "alike": np.repeat(rng.normal(size=(30, 1)), N, 1),
    }  # fmt: skip


SCANS = scans()


def by_nilearn(series: np.ndarray, measure: str, estimator: str) -> np.ndarray:
    """Edges [E] float32, from what nilearn says of the regions that vary; a missing one is alone."""
    entry, alive = measure_of(measure), np.flatnonzero(np.ptp(series, axis=0) > 0)
    fitted = ConnectivityMeasure(
        cov_estimator=ESTIMATORS[estimator](store_precision=False), kind=entry.kind, standardize="zscore_sample"
    )
    matrix = np.eye(N)
    matrix[np.ix_(alive, alive)] = fitted.fit_transform([np.ascontiguousarray(series[:, alive])])[0]
    return entry.transformed(matrix[np.triu_indices(N, 0 if entry.diagonal else 1)]).astype(np.float32)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("measure", ["correlation", "partial", "covariance"])
@pytest.mark.parametrize("kind", SCANS)
def test_edges_equal_those_of_nilearn(kind, measure, estimator):
    series = SCANS[kind]
    if estimator == "empirical" and measure != "correlation" and (len(series) <= N or kind == "alike"):
        return  # refused, or no inverse
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matrices that are nearly singular
        expected = by_nilearn(series, measure, estimator)
    scale = np.abs(expected).max(initial=1)
    np.testing.assert_allclose(connectome(series, measure, estimator), expected, rtol=1e-6, atol=1e-7 * scale)


def test_regions_without_signal_are_told():
    np.testing.assert_array_equal(
        scan_connectome(SCANS["both"], "correlation", "empirical").missing, np.arange(N) % 11 == 0
    )


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_infinite_values_are_refused(estimator):
    spoiled = SCANS["plain"].copy()
    spoiled[5, 3] = np.inf
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="infinite values; write the series again"):
        covariance(spoiled, estimator)


def test_every_kind_of_the_table_is_computed():
    assert set(FROM_COVARIANCE) == set(KINDS)


@pytest.fixture
def names(nodes) -> list[str]:
    """Regions of a file."""
    return nodes["name"].tolist()[:N]


CELLS = ("%.6g", "%.9g", "%.3e", "%d", "%+.0f", "%.2f")


@pytest.mark.parametrize("form", CELLS)
def test_both_readers_see_the_same_bits(form, names, nodes, tmp_path):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(40, N)) * 10.0 ** rng.integers(-9, 12, (40, N))
    lines = ["\t".join(names), *("\t".join(form % value for value in row) for row in values)]
    content = ("\n".join(lines) + "\n").encode()
    (tmp_path / "sub-1.tsv").write_bytes(content)
    read = written_series(content, names)
    if form == "%+.0f":
        assert read is None  # this software writes no plus before a number
    else:
        np.testing.assert_array_equal(read, read_series(tmp_path / "sub-1.tsv", "", nodes.head(N)))


def test_what_was_written_is_read(names, tmp_path):
    write_series(SCANS["constant regions"], names, tmp_path / "sub-1.tsv")
    read = written_series((tmp_path / "sub-1.tsv").read_bytes(), names)
    np.testing.assert_allclose(read, SCANS["constant regions"], rtol=1e-5)


ROW = "\t".join(["1.5"] * N)
OTHER = {
    "no rows": "",
    "an empty line": f"{ROW}\n\n{ROW}\n",
    "a cell too few": f"{ROW}\n{ROW[:-4]}\n",
    "a cell too many": f"{ROW}\t2\n",
    "no end": ROW,
    "n/a": f"{ROW[:-3]}n/a\n",
    "an empty cell": f"{ROW[:-3]}\n",
    "a word": f"{ROW}x\n",
    "a point alone": f"{ROW[:-3]}.\n",
    "a minus alone": f"{ROW[:-3]}-\n",
    "two points": f"{ROW}.1\n",
    "a power without number": f"{ROW}e\n",
    "a power of a thousand": f"{ROW}e1000\n",
    "sixteen digits": f"{ROW[:-3]}1234567890.123456\n",
    "ends of Windows": f"{ROW}\r\n",
    "a blank": f"{ROW} \n",
    "zeros and ones alone": "\t".join("01" * (N // 2)) + "\n" + "\t".join("10" * (N // 2)) + "\n",
}


@pytest.mark.parametrize("what", OTHER)
def test_anything_else_is_left_to_the_reader_of_all_tables(what, names):
    assert written_series(("\t".join(names) + "\n" + OTHER[what]).encode(), names) is None


def test_other_names_are_left_to_the_reader_of_all_tables(names):
    content = ("\t".join(names) + f"\n{ROW}\n").encode()
    assert written_series(content, names) is not None
    assert written_series(content, names[::-1]) is None
    assert written_series(content, names[:-1]) is None


def test_a_large_cohort_is_as_its_people_alone(names, nodes, tmp_path):
    """From `MANY` people on files are read by compiled code; one that it does not take is read all the same."""
    rng, few, rows = np.random.default_rng(2), nodes.head(N), []
    for k in range(MANY):
        path = tmp_path / f"sub-{k}.tsv"
        write_series(rng.normal(size=(20, N)), names, path)
        rows.append({"participant_id": f"sub-{k}", "series": str(path)})
    path = tmp_path / "sub-3.tsv"
    path.write_text(path.read_text().replace("\n", "\r\n"))
    made = cohort_connectomes(pd.DataFrame(rows), few, "covariance", "ledoit_wolf")
    alone = [connectome(read_series(row["series"], "", few), "covariance", "ledoit_wolf") for row in rows]
    np.testing.assert_array_equal(made.values, alone)
