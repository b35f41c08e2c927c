"""Whether a ranking is shown: the targets' own family-wise p opens the gate, or the model's where they have none."""

from typing import NamedTuple

import numpy as np

from dysconnect.learning.permuted import Gate


class Verdict(NamedTuple):
    """Whether targets are shown, what decided (`gate`), its p (NaN: not tested), and all of it in words."""

    is_open: bool
    gate: str
    p: float
    words: str

    @property
    def summary(self) -> dict:
        """As it is written to verdict.json."""
        return {"verdict": self.words, "gate": self.gate, "p": None if np.isnan(self.p) else float(self.p)}


def judged(p_fwer: np.ndarray | None, model: Gate, alpha: float, name: str) -> Verdict:
    """Decide whether the targets of a model are shown.

    Parameters
    ----------
    p_fwer : array, [T], or None
        Of the targets, over all kinds; None where labels were not permuted for them.
    model : Gate
        Of the model, which decides then.
    alpha : float
    name : str
        The model's, for the words.

    Notes
    -----
    A model that does not beat chance may have targets that survive: an AUC asks whether all connections together tell
    new people apart, a target whether its own differ. The error of both is counted in benchmarks/stimulate_gate.py.
    """
    if p_fwer is None:
        return Verdict(model.is_open, "the model's permutation null, since its targets have none", model.p, model.words)
    p = float(np.min(p_fwer))
    gate = "the smallest family-wise p of the targets of all kinds"
    if p <= alpha:
        return Verdict(True, gate, p, f"{name} (smallest family-wise p of its targets = {p:.3g})")
    words = f"withheld: no target of {name} survives the family-wise error rate (smallest family-wise p = {p:.3g})"
    return Verdict(False, gate, p, words)
