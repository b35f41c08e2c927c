"""An optional view: how well nodes could control the network, if it were a linear system (nctpy).

Caveats, which the report repeats: network control theory is made for structural connectomes, and here it is given
functional ones; its dynamics are linear and its inputs act on one node; and both measures follow a node's strength so
closely that only what strength does not explain is shown. It knows nothing of the patients.
"""

import importlib.util

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from dysconnect.data.edges import Pairs, known_mean

MEASURES = ("average_controllability", "modal_controllability")


def controllability(edges: np.ndarray, nodes: pd.DataFrame) -> pd.DataFrame | None:
    """Average and modal controllability of the controls' mean network, beyond what strength explains.

    Parameters
    ----------
    edges : array, [n, E]
        Of the controls; the positive mean of those who have an edge is the network.
    nodes : DataFrame, [N rows]

    Returns
    -------
    DataFrame or None, [N rows]
        `average_controllability`, `modal_controllability`: standardised residuals of the ranks after regression on the
        rank of strength. None without nctpy, or where the network has no edge.

    References
    ----------
    Gu et al. (2015), doi:10.1038/ncomms9414; Parkes et al. (2024), doi:10.1038/s41596-024-01023-w (nctpy).
    """
    network = Pairs(len(nodes)).matrix(np.maximum(known_mean(edges, edges.shape[1]), 0))
    if importlib.util.find_spec("nctpy") is None or not network.any():
        return None
    from nctpy.metrics import ave_control, modal_control
    from nctpy.utils import matrix_normalization

    normal = matrix_normalization(network, system="discrete")
    values = ave_control(normal, system="discrete"), modal_control(normal)
    strength = network.sum(0)
    return pd.DataFrame({name: beyond_strength(measure, strength) for name, measure in zip(MEASURES, values)})


def beyond_strength(values: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Standardised residuals of the ranks of values on the ranks of strength, [N]."""
    ranks, design = rankdata(values), np.column_stack([np.ones(len(values)), rankdata(strength)])
    rest = ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
    spread = rest.std()
    return rest / spread if spread > 1e-9 * len(values) else np.zeros(len(values))
