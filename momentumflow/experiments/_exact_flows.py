"""Flows of ½ku² as exponentials of the library's field, beside the iterates: no solver between them."""

from collections.abc import Sequence
from itertools import accumulate

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from scipy.linalg import expm
from scipy.optimize import bisect

import momentumflow as mf

H = 0.1
BRACKETS = {"x₋": (1e-4, 0.1), "x₊": (0.1, 3.799), "stability": (0.1, 4.5)}
"""Where each limit is looked for, at λ = 0.9."""


@eqx.filter_jit
@eqx.filter_vmap(in_axes=(0, None, 0, None))
def field_matrix(x: Float[Array, ""], momentum: ArrayLike, lookahead: ArrayLike, phase: bool) -> Array:
    """The matrix of the principal flow's field at hk = x, in time units of one step; ½ log M² beyond x₊."""
    method = mf.momentum_method(H, momentum, lookahead)
    field = mf.PrincipalFlow(method, phase, every_second=True).field(mf.Quadratic(x[None] / H))
    basis = jnp.eye(2 if phase else 1)[..., None]
    return H * jax.vmap(lambda z: jnp.concatenate(field(jnp.zeros(()), tuple(z))))(basis).T


@eqx.filter_jit
@eqx.filter_vmap(in_axes=(0, None, 0, None))
def iterates(x: Float[Array, ""], momentum: ArrayLike, lookahead: ArrayLike, steps: int) -> Array:
    """u_n from u₀ = 1 at rest."""
    method = mf.momentum_method(H, momentum, lookahead)
    return mf.iterate(method, mf.Quadratic(x[None] / H), jnp.ones(1), steps).params[:, 0]


def powers(matrices: Float[np.ndarray, "*cells m m"], count: int) -> Float[np.ndarray, "*cells n"]:
    """The first entry of e^{nA}(1, 0), n ≤ count."""
    step, start = expm(matrices), np.zeros((*matrices.shape[:-1], 1))
    start[..., 0, 0] = 1
    states = accumulate(range(count), lambda state, _: step @ state, initial=start)
    return np.stack([state[..., 0, 0] for state in states], axis=-1)


def gaps(flow: Float[np.ndarray, "*cells n"], iterates: Float[np.ndarray, "*cells n"]) -> np.ndarray:
    """|u(nh) - u_n| over the largest of 1 and |u_0| … |u_n|."""
    return np.abs(flow - iterates) / np.maximum.accumulate(np.maximum(np.abs(iterates), 1), axis=-1)


def step(x: float, momentum: float, lookahead: float) -> Float[np.ndarray, "2 2"]:
    """M(x) on (u, hv), by hand from (15)."""
    tail = momentum - x * lookahead
    return np.array([[1 - x, tail], [-x, tail]])


def scanned(limit: str, momentum: float, lookahead: float) -> float:
    """Where numpy's eigenvalues of M(x) are no longer real, have no real logarithm, leave the unit circle."""

    def beyond(x: float) -> float:
        rho = np.linalg.eigvals(step(x, momentum, lookahead))
        real = bool(np.all(np.isreal(rho)))
        ends = {"x₋": not real, "x₊": real and rho.real.min() <= 0, "stability": np.abs(rho).max() > 1}
        return float(ends[limit]) - 0.5

    return float(bisect(beyond, *BRACKETS[limit], xtol=1e-13))


def refuses(method: mf.MomentumMethod, x: float) -> bool:
    """Whether `solve` refuses the principal flow at hk = x before work starts, though not with every_second."""
    loss: mf.Quadratic = mf.Quadratic([x / H])
    mf.PrincipalFlow(method, every_second=True).check(loss, jnp.ones(1))
    try:
        mf.solve(mf.PrincipalFlow(method), loss, jnp.ones(1), np.array([0.0, 1.0]))
    except ValueError as error:
        return f"hk = {x:.6g}" in str(error)
    return False


def without_momentum(x: Sequence[float], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """λ = 0: the factor of f in the field, and the flow's gap to gradient descent, at even n beyond x = 1."""
    values = np.asarray(x)
    zero = np.zeros_like(values)
    matrices = np.asarray(field_matrix(values, 0.0, zero, False))
    found = gaps(powers(matrices, steps), np.asarray(iterates(values, 0.0, zero, steps)))
    return -matrices[:, 0, 0] / values, np.where(values < 1, found.max(-1), found[:, ::2].max(-1))
