"""Runs of many methods at once, the slow flow through their starts, and the time shift between the two."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.interpolate import BSpline, make_interp_spline

import momentumflow as mf

from .._types import Loss, Params, VectorField, descent_field
from ..flows.model import Claim, ModelField, ModelState
from ..methods.manifold import Start

_DEGREE = 7  # of the spline of a flow: with 128 intervals its error is below that of the solver
_ITERATIONS = 8  # of Gauss and Newton
_LATE = (0.5, 0.875)  # of the final time: after the layer, and so that the shifted flow is known


class _Through(mf.AbstractFlow):
    """The slow flow of order 1 + weight through the params themselves, without the lag of a start; sign -1 backwards.

    One program serves the two orders, and both directions.
    """

    method: mf.MomentumMethod
    weight: Float[Array, ""]
    sign: Float[Array, ""]

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (Claim(1, "manifold"),)

    def field(self, loss: Loss | VectorField) -> ModelField:
        first, second = mf.RescaledGradientFlow(self.method).field(loss), mf.SlowFlow(self.method).field(loss)

        def field(t: Float[Array, ""], state: ModelState) -> ModelState:
            (x,), (y,) = first(t, state), second(t, state)
            return (self.sign * (x + self.weight * (y - x)),)

        return field

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        return (params,)


class Ensemble(NamedTuple):
    """Runs of method i from u₀ with velocity vᵢ, seen after `counts` iterations."""

    methods: mf.MomentumMethod
    velocity: Float[Array, "runs d"]
    counts: Int[np.ndarray, "runs n"]

    @property
    def times(self) -> Float[Array, "runs n"]:
        return jnp.asarray(self.counts) * jnp.asarray(self.methods.learning_rate)[:, None]


@eqx.filter_jit
def iterates(loss: Loss, params: Float[Array, " d"], ensemble: Ensemble) -> Float[Array, "runs n d"]:
    """u_n at n = counts, of as many iterations as each needs."""
    field = descent_field(loss)

    def one(method: mf.MomentumMethod, velocity: Array, counts: Array) -> Array:
        def advance(state: tuple, count: Array) -> tuple:
            state = jax.lax.fori_loop(0, count, lambda n, s: method.step(field, s, n), state)
            return state, state[0]

        return jax.lax.scan(advance, (params, velocity), jnp.diff(counts, prepend=0))[1]

    return eqx.filter_vmap(one)(ensemble.methods, ensemble.velocity, jnp.asarray(ensemble.counts))


@eqx.filter_jit
def flow(
    loss: Loss,
    ensemble: Ensemble,
    starts: Float[Array, "runs d"],
    order: Float[Array, ""],
    sign: Float[Array, ""],
) -> Float[Array, "runs n d"]:
    """The slow flow of each method through its start, at the times of the iterates; order 1 or 2."""

    def one(method: mf.MomentumMethod, start: Array, times: Array) -> Array:
        return mf.solve(_Through(method, order - 1, sign), loss, start, times).params

    return eqx.filter_vmap(one)(ensemble.methods, starts, ensemble.times)


def late_distance(run: Float[np.ndarray, "runs n d"], other: Float[np.ndarray, "runs n d"]) -> np.ndarray:
    """max |u_n - u(t_n)| of each run late."""
    return np.linalg.norm(run - other, axis=-1)[:, _late(run.shape[1])[1]].max(axis=1)


def _late(count: int) -> tuple[np.ndarray, np.ndarray]:
    s = np.linspace(0, 1, count)
    return s, (s >= _LATE[0]) & (s <= _LATE[1])


def shift(run: Float[np.ndarray, "n d"], through: Float[np.ndarray, "n d"]) -> tuple[float, float]:
    """The time shift, as a share of the time they span, by which `through` comes nearest to `run` late; how near."""
    s, late = _late(len(run))
    curve = make_interp_spline(s, through, _DEGREE)
    found = float(_nearest(curve, s[late], run[late], over=(0, 1))[0, 0])
    return found, float(np.linalg.norm(run[late] - curve(s[late] - found), axis=-1).max())


def shifts(run: Float[np.ndarray, "n d"], through: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """The same for each point of `run` alone."""
    s = np.linspace(0, 1, len(run))
    return _nearest(make_interp_spline(s, through, _DEGREE), s, run, over=(1,))[:, 0]


def _nearest(
    curve: BSpline, s: Float[np.ndarray, " n"], points: Float[np.ndarray, "n d"], over: tuple[int, ...]
) -> Float[np.ndarray, "shifts 1"]:
    """τ that minimises the sum of (curve(s - τ) - point)² over axes."""
    slope, found = curve.derivative(), np.zeros((1, 1))
    for _ in range(_ITERATIONS):
        at = s - found[:, 0]
        rate = slope(at)
        missing = ((curve(at) - points) * rate).sum(over, keepdims=True)
        found = found + missing / (rate**2).sum(over, keepdims=True)
    return found
