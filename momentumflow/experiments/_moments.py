"""Exact mean and second moments of momentum, and of its stochastic modified equations, on mini-batch least squares.

E_i(u) = ½uᵀH_iu - b_iᵀu: a step is an affine map of z = (u, V), drawn at random, and the equation an affine one with
noise that is affine too, so that P = E[(z, 1)(z, 1)ᵀ] obeys a linear recursion and a linear differential equation.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

import momentumflow as mf

DIMENSION = 2
_SIZE = 2 * DIMENSION + 1
Moments = Float[np.ndarray, "n s s"]


class Batches(NamedTuple):
    """H_i and b_i of every batch."""

    hessians: Float[np.ndarray, "m 2 2"]
    pulls: Float[np.ndarray, "m 2"]


def loss(u: Float[Array, "2"], datum: Batches) -> Float[Array, ""]:
    """E_i."""
    return u @ datum.hessians @ u / 2 - datum.pulls @ u


def batches(seed: int, count: int, alike: bool) -> Batches:
    """Random positive definite H_i, all equal to their mean where `alike`: the noise is then additive."""
    rng = np.random.default_rng(seed)
    factors = np.eye(2) + 0.5 * rng.normal(size=(count, 2, 2))
    hessians = factors @ factors.transpose(0, 2, 1)
    if alike:
        hessians = np.broadcast_to(hessians.mean(0), hessians.shape)
    return Batches(hessians, rng.normal(size=(count, 2)))


def start(u: tuple[float, float]) -> Float[np.ndarray, "s s"]:
    """P of a start at rest."""
    z = np.array([*u, *np.zeros(DIMENSION), 1.0])
    return np.outer(z, z)


def of_method(method: mf.MomentumMethod, data: Batches, begin: np.ndarray, steps: int) -> Moments:
    """P_0 … P_N by the method's own step, in V = √h v."""
    h, lam, a = (float(x) for x in (method.learning_rate, method.momentum, method.lookahead))
    scale, one, no = np.sqrt(h), np.eye(DIMENSION), np.zeros((DIMENSION, 1))
    operator = np.zeros((_SIZE**2, _SIZE**2))
    for hessian, pull in zip(*data, strict=True):
        velocity = np.hstack([-scale * hessian, lam * one - a * h * hessian, scale * pull[:, None]])
        place = np.hstack([one, 0 * one, no]) + scale * velocity
        step = np.vstack([place, velocity, np.eye(_SIZE)[-1]])
        operator += np.kron(step, step) / len(data.pulls)
    return _powers(operator, begin, steps)


def of_equation(equation: mf.StochasticModifiedEquation, begin: np.ndarray, steps: int) -> Moments:
    """P at the times of the iterates, by the exponential of its differential equation."""
    drift, noises = _affine(equation)
    one = np.eye(_SIZE)
    generator = np.kron(drift, one) + np.kron(one, drift) + sum(np.kron(noise, noise) for noise in noises)
    return _powers(scipy.linalg.expm(float(equation.scale) * generator), begin, steps)


def _affine(equation: mf.StochasticModifiedEquation) -> tuple[np.ndarray, list[np.ndarray]]:
    """The matrices of the drift and of every row of the noise on (z, 1), read off the equation's own fields."""
    values, slopes = _linearised(equation)
    blocks = np.concatenate([slopes, values[..., None]], -1)
    drift, *noises = np.concatenate([blocks, np.zeros((len(blocks), 1, _SIZE))], 1)
    return drift, noises


@eqx.filter_jit
def _linearised(equation: mf.StochasticModifiedEquation) -> tuple[Array, Array]:
    """The drift and the rows of the noise at 0, and their slopes."""

    def fields(z: Float[Array, "4"]) -> Float[Array, "rows 4"]:
        point = (z[:DIMENSION], z[DIMENSION:])
        rows = jnp.concatenate(equation.noise(loss, point), 1)
        return jnp.vstack([jnp.concatenate(equation.drift(loss, point)), rows])

    zero = jnp.zeros(2 * DIMENSION)
    return fields(zero), jax.jacfwd(fields)(zero)


def _powers(operator: np.ndarray, begin: np.ndarray, steps: int) -> Moments:
    found = [begin.ravel()]
    for _ in range(steps):
        found.append(operator @ found[-1])
    return np.array(found).reshape(-1, _SIZE, _SIZE)


def mean(moments: Moments) -> Float[np.ndarray, "n 4"]:
    return moments[:, :-1, -1]


def covariance(moments: Moments) -> Float[np.ndarray, "n 4 4"]:
    m = mean(moments)
    return moments[:, :-1, :-1] - m[:, :, None] * m[:, None, :]


def second(moments: Moments) -> Float[np.ndarray, "n 4 4"]:
    return moments[:, :-1, :-1]
