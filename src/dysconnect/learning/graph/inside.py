"""What inner folds of the training people decide: how long networks train, with what, and how much they count."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import expit

from dysconnect.learning.graph.fit import Fitted, Jobs
from dysconnect.learning.graph.start import inner_logits
from dysconnect.models.dual import concordance, inner_folds, platt

SEARCHED = ("lr", "weight_decay")
MOST = 4.0  # largest weight of a network beside what it starts from
HALVINGS = 30  # of the interval in which that weight is searched for


@dataclass(frozen=True)
class InnerFolds:
    """Inner folds of K label vectors, and what was known of everybody before the network.

    Attributes
    ----------
    parts : list of list of (array, array)
        Positions to fit on and to watch, by label vector and fold.
    logits : array, [n, K, F]
        Of the linear model that is fitted in every fold anew; zero where networks start from nothing.
    """

    parts: list[list[tuple[np.ndarray, np.ndarray]]]
    logits: np.ndarray

    @property
    def watched(self) -> np.ndarray:
        """Who is watched, [n, K, F] bool."""
        watched = np.zeros(self.logits.shape, bool)
        for k, parts in enumerate(self.parts):
            for number, (_, watch) in enumerate(parts):
                watched[watch, k, number] = True
        return watched

    @property
    def predicted(self) -> np.ndarray:
        """Logits of everybody in the fold that watches them, [n, K]."""
        return (self.logits * self.watched).sum(2)


@dataclass(frozen=True)
class Inside:
    """What the inner folds say of K networks.

    Attributes
    ----------
    candidate, epochs : array of int, [K]
        Settings, and epochs after which those who are watched were predicted best; no epochs of a network that is off.
    gamma, bias : array, [K]
        The decision is the start's logit, gamma times that of the network, and the bias.
    curves : array, [epochs, K, 3]
        Training loss, loss and AUC of those who are watched, mean over the folds.
    tried : array, [K, candidates, 2]
        Least loss of those who are watched, and its epoch, of every candidate.
    gains : list of dict
        Of networks that start from ridge: `gamma`, `epochs`, `ridge_likelihood` and `likelihood` (mean log-likelihood
        of the watched, without and with the network), `gain_error` (standard error of their difference), `ridge_auc`
        and `network_auc` (each alone).
    """

    candidate: np.ndarray
    epochs: np.ndarray
    gamma: np.ndarray
    bias: np.ndarray
    curves: np.ndarray
    tried: np.ndarray
    gains: list[dict]


def make_inner_folds(
    labels: np.ndarray, groups: np.ndarray, folds: int, kernel: np.ndarray | None = None
) -> InnerFolds:
    """Inner folds of label vectors [n, K], as many for each; with the kernel of ridge regression also its logits.

    Raises
    ------
    ValueError
        When a class has one person only.
    """
    fewest = min(len(inner_folds(column, groups, folds)) for column in labels.T)
    known: dict[bytes, tuple] = {}
    for column in labels.T:
        if column.tobytes() not in known:
            parts = inner_folds(column, groups, fewest)
            start = np.zeros((len(column), fewest)) if kernel is None else inner_logits(kernel, column, parts, groups)
            known[column.tobytes()] = parts, start
    every = [known[column.tobytes()] for column in labels.T]
    return InnerFolds([parts for parts, _ in every], np.stack([logits for _, logits in every], axis=1))


def settings_grid(spec: dict) -> np.ndarray:
    """Every combination of learning rate and weight decay that is tried, [candidates, 2]."""
    return np.array(list(product(*(spec["search"].get(key) or [spec[key]] for key in SEARCHED))), float)


def inner_jobs(labels: np.ndarray, seeds: np.ndarray, folds: InnerFolds, spec: dict, balanced: bool) -> Jobs:
    """One job for each network, candidate and inner fold, in this order."""
    grid = settings_grid(spec)
    spread = lambda table: np.repeat(table[:, :, None], len(grid), axis=2).reshape(len(labels), -1)
    each = folds.logits.shape[2]
    columns = len(grid) * each
    lr, decay = np.tile(np.repeat(grid, each, axis=0), (len(seeds), 1)).T
    return Jobs(
        labels=np.repeat(labels, columns, axis=1),
        watched=spread(folds.watched),
        seeds=np.repeat(np.asarray(seeds, np.int64), columns),
        lr=lr,
        weight_decay=decay,
        epochs=np.full(len(lr), spec["epochs"]),
        offset=spread(folds.logits),
        balanced=balanced,
        shuffle=int(seeds[0]),
    )


def judge_inside(fitted: Fitted, labels: np.ndarray, folds: InnerFolds, starts: bool) -> Inside:
    """Choose settings and epochs of every network by its loss on the watched, then how much it counts.

    Parameters
    ----------
    fitted : Fitted
        Of `inner_jobs`.
    labels : array, [n, K]
    folds : InnerFolds
    starts : bool
        Whether networks are added to ridge regression. Then gamma is how much they count beside it; if not, it is the
        slope of Platt's curve through what they say of the watched, and `bias` its offset.

    Raises
    ------
    ValueError
        If the loss of a network was never finite.
    """
    (epochs, _, n), networks = fitted.said.shape, np.arange(labels.shape[1])
    shape = (epochs, len(networks), -1, folds.logits.shape[2])
    curves = fitted.curves.reshape(*shape, 3).mean(3)
    loss = np.where(np.isfinite(curves[..., 1]), curves[..., 1], np.inf)
    if not np.isfinite(loss.min((0, 2))).all():
        raise ValueError("the loss was never finite; lower training.lr.")
    tried = np.stack([loss.min(0), loss.argmin(0)], axis=2)
    candidate = tried[..., 0].argmin(1)
    epoch = tried[networks, candidate, 1].astype(int)
    said = fitted.said.reshape(*shape, n).sum(3)[epoch, networks, candidate].T.astype(float)
    if starts:
        gamma, gains = weigh(said, folds.predicted, labels)
        bias, epoch = np.zeros(len(gamma)), np.where(gamma > 0, epoch, -1)
        gains = [{"gamma": one, "epochs": last + 1, **gain} for one, last, gain in zip(gamma, epoch, gains)]
    else:
        gamma, bias = np.array([platt(*one) for one in zip(said.T, labels.T)]).T
        gains = []
    return Inside(candidate, epoch + 1, gamma, bias, curves[:, networks, candidate], tried, gains)


def weigh(said: np.ndarray, start: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, list[dict]]:
    """How much networks count beside what they start from: the gamma of largest likelihood, or 0 where it is no gain.

    A gain is one of more than one standard error of the paired differences between people.

    Parameters
    ----------
    said, start : array, [n, K]
        Logits of networks and of what they start from, of people whom neither was fitted on.
    labels : array of 0/1, [n, K]

    Returns
    -------
    gamma : array, [K]
    gains : list of dict
        See `Inside`.
    """
    low, high = np.zeros(said.shape[1]), np.full(said.shape[1], MOST)
    for _ in range(HALVINGS):  # the likelihood is concave in gamma
        gamma = (low + high) / 2
        rising = ((labels - expit(start + gamma * said)) * said).sum(0) > 0
        low, high = np.where(rising, gamma, low), np.where(rising, high, gamma)
    gamma = (low + high) / 2
    without, beside = (log_likelihood(logits, labels) for logits in (start, start + gamma * said))
    gain, error = (beside - without).mean(0), (beside - without).std(0, ddof=1) / np.sqrt(len(said))
    gamma = np.where(gain > error, gamma, 0.0)
    numbers = zip(without.mean(0), beside.mean(0), error, start.T, said.T, labels.T)
    return gamma, [
        {
            "ridge_likelihood": one,
            "likelihood": other,
            "gain_error": spread,
            "ridge_auc": concordance(ridge, y),
            "network_auc": concordance(network, y),
        }
        for one, other, spread, ridge, network, y in numbers
    ]


def log_likelihood(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log-likelihood of every label given its logit, [...]."""
    return -np.logaddexp(0, np.where(labels == 1, -logits, logits))
