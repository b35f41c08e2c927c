"""The gate: nothing is shown of a model that does not beat its permutation null."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dysconnect.learning import permuted
from dysconnect.learning.permuted import gate

NULL = pd.DataFrame({"permutation": range(100), "auc": np.linspace(0.6, 0.4, 100)})


@pytest.mark.parametrize(
    ("null", "name", "is_open", "p", "words"),
    [
        (NULL, "", True, 0.01, "shown: beats its permutation null (p = 0.01)"),
        (NULL, "ridge", True, 0.01, "ridge (permutation p = 0.01)"),
        (NULL.assign(auc=0.5), "", False, 1.0, "withheld: does not beat its permutation null (p = 1)"),
        (NULL.assign(auc=0.5), "ridge", False, 1.0, "withheld: ridge does not beat its permutation null (p = 1)"),
        (NULL[:0], "", False, np.nan, "withheld: not tested against permuted labels"),
        (NULL[:0], "ridge", False, np.nan, "withheld: ridge was not tested against permuted labels"),
    ],
)
def test_a_model_must_beat_its_null(null, name, is_open, p, words):
    own = gate(null, 0.05, name)
    assert (own.is_open, own.words) == (is_open, words)
    assert own.p == pytest.approx(p, nan_ok=True)


def test_the_gate_opens_at_alpha_itself():
    assert gate(NULL, 0.01).is_open and not gate(NULL, 0.0099).is_open


def test_there_is_one_gate():
    source = Path(permuted.__file__).parents[1]
    deciding = {path.name for path in source.rglob("*.py") if '"withheld: ' in path.read_text()}
    assert deciding == {"permuted.py"}
