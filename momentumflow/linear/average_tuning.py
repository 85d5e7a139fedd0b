"""The learning rate and the momentum that are best on average over a spectrum, for a given number of steps."""

import numpy as np
from jaxtyping import ArrayLike
from scipy.optimize import differential_evolution
from scipy.special import expit

from .. import _validate
from .tuning import Tuning, optimal_tuning

_POPULATION = 32


def average_tuning(
    eigenvalues: ArrayLike, steps: int, weights: ArrayLike | None = None, kind: str = "HB"
) -> Tuning:
    r"""The stable h and $\lambda$ with the smallest mean-square distance from the minimum after N steps from rest.

    $$\text{rate} = \Big(\sum_i w_i\,p_N(k_i)^2\Big)^{1/2N}, \qquad
      p_{n+1} = (1+\lambda-hk(1+a))\,p_n - (\lambda-hka)\,p_{n-1}, \quad p_0 = p_{-1} = 1.$$

    Unlike the worst rate of `momentumflow.optimal_tuning`, to which it tends as $N \to \infty$, this one sees the
    whole spectrum: where few eigenvalues lie near the smallest, it leaves those for later.

    **Arguments:**

    - `eigenvalues`: $k_i > 0$, shape `(m,)`: of the Hessian, or the nodes of a spectral density.
    - `steps`: N ≥ 1.
    - `weights`: $w_i \ge 0$, shape `(m,)`: the density times the expected square of the component of
      $u_0 - u_\star$; equal by default. Their sum does not matter.
    - `kind`: "GD", "HB" or "NAG".

    **Returns:** a `Tuning`, by differential evolution: where N is many times the slowest direction's time constant
    there are many local minima, whose rates differ by some $10^{-4}$.

    **Raises:** `ValueError` for values outside these ranges.

    After Pedregosa & Scieur (2020), "Acceleration through spectral density estimation"; there the method varies with
    n, here h and $\lambda$ are fixed.

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> k, few_flat = jnp.array([0.01, 0.5, 1.0]), jnp.array([1e-6, 0.5, 0.5])
        >>> average, worst = mf.average_tuning(k, 20, few_flat), mf.optimal_tuning(0.01, 1.0)
        >>> bool(average.rate < worst.rate), bool(average.momentum < worst.momentum)
        (True, True)
    """
    k, w = _spectrum(eigenvalues, weights)
    steps = _validate.count("steps", steps)
    if k.min() == k.max():
        return Tuning(1 / float(k[0]), 0.0, 0.0, 0.0)
    worst = optimal_tuning(k.min(), k.max(), kind)
    scale = float(np.asarray(worst.rate))

    def log_rate(points: np.ndarray) -> np.ndarray:
        x, lam, a = (value[..., None] for value in _constants(kind, points))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            mean_square = _final(x * k / k.max(), lam, a, steps, scale) ** 2 @ w
            return np.log(np.nan_to_num(mean_square, nan=np.inf)) / (2 * steps) + np.log(scale)

    far = np.log(k.max() / k.min()) + 3  # the worst case's constants lie well inside
    # a polynomial of degree N has many local minima
    best = differential_evolution(
        log_rate,
        [(-4, far), (0, far / 2)],
        vectorized=True,
        updating="deferred",
        strategy="rand1bin",
        popsize=_POPULATION,
        init="sobol",
        tol=1e-10,
        seed=0,
    )
    x, lam, a = (float(value) for value in _constants(kind, best.x))
    return Tuning(x / float(k.max()), lam, a, float(np.exp(best.fun)))


def _constants(kind: str, point: np.ndarray) -> tuple[np.ndarray, ...]:
    """(hL, λ, a) from the logit of h over its stability limit and from -log(1-λ), in which good ones are spread."""
    lam = np.zeros_like(point[0]) if kind == "GD" else -np.expm1(-point[1])
    a = lam if kind == "NAG" else 0 * lam
    return tuple(np.asarray(value) for value in (expit(point[0]) * 2 * (1 + lam) / (1 + 2 * a), lam, a))


def _final(x: np.ndarray, lam: np.ndarray, a: np.ndarray, steps: int, scale: float) -> np.ndarray:
    """p_N over scale^N, which underflows by itself, by the power of the companion matrix."""
    companion = np.empty((*np.broadcast_shapes(x.shape, lam.shape), 2, 2))
    companion[..., 0, 0], companion[..., 0, 1] = 1 + lam - x * (1 + a), x * a - lam
    companion[..., 1, 0], companion[..., 1, 1] = 1, 0
    return np.linalg.matrix_power(companion / scale, steps)[..., 0, :].sum(-1)


def _spectrum(eigenvalues: ArrayLike, weights: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and weights of sum 1, those of weight 0 left out."""
    k = np.asarray(eigenvalues, float)
    w = np.ones_like(k) if weights is None else np.asarray(weights, float)
    if k.ndim != 1 or k.size == 0 or w.shape != k.shape:
        raise ValueError(
            f"eigenvalues and weights must be vectors of one length >= 1, got shapes {k.shape} and {w.shape}"
        )
    _validate.positive("eigenvalues", k, "leave out those of flat directions (0) and of repelling ones (< 0)")
    _validate.non_negative("weights", w, "they are a density")
    if not w.any():
        raise ValueError("weights must have a positive sum, got zeros only: there is nothing to average")
    return k[w > 0], w[w > 0] / w.sum()
