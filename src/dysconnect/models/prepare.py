"""Preparation of features inside the training fold: harmonisation of sites, and regression of confounds.

Neither sees the label. ComBat that "preserves" the label needs the label of everybody it is applied to, the test
fold included: it pushes the test patients towards the training patients, and pure noise is then told apart. One
that preserves it in the training fold alone treats the two folds differently. So neither is offered.
"""

import json
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dysconnect.models.floor import CovariateEncoder

STEPS, SETTLED = 200, 1e-5  # of the empirical Bayes iteration: at most, and the relative change at which it stops


class UnseenSite(UserWarning):
    """ComBat met people of a site that it was not fitted on."""


class ComBat:
    """Remove location and scale of the sites, shrunk towards what the site does to all features.

    Model of feature v of subject j at site i: ``y_ijv = a_v + s_v (g_iv + d_iv e_ijv)``. With ``z = (y - a) / s``
    (a the mean of all subjects, s the pooled standard deviation within sites) the estimates of a site are shrunk by
    its own priors, ``g_iv ~ N(m_i, t_i^2)`` and ``d_iv^2 ~ InvGamma(l_i, b_i)``, whose moments are taken over the
    features; the posterior means solve, in turn,

    ``g* = (n t^2 g + d*^2 m) / (n t^2 + d*^2)`` and ``d*^2 = (b + sum_j (z - g*)^2 / 2) / (n / 2 + l - 1)``,

    and the harmonised feature is ``s (z - g*) / d* + a``. A site with one training subject has no scale:
    only its location is removed. A subject of a site that the training subjects lack is standardised with the pooled
    estimates and put back, that is, left as it is; a test fold need not hold all sites, nor more than one subject.

    Parameters of `fit` and `transform`: features [n, E], sites [n].

    Attributes
    ----------
    sites_ : list of str, [S]
    mean_ : array, [E]
        a.
    shift_ : array, [S, E]
        s g*, in units of the feature.
    scale_ : array, [S, E]
        d*.

    References
    ----------
    Johnson, Li and Rabinovic (2007), doi:10.1093/biostatistics/kxj037;
    Fortin et al. (2018), doi:10.1016/j.neuroimage.2017.11.024.
    """

    def fit(self, features: np.ndarray, sites: np.ndarray) -> "ComBat":
        """Learn the sites' locations and scales from training subjects."""
        features, sites = np.asarray(features, float), np.asarray(sites).astype(str)
        self.sites_, site = np.unique(sites, return_inverse=True)
        self.sites_ = self.sites_.tolist()
        self.mean_ = features.mean(0)
        counts = np.bincount(site)
        centres = np.stack([features[site == k].mean(0) for k in range(len(counts))])
        within = np.stack([((features[site == k] - centres[k]) ** 2).sum(0) for k in range(len(counts))])
        spread = np.sqrt(within.sum(0) / len(features))
        varies = spread > 1e-8 * np.maximum(np.abs(self.mean_), 1e-8)
        self.shift_ = centres - self.mean_  # a feature without variance within sites: the location as it is
        self.scale_ = np.ones_like(self.shift_)
        for k, n in enumerate(counts):
            location = self.shift_[k, varies] / spread[varies]
            shrunk, scale = _posterior(location, within[k, varies] / spread[varies] ** 2, n)
            self.shift_[k, varies], self.scale_[k, varies] = spread[varies] * shrunk, scale
        return self

    def transform(self, features: np.ndarray, sites: np.ndarray) -> np.ndarray:
        """Harmonise, [n, E] float32.

        Warns
        -----
        UnseenSite
            With the names of sites that the training subjects lack, whose subjects are left as they are.
        """
        known = {site: k for k, site in enumerate(self.sites_)}
        harmonised = np.array(features, np.float32)
        sites = np.asarray(sites).astype(str)
        if not set(sites.tolist()) <= set(known):
            warnings.warn(self._not_seen(sites), UnseenSite, stacklevel=2)
        for site in set(sites.tolist()) & set(known):
            members, k = sites == site, known[site]
            harmonised[members] = (features[members] - self.mean_ - self.shift_[k]) / self.scale_[k] + self.mean_
        return harmonised

    def gradients(self, gradients: np.ndarray, sites: np.ndarray) -> np.ndarray:
        """Gradients by the features of people of some sites, from those by their harmonised features, [n, E]."""
        known = {site: k for k, site in enumerate(self.sites_)}
        scale = np.array([self.scale_[known[s]] if s in known else np.ones_like(self.mean_) for s in map(str, sites)])
        return gradients / scale

    def _not_seen(self, sites: np.ndarray) -> str:
        names, counts = np.unique(sites[~np.isin(sites, self.sites_)], return_counts=True)
        people = ", ".join(f"{name or '(no name)'} ({count})" for name, count in zip(names, counts))
        return (
            f"ComBat has not seen anybody of site {people}: these subjects are not harmonised, and stay as they are. "
            f"It was fitted on {', '.join(self.sites_)}."
        )


