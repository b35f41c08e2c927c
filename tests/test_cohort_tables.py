"""p of the table of groups."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency, fisher_exact

from dysconnect.report.cohort.tables import _contingency_p


@pytest.mark.parametrize("most", [4, 12, 60, 4000])
def test_p_of_counts_is_that_of_scipy(most):
    random = np.random.default_rng(0)
    for shape in [(2, 2)] * 40 + [(2, 3), (2, 5), (3, 2)] * 5:
        counts = random.integers(0, most, shape) + (shape != (2, 2))
        if shape == (2, 2):
            counts[:, 1] += counts[:, ::-1].sum(1) == 0  # nobody on a side is no table
        expected = fisher_exact(counts).pvalue if shape == (2, 2) else chi2_contingency(counts).pvalue
        assert _contingency_p(counts) == pytest.approx(expected, rel=1e-8, abs=1e-300)


def test_alike_on_both_sides_ties_count_and_one_kind_is_no_test():
    for counts in ([[3, 5], [5, 3]], [[10, 10], [10, 10]], [[0, 7], [7, 0]]):
        assert _contingency_p(np.array(counts)) == pytest.approx(fisher_exact(counts).pvalue, rel=1e-10)
    assert np.isnan(_contingency_p(np.array([[4], [5]])))
