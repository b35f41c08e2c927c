"""Tangent space of covariance matrices, with the reference learned on the training subjects only."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch

from dysconnect.data.edges import Pairs, blocks
from dysconnect.models.threads import blas_threads, one_blas_thread

CHUNK = 16  # matrices a thread takes at once
FEW = 96  # people whose mean is where the search for everybody's mean starts
NEAR = 0.1  # root mean square of their gradient from which one step is near enough for a start
CURVED = 128  # people, about, from whom the curvature is learned
ROUGH = 4  # steps that may be taken in single precision
SINGLE = 1e-3  # root mean square of a gradient's entries for which single precision is exact enough
BLUR = 0.1  # of the tolerance: what single precision may blur a mean, to be used to the end
SURE = 2  # times: how much less than the step before a step may help
CLEAR = 500  # condition number of a whitened covariance up to which its logarithm is taken in single precision
ROUNDED = float(np.finfo(np.float32).eps)


def spd_function(matrix: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply a function to the eigenvalues of positive-definite matrices, [..., N, N]."""
    return spd_functions(matrix, function)[0]


def spd_functions(matrix: np.ndarray, *functions: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
    """Apply several functions to the eigenvalues of positive-definite matrices, [..., N, N] each."""
    values, vectors = np.linalg.eigh(matrix)
    values = np.maximum(values, 1e-12)[..., None, :]
    return [(vectors * function(values)) @ vectors.swapaxes(-1, -2) for function in functions]


def in_threads(function: Callable[[np.ndarray], np.ndarray], matrices: np.ndarray) -> Iterator[np.ndarray]:
    """Apply a function to chunks of matrices, in order, on as many threads as BLAS may use.

    A small eigenproblem keeps one thread busy; many of them keep all. What is no array is read in blocks.
    """
    threads, lies = blas_threads(), isinstance(matrices, np.ndarray)
    alone = partial(torch.set_num_threads, 1)  # holds for the thread that calls it
    with one_blas_thread(), ThreadPoolExecutor(threads, initializer=alone) as pool:
        for block in [matrices] if lies else (matrices[part] for part in blocks(matrices.shape)):
            yield from pool.map(function, [block[start : start + CHUNK] for start in range(0, len(block), CHUNK)])


def unfolded(covariances: np.ndarray) -> np.ndarray:
    """Covariances as matrices [..., N, N], or as edges with diagonal [S, N (N + 1) / 2], as matrices."""
    if covariances.ndim > 2:
        return covariances
    return Pairs.of(covariances.shape[-1], diagonal=True).matrix(covariances)


def logarithms(matrices: np.ndarray) -> np.ndarray:
    """Logarithms of positive-definite matrices, [S, N, N] float32.

    Of matrices in single precision entries err by a third of ``eps * condition number`` at most: 2e-5 for a condition
    number of 500, and 1e-6 in the root mean square. Beyond `CLEAR` those too are done in double precision.
    """
    if matrices.dtype != np.float32:
        return spd_function(matrices, np.log).astype(np.float32)
    values, vectors = torch.linalg.eigh(torch.from_numpy(matrices))
    logs = ((vectors * torch.log(values.clamp_min(1e-12))[:, None, :]) @ vectors.mT).numpy()
    unclear = ~(values[:, -1] < CLEAR * values[:, 0]).numpy()
    if unclear.any():
        logs[unclear] = spd_function(matrices[unclear].astype(float), np.log)
    return logs


def whitened_eigen(
    covariances: np.ndarray, whitening: np.ndarray | None, precision: type
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logarithms of the eigenvalues and eigenvectors of ``W C_s W^T`` (without W, of C_s), [S, N] and [S, N, N]."""
    turned = unfolded(covariances.astype(precision, copy=False))
    if whitening is not None:
        turn = whitening.astype(precision, copy=False)
        if precision is np.float32:
            turn, turned = torch.from_numpy(turn), torch.from_numpy(turned)
        turned = turn @ turned @ turn.T  # in double precision by numpy, which takes half of torch's time
    values, vectors = torch.linalg.eigh(torch.as_tensor(turned))
    return torch.log(values.clamp_min(1e-12)), vectors


def mean_log(covariances: np.ndarray, whitening: np.ndarray | None = None, precision: type = float) -> np.ndarray:
    """Mean of the matrix logarithms, ``mean_s log(W C_s W^T)``, [S, N, N] or [S, N (N + 1) / 2] -> [N, N]."""
    return _mean_and_some(covariances, whitening, precision, 1)[0]


def _mean_and_some(
    covariances: np.ndarray, whitening: np.ndarray | None, precision: type, n: int, turn: int = 0
) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """`mean_log`, and what `whitened_eigen` tells of about n people evenly spread, others at every turn, float32."""
    every = max(1, min(len(covariances) // n, CHUNK))
    some = slice(turn % every, None, every)

    def partial_sum(chunk: np.ndarray) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
        logs, vectors = whitened_eigen(chunk, whitening, precision)
        beside = vectors.permute(1, 0, 2).reshape(vectors.shape[1], -1)  # one product instead of one a person
        total = ((beside * logs.reshape(1, -1)) @ beside.T).numpy().astype(float)
        return total, logs[some].float().clone(), vectors[some].float().clone()

    sums, logs, vectors = 0, [], []
    for total, *own in in_threads(partial_sum, covariances):
        sums = sums + total
        logs.append(own[0])
        vectors.append(own[1])
    return sums / len(covariances), torch.cat(logs), torch.cat(vectors)


def geometric_mean(covariances: np.ndarray, tolerance: float = 1e-5, max_steps: int = 50) -> np.ndarray:
    """Affine-invariant (Frechet) mean of covariance matrices, [S, N, N] or edges with diagonal, -> [N, N].

    Edges that are no array are read in blocks.

    By Newton's method with the curvature of some of them; of many people, from the mean of a few of them: both come
    from these very covariances, so that nothing is learned from others, and the mean is unique wherever the search
    starts. It stops when the gradient's entries have a root mean square below `tolerance` (people differ from their
    mean by about 0.1 in this unit) and takes the step of that gradient; of many people already when the last step left
    so little of the gradient that the next one will.

    References
    ----------
    Fletcher and Joshi (2007), doi:10.1016/j.sigpro.2005.12.018; Varoquaux et al. (2010), MICCAI;
    Ferreira, Xavier, Costeira and Barroso (2008), Newton algorithms for Riemannian distance related problems on
    connected locally symmetric manifolds, technical report, Instituto Superior Tecnico (the Hessian).
    """
    root = spd_function(unfolded(_mean(covariances)[None])[0], np.sqrt)
    if len(covariances) > 2 * FEW:
        root = _settle(covariances[:: len(covariances) // FEW], root, NEAR, max_steps)
    root = _settle(covariances, root, tolerance, max_steps)
    return root @ root.T


def _mean(covariances: np.ndarray) -> np.ndarray:
    if isinstance(covariances, np.ndarray):
        return covariances.mean(0, dtype=float)
    return sum(covariances[part].sum(0, dtype=float) for part in blocks(covariances.shape)) / len(covariances)


def _unsettled(n: int, max_steps: int) -> ValueError:
    return ValueError(
        f"the geometric mean of {n} covariances did not settle in {max_steps} steps; are they positive definite? Set "
        "connectivity.estimator=ledoit_wolf."
    )


def _settle(covariances: np.ndarray, root: np.ndarray, tolerance: float, max_steps: int) -> np.ndarray:
    """Follow Newton's method from the mean ``R R^T`` until the gradient is small; the new R, [N, N].

    The first steps, far from the mean, are in single precision, which is exact enough there; all of them where people
    are so many and so well conditioned that its errors, which differ between people, average out.
    """
    whitening, size, blur, spread = np.linalg.inv(root), 0.0, np.inf, float(np.linalg.cond(root)) ** 2
    some, many = min(CURVED, max(len(covariances) // 2, CHUNK)), len(covariances) > 2 * FEW
    for count in range(max_steps):
        exact = blur < BLUR * tolerance
        rough = ROUNDED * spread < SINGLE and count < ROUGH and not 0 < size < SINGLE
        precision = np.float32 if exact or rough else float
        gradient, logs, vectors = _mean_and_some(covariances, whitening, precision, some, count)
        before, size = size, float(np.linalg.norm(gradient)) / len(gradient)
        condition = max(spread, float(torch.exp(logs[:, -1] - logs[:, 0]).mean()))
        blur = ROUNDED * condition / np.sqrt(len(covariances) * len(root))
        step = _newton_step(gradient, _curvature(logs, vectors))
        root, whitening = root @ exponential(step / 2), exponential(-step / 2) @ whitening
        small = size < tolerance or (many and SURE * size**2 < tolerance * before)
        if small and (blur < BLUR * tolerance or precision is float or tolerance > SINGLE):
            return root
    raise _unsettled(len(covariances), max_steps)


def _curvature(logs: torch.Tensor, vectors: torch.Tensor) -> Callable[[np.ndarray], np.ndarray]:
    """Hessian of half the mean squared distance, as a function of a symmetric direction V [N, N].

    ``H(V) = mean_s U_s (f_s o (U_s^T V U_s)) U_s^T`` with ``f_ij = x coth(x)``, ``x = (l_i - l_j) / 2``, of the
    eigenvectors U_s and logarithms of the eigenvalues l of whitened covariances.
    """
    apart = (logs[:, :, None] - logs[:, None, :]) / 2
    factor = torch.where(apart.abs() < 1e-3, torch.ones_like(apart), apart / torch.tanh(apart))

    def apply(direction: np.ndarray) -> np.ndarray:
        turned = vectors.mT @ torch.from_numpy(direction).float() @ vectors
        return (vectors @ (factor * turned) @ vectors.mT).mean(0).numpy().astype(float)

    return apply


def _newton_step(gradient: np.ndarray, curvature: Callable[[np.ndarray], np.ndarray], steps: int = 8) -> np.ndarray:
    """Solve ``H(V) = gradient`` to a percent by conjugate gradients, [N, N]."""
    solution, rest, direction = np.zeros_like(gradient), gradient, gradient
    left = first = float((rest**2).sum())
    for _ in range(steps):
        if left <= 1e-4 * first or left == 0:
            break
        curved = curvature(direction)
        length = left / float((direction * curved).sum())
        solution, rest = solution + length * direction, rest - length * curved
        before, left = left, float((rest**2).sum())
        direction = rest + left / before * direction
    return (solution + solution.T) / 2


def exponential(matrix: np.ndarray) -> np.ndarray:
    """Matrix exponential of one symmetric matrix, [N, N]."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.exp(values)) @ vectors.T


class TangentSpace:
    """Project covariances on the tangent space at the training mean.

    ``T_s = log(M^-1/2 C_s M^-1/2)``; the features are its upper triangle, row by row, with the off-diagonal
    entries times sqrt(2), so that Euclidean distances are distances in the tangent space.

    Attributes
    ----------
    whitening_ : array, [N, N]
        ``M^-1/2``, learned from the training subjects only; of more than 192 in single precision, in which people are
        then projected; a smaller cohort is projected in double precision.

    References
    ----------
    Varoquaux et al. (2010), MICCAI, doi:10.1007/978-3-642-15705-9_25.
    """

    reads_blocks = True

    def fit(self, edges: np.ndarray, n_nodes: int) -> "TangentSpace":
        """Learn the reference from covariances stored as edges with diagonal, [n, N(N+1)/2], maybe read in blocks."""
        precision = np.float32 if len(edges) > 2 * FEW else float
        self.whitening_ = spd_function(geometric_mean(edges), lambda v: 1 / np.sqrt(v)).astype(precision)
        return self

    def transform(self, edges: np.ndarray) -> np.ndarray:
        """Project covariances, [n, N(N+1)/2] -> features of the same shape, float32."""
        pairs = Pairs(len(self.whitening_), diagonal=True)
        clear = np.linalg.cond(self.whitening_.astype(float)) ** 2 < CLEAR
        precision = self.whitening_.dtype.type if clear else float
        whitening = self.whitening_.astype(precision)
        weight = np.where(pairs.rows == pairs.cols, 1.0, np.sqrt(2.0)).astype(np.float32)

        def project(chunk: np.ndarray) -> np.ndarray:
            return pairs.edges(logarithms(whitening @ pairs.matrix(chunk.astype(precision)) @ whitening)) * weight

        features, start = np.empty(edges.shape, np.float32), 0
        for chunk in in_threads(project, edges):
            features[start : start + len(chunk)] = chunk
            start += len(chunk)
        return features

    def state(self) -> dict[str, np.ndarray]:
        """What was learned, as arrays."""
        return {"whitening": self.whitening_}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> "TangentSpace":
        """Restore from `state`."""
        self.whitening_ = arrays["whitening"]
        return self
