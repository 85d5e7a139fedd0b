"""How runs fall onto the exact graph: e_n of many methods and losses at once."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

import momentumflow as mf

from .._types import descent_field
from . import _exact_graph as exact

_CHUNK = 1024  # points a call: one compiled program
_LEFT = 1e-14  # of the distance from the graph that the run which finds it starts with
constants_of = eqx.filter_jit(mf.manifold_constants)
ROUNDINGS = 1e3 * float(np.finfo(float).eps)


class Runs(NamedTuple):
    """Runs of method i from (uᵢ, vᵢ) on loss i, the constants of Appendix C beside them."""

    losses: mf.AbstractProblem
    methods: mf.MomentumMethod
    params: Float[Array, "runs d"]
    velocity: Float[Array, "runs d"]
    constants: mf.ManifoldConstants


class Distances(NamedTuple):
    """e_n at some n of each run, the scale of its v_n, and by how much a step from the graph misses the graph."""

    n: Int[np.ndarray, "runs points"]
    e: Float[np.ndarray, "runs points"]
    scale: Float[np.ndarray, " runs"]
    residual: float


def draw(
    losses: mf.AbstractProblem,
    bounds: mf.Bounds,
    largest_momentum: float,
    runs: int,
    rng: np.random.Generator,
) -> Runs:
    """Random λ, a (a third heavy ball, a third Nesterov), h below τ, and starts off the graph."""
    momentum = rng.uniform(0.02, largest_momentum, runs)
    lookahead = np.choose(rng.integers(0, 3, runs), [0 * momentum, momentum, rng.uniform(0, 1, runs)])
    bounds = mf.Bounds(*(jnp.broadcast_to(x, runs) for x in bounds))
    tau = np.asarray(mf.largest_learning_rate(bounds, momentum, lookahead).learning_rate)
    methods = ensemble(tau * rng.uniform(0.05, 1, runs), momentum, lookahead)
    params = jnp.asarray(rng.uniform(-3, 3, (runs, 2)))
    velocity = jnp.asarray(rng.uniform(-2, 2, (runs, 2))) * methods.amplification[:, None]
    return Runs(losses, methods, params, velocity, constants_of(bounds, methods))


def ensemble(learning_rate: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike) -> mf.MomentumMethod:
    """Methods side by side, each constant an array."""
    return mf.momentum_method(*(jnp.asarray(x, float) for x in (learning_rate, momentum, lookahead)))


def distances(runs: Runs, points: int) -> Distances:
    """e_n at `points` n of each run: the first half one by one, the others up to where the bound is rounding."""
    rate = np.asarray(runs.constants.rate)
    last = np.ceil(math.log(_LEFT / 10) / np.log(rate)).astype(int)
    dense = points // 2
    late = np.geomspace(dense, np.maximum(last, points), points - dense, axis=1)
    n = np.concatenate([np.broadcast_to(np.arange(dense), (len(rate), dense)), late.astype(int)], axis=1)
    u, v = (np.asarray(x) for x in _trajectories(*runs[:4], int(n.max())))
    rows = np.arange(len(rate))[:, None]
    u, v = u[rows, n], v[rows, n]
    off = v - on_graph(runs, u.reshape(-1, 2), np.repeat(rows[:, 0], points)).reshape(v.shape)
    return Distances(n, np.linalg.norm(off, axis=-1), np.abs(v).max(axis=(1, 2)), _residual(runs, u))


def on_graph(runs: Runs, u: np.ndarray, run: np.ndarray) -> np.ndarray:
    """w(u) at each point, of the method and loss of its run; points that need as many steps go together."""
    rate = np.asarray(runs.constants.rate)[run]
    steps = np.ceil(math.log(_LEFT) / np.log(rate)).astype(int)
    order = np.argsort(steps)
    padded = np.resize(order, -(-len(order) // _CHUNK) * _CHUNK).reshape(-1, _CHUNK)
    padded.flat[len(order) :] = order[0]  # the cheapest
    out = np.empty_like(u)
    for chunk in padded:
        losses, methods = _rows((runs.losses, runs.methods), run[chunk])
        out[chunk] = exact.velocity(losses, methods, jnp.asarray(u[chunk]), jnp.asarray(steps[chunk]))
    return out


def _residual(runs: Runs, u: np.ndarray) -> float:
    """(17): a step from (u, w(u)) lands at (u⁺, v⁺); the largest |v⁺ - w(u⁺)| over a chunk of the points."""
    each = max(1, _CHUNK // len(u))
    run = np.repeat(np.arange(len(u)), each)[:_CHUNK]
    u = u[:, np.linspace(0, u.shape[1] - 1, each).astype(int)].reshape(-1, 2)[:_CHUNK]
    start = (jnp.asarray(u), jnp.asarray(on_graph(runs, u, run)))
    losses, methods = _rows((runs.losses, runs.methods), run)
    landed, velocity = (np.asarray(x) for x in _step(losses, methods, start))
    return float(np.abs(velocity - on_graph(runs, landed, run)).max())


def _rows(tree: tuple, index: np.ndarray) -> tuple:
    return jax.tree.map(lambda x: x[index] if eqx.is_array(x) else x, tree)


@eqx.filter_jit
def _step(losses: mf.AbstractProblem, methods: mf.MomentumMethod, states: tuple) -> tuple:
    def step(loss: mf.AbstractProblem, method: mf.MomentumMethod, state: tuple) -> tuple:
        return method.step(descent_field(loss), state, 0)

    return eqx.filter_vmap(step)(losses, methods, states)


@eqx.filter_jit
def _trajectories(
    losses: mf.AbstractProblem,
    methods: mf.MomentumMethod,
    params: Float[Array, "runs d"],
    velocity: Float[Array, "runs d"],
    steps: int,
) -> tuple[Array, Array]:
    def iterate(
        loss: mf.AbstractProblem, method: mf.MomentumMethod, u: Float[Array, " d"], v: Float[Array, " d"]
    ) -> tuple:
        run = mf.iterate(method, loss, u, steps, start=v)
        return run.params, run.velocity

    return eqx.filter_vmap(iterate)(losses, methods, params, velocity)
