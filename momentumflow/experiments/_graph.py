"""The exact invariant graph of a one-dimensional method, by running into it from far back; how e_n falls to it."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

import momentumflow as mf

from . import _quadratic as quadratic

_constants_of = eqx.filter_jit(mf.manifold_constants)
_SMALLEST = 1e-10  # of λⁿ up to which e_n is followed: beyond it e_n is rounding
_HALVINGS = 60  # of an interval of length 1: to the last digit


@eqx.filter_jit
def velocity(
    method: mf.MomentumMethod, loss: mf.AbstractProblem, params: Float[Array, " n"], far: float, steps: int
) -> Float[Array, " n"]:
    """v = w(u) on the exact graph, at each of `params` between 0 and `far`, a fixed point of the slow flow.

    A run started on the leading-order graph (33) stands on the exact one, to rounding, after `steps` with
    λ^steps below it. Where it must start to end at u is found by bisection: the slow flow keeps the order of
    points of a line.
    """

    def end(start: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        run = mf.iterate(method, loss, start[None], steps, start="manifold", save_every=None)
        assert run.velocity is not None
        return run.params[0, 0], run.velocity[0, 0]

    def on_graph(u: Float[Array, ""]) -> Float[Array, ""]:
        def halve(_: Int[Array, ""], interval: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = interval
            middle = (low + high) / 2
            short = end(middle)[0] < u
            return jnp.where(short, middle, low), jnp.where(short, high, middle)

        low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (u, jnp.asarray(far)))
        return end((low + high) / 2)[1]

    return jax.vmap(on_graph)(params)


def distances(name: str, momentum: float, learning_rate: float, start: float) -> tuple[np.ndarray, float]:
    """On Φ = 1 - cos u: e_n from rest at `start`, and by how much a step from the graph there misses the graph."""
    method, problem = quadratic.method(name, learning_rate, momentum), mf.Cosine()
    u0, steps = jnp.full(1, start), int(math.log(_SMALLEST) / math.log(momentum))
    run = mf.iterate(method, problem, u0, steps)
    exact = velocity(method, problem, run.params[:, 0], math.pi, 2 * steps)
    step = mf.iterate(method, problem, u0, 1, start=exact[:1])
    landed = velocity(method, problem, step.params[:, 0], math.pi, 2 * steps)
    assert run.velocity is not None
    assert step.velocity is not None
    distance = np.abs(np.asarray(run.velocity[:, 0] - exact))
    return distance, float(jnp.abs(step.velocity[1, 0] - landed[1]))


def rates(name: str, momentum: float, learning_rate: float) -> dict[str, float]:
    """On Φ = 1 - cos u: λ, what Assumption 11 wants below 1, both rates of Theorem 5, the fast root at k = 1."""
    found = _constants_of(mf.Cosine().bounds(math.inf), quadratic.method(name, learning_rate, momentum))
    return {
        "case_momentum": momentum,
        "assumption_11": float(jnp.stack([found.Q3, found.mu, found.printed_rate]).max()),
        "printed_rate": float(found.printed_rate),
        "rate": float(found.rate),
        "fast_root": roots(name, momentum, learning_rate)[0],
    }


def roots(name: str, momentum: float, x: float) -> tuple[float, float]:
    """Moduli of the roots of ρ² - (1+λ-x(1+a))ρ + λ - xa = 0, x = hk, the smaller first."""
    a = momentum if name == "NAG" else 0.0
    found = np.abs(np.roots([1.0, -(1 + momentum - x * (1 + a)), momentum - x * a]))
    return float(found.min()), float(found.max())