def _posterior(location: np.ndarray, squares: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Shrink one site's standardised locations [E] and sums of squares about them [E]: locations, scales."""
    if len(location) < 2:  # nothing to learn a prior from
        return location, np.sqrt(squares / (n - 1)) if n > 1 else np.ones_like(location)
    prior, between = location.mean(), location.var(ddof=1)
    if n < 2:
        return (n * between * location + prior) / (n * between + 1), np.ones_like(location)
    variance = squares / (n - 1)
    middle, width = variance.mean(), max(variance.var(ddof=1), 1e-12)
    shape, rate = (2 * width + middle**2) / width, (middle * width + middle**3) / width
    shrunk, scale = location, variance
    for _ in range(STEPS):
        before = shrunk, scale
        shrunk = (n * between * location + scale * prior) / (n * between + scale)
        scale = (rate + (squares + n * (location - shrunk) ** 2) / 2) / (n / 2 + shape - 1)
        if max(np.abs(new - old).max() for new, old in zip((shrunk, scale), before)) < SETTLED:
            break
    return shrunk, np.sqrt(scale)


class ConfoundRegression:
    """Subtract what covariates explain linearly: ``y - (c - mean(c)) B``, B by least squares on training subjects.

    Parameters of `fit` and `transform`: features [n, E], participants [n rows]. An age that is not known, or a site
    that the training subjects lack, counts as average: nothing is subtracted for it.

    Parameters
    ----------
    covariates : sequence of str
        Columns of the participants; numbers, or categories (one-hot).

    Attributes
    ----------
    slopes_ : array, [K, E]

    References
    ----------
    Snoek, Miletic and Scholte (2019), doi:10.1016/j.neuroimage.2018.09.074: inside the fold, or with bias.
    """

    def __init__(self, covariates: Sequence[str]):
        self.covariates = tuple(covariates)

    def fit(self, features: np.ndarray, participants: pd.DataFrame) -> "ConfoundRegression":
        """Learn the slopes."""
        self.encoder_ = CovariateEncoder(self.covariates).fit(participants)
        encoded = self.encoder_.centred(participants)
        self.slopes_ = np.linalg.pinv(encoded, rcond=1e-8) @ (features - np.mean(features, axis=0, dtype=float))
        return self

    def transform(self, features: np.ndarray, participants: pd.DataFrame) -> np.ndarray:
        """Subtract, [n, E] float32."""
        return (features - self.encoder_.centred(participants) @ self.slopes_).astype(np.float32)


class Preparation:
    """The steps that the `model` section asks for: `harmonise` (none or combat), then `deconfound` (covariates).

    Parameters
    ----------
    spec : mapping
        The `model` section; a model without these keys prepares nothing.
    """

    def __init__(self, spec: Mapping):
        self.combat_ = ComBat() if spec.get("harmonise", "none") == "combat" else None
        self.confounds_ = ConfoundRegression(spec["deconfound"]) if spec.get("deconfound") else None

    def fit(self, features: np.ndarray, participants: pd.DataFrame) -> "Preparation":
        """Learn every step on training subjects: features [n, E], participants [n rows]."""
        if self.combat_:
            self.combat_.fit(features, participants["site"])
            features = self.combat_.transform(features, participants["site"])
        if self.confounds_:
            self.confounds_.fit(features, participants)
        return self

    def transform(self, features: np.ndarray, participants: pd.DataFrame | None) -> np.ndarray:
        """Apply every step, [n, E]; None for participants: of no known site and average in every confound."""
        if participants is None:
            return features
        if self.combat_:
            features = self.combat_.transform(features, participants["site"])
        return self.confounds_.transform(features, participants) if self.confounds_ else features

    def gradients(self, gradients: np.ndarray, participants: pd.DataFrame) -> np.ndarray:
        """Gradients by the features before the steps, from those by what comes of them; of people, [n, E]."""
        return self.combat_.gradients(gradients, participants["site"]) if self.combat_ else gradients

    def state(self) -> dict[str, np.ndarray]:
        """What was learned, as arrays."""
        arrays = {}
        if self.combat_:
            arrays |= {"combat_sites": np.array(self.combat_.sites_), "combat_mean": self.combat_.mean_}
            arrays |= {"combat_shift": self.combat_.shift_, "combat_scale": self.combat_.scale_}
        if self.confounds_:
            encoding = json.dumps(self.confounds_.encoder_.state())
            arrays |= {"confound_slopes": self.confounds_.slopes_, "confound_encoding": np.array(encoding)}
        return arrays

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> "Preparation":
        """Restore from `state`."""
        if self.combat_:
            self.combat_.sites_ = arrays["combat_sites"].tolist()
            for name in ("mean", "shift", "scale"):
                setattr(self.combat_, f"{name}_", arrays[f"combat_{name}"])
        if self.confounds_:
            encoder = CovariateEncoder(self.confounds_.covariates)
            self.confounds_.encoder_ = encoder.load_state(json.loads(str(arrays["confound_encoding"])))
            self.confounds_.slopes_ = arrays["confound_slopes"]
        return self
