"""What inner folds of the training people decide: how long networks train, with what, and how much they count."""

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from dysconnect.learning.graph.fit import Fitted, Jobs
from dysconnect.learning.graph.start import inner_logits
from dysconnect.models.dual import concordance, inner_folds, platt

SEARCHED = ("lr", "weight_decay")
MOST = 1.0  # largest weight of a network beside what it starts from: that with which it was trained
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
    candidate, best : array of int, [K]
        Settings, and epoch after which those who are watched were predicted best, were it calibrated.
    epochs : array of int, [K]
        To train: none of a network that is off.
    gamma, bias : array, [K]
        The decision is the start's logit, gamma times that of the network, and the bias.
    curves : array, [epochs, K, 3]
        Training loss, loss and AUC of those who are watched, mean over the folds.
    tried : array, [K, candidates, 2]
        Least loss of those who are watched, calibrated, and its epoch, of every candidate.
    gains : list of dict
        Of networks that start from ridge: `gamma`, `epochs`, `ridge_likelihood` and `likelihood` (mean log-likelihood
        of the watched, without and with the network), `gain_error` (standard error of their difference), `ridge_auc`
        and `network_auc` (each alone, pairs of people of the same fold; the epoch was chosen by the same people).
    """

    candidate: np.ndarray
    best: np.ndarray
    epochs: np.ndarray
    gamma: np.ndarray
    bias: np.ndarray
    curves: np.ndarray
    tried: np.ndarray
    gains: list[dict]


def inner_parts(labels: np.ndarray, groups: np.ndarray, folds: int) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Inner folds of label vectors [n, K], as many for each: positions to fit on and to watch.

    Raises
    ------
    ValueError
        When a class has fewer than two people.
    """
    fewest = min(len(inner_folds(column, groups, folds)) for column in labels.T)
    return [inner_folds(column, groups, fewest) for column in labels.T]


def make_inner_folds(
    parts: list[list[tuple[np.ndarray, np.ndarray]]], labels: np.ndarray, groups: np.ndarray, kernel: np.ndarray | None
) -> InnerFolds:
    """Inner folds with the logits of ridge regression on a kernel [n, n]; without one they are zero."""
    known: dict[bytes, np.ndarray] = {}
    for column, own in zip(labels.T, parts):
        if column.tobytes() not in known:
            nothing = np.zeros((len(column), len(own)))
            known[column.tobytes()] = nothing if kernel is None else inner_logits(kernel, column, own, groups)
    return InnerFolds(parts, np.stack([known[column.tobytes()] for column in labels.T], axis=1))


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
    """Choose settings and epochs of every network by the watched, and how much it counts.

    Chosen is what gives the labels of the watched the largest likelihood, where the network counts as much as is best:
    training makes networks too sure of themselves long before it makes them worse. Beside ridge regression it counts
    only if that is a gain of more than one standard error of the paired differences between people.

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
    said = (
        fitted.said.reshape(*shape, n).sum(3).transpose(3, 1, 2, 0).astype(float)
    )  # people, networks, candidates, epochs
    finite = np.isfinite(fitted.curves[..., 1].reshape(shape)).all(3).transpose(1, 2, 0)
    weighed = [weigh(said[:, k], folds.predicted[:, k, None, None], labels[:, k, None, None]) for k in networks]
    loss = np.where(finite, -np.stack([gain.likelihood for gain in weighed]), np.inf)
    if not np.isfinite(loss.min((1, 2))).all():
        raise ValueError("the loss was never finite; lower training.lr.")
    tried = np.stack([loss.min(2), loss.argmin(2)], axis=2)
    candidate = tried[..., 0].argmin(1)
    epoch = tried[networks, candidate, 1].astype(int)
    heard = said[:, networks, candidate, epoch]
    curves = fitted.curves.reshape(*shape, 3).mean(3)[:, networks, candidate]
    if not starts:
        gamma, bias = np.array([platt(*one) for one in zip(heard.T, labels.T)]).T
        return Inside(candidate, epoch, epoch + 1, gamma, bias, curves, tried, [])
    best = [Gain(*(value[c, e] for value in gain)) for gain, c, e in zip(weighed, candidate, epoch)]
    gamma = np.array([gain.gamma if gain.likelihood - gain.without > gain.error else 0.0 for gain in best])
    last = np.where(gamma > 0, epoch + 1, 0)
    alone = [
        {"ridge_auc": auc_inside(ridge, y, parts), "network_auc": auc_inside(network, y, parts)}
        for ridge, network, y, parts in zip(folds.predicted.T, heard.T, labels.T, folds.parts)
    ]
    gains = [
        {"gamma": one, "epochs": end, "ridge_likelihood": gain.without, "likelihood": gain.likelihood}
        | {"gain_error": gain.error, **aucs}
        for one, end, gain, aucs in zip(gamma, last, best, alone)
    ]
    return Inside(candidate, epoch, last, gamma, np.zeros(len(gamma)), curves, tried, gains)


class Gain(NamedTuple):
    """Best weight of networks beside their start, mean log-likelihood with and without, error of the difference."""

    gamma: np.ndarray
    likelihood: np.ndarray
    without: np.ndarray
    error: np.ndarray


def weigh(said: np.ndarray, start: np.ndarray, labels: np.ndarray) -> Gain:
    """Weight gamma in [0, 1] of largest likelihood of ``start + gamma * said``, and what it gains, [...] each.

    Parameters
    ----------
    said, start : array, [n, ...]
        Logits of networks and of what they start from, of people whom neither was fitted on.
    labels : array of 0/1, [n, ...]
    """
    low, high = np.zeros(said.shape[1:]), np.full(said.shape[1:], MOST)
    for _ in range(HALVINGS):  # the likelihood is concave in gamma
        gamma = (low + high) / 2
        rising = ((labels - expit(start + gamma * said)) * said).sum(0) > 0
        low, high = np.where(rising, gamma, low), np.where(rising, high, gamma)
    with_, without = (log_likelihood(logits, labels) for logits in (start + low * said, start + 0 * said))
    error = (with_ - without).std(0, ddof=1) / np.sqrt(len(said))
    return Gain(low, with_.mean(0), without.mean(0), error)


def auc_inside(decisions: np.ndarray, y: np.ndarray, parts: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Share of concordant pairs of people who were left out of the same fold, from decisions [n] and labels [n].

    Pairs of several folds are not at a half where nothing is there: each is in what the other's model learned from.
    """
    pairs = [int(y[watch].sum() * (1 - y[watch]).sum()) for _, watch in parts]
    return float(np.average([concordance(decisions[watch], y[watch]) for _, watch in parts], weights=pairs))


def log_likelihood(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log-likelihood of every label given its logit, [...]."""
    return -np.logaddexp(0, np.where(labels == 1, -logits, logits))
