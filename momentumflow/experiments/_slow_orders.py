"""Slow flows of orders 1 to 6 by one compiled program: their coefficients are arguments."""

from collections.abc import Callable
from functools import cache

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import momentumflow as mf

from .._types import Loss, Params, VectorField, descent_field
from ..expansion.differentials import combine
from ..expansion.trees import order, up_to
from ..flows.model import Claim, ModelField, ModelState
from ..methods.manifold import Start
from ..problems.log_cosh import log_cosh

ORDERS = tuple(range(1, 7))
NAMES = ("u1", "u2")
_TREES = up_to(ORDERS[-1])
_WEIGHTS = ((0.8, 0.3), (-0.6, 1.9))
CURVATURE = float(np.linalg.norm(_WEIGHTS, 2) ** 2)
"""k, the largest eigenvalue of the Hessian, met at the minimum 0: that of Σ wᵢwᵢᵀ."""


def loss(u: Params) -> Float[Array, ""]:
    """Φ = log cosh(w₁·u) + log cosh(w₂·u), with w₁ and w₂ neither orthogonal nor of one length."""
    (p, q), (r, s) = _WEIGHTS
    return log_cosh(p * u["u1"] + q * u["u2"]) + log_cosh(r * u["u1"] + s * u["u2"])


class CutSeries(mf.AbstractFlow):
    """`SlowFlow` with the coefficients of all trees for arguments, zero above order p.

    From the manifold to order 6, where the lag of its start vanishes to every order drawn.
    """

    method: mf.MomentumMethod
    coefficients: Float[Array, " trees"]

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (Claim(1, "manifold"),)

    def field(self, loss: Loss | VectorField) -> ModelField:
        return lambda t, state: (_series(loss, state[0], self.coefficients),)

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        return (params,)


def flow(size: int) -> Callable[[mf.MomentumMethod], CutSeries]:
    """The slow flow of order `size`, as a function of a method."""
    return lambda method: CutSeries(method, _coefficients(method, size, mf.modified_equation))


def on_manifold(method: mf.MomentumMethod, loss: Loss, params: Params) -> Params:
    """The start v₀ = w₆(u₀), by the program of the flows."""
    return _series(loss, params, _coefficients(method, ORDERS[-1], mf.manifold_expansion))


@eqx.filter_jit
def _series(loss: Loss | VectorField, params: Params, coefficients: Float[Array, " trees"]) -> Params:
    """Σ c_τF(τ)(u), traced once: by the start, and by every stage of the solver."""
    return combine(descent_field(loss), params, dict(zip(_TREES, coefficients, strict=True)))


def _coefficients(
    method: mf.MomentumMethod, size: int, which: Callable[..., mf.Expansion]
) -> Float[Array, " trees"]:
    """Powers of h included; those above the order `size` are zero."""
    h, lam, a = (float(x) for x in (method.learning_rate, method.momentum, method.lookahead))
    known = _expansion(which, lam, a)
    return jnp.array([known[t] * h ** (order(t) - 1) if order(t) <= size else 0.0 for t in _TREES])


@cache
def _expansion(which: Callable[..., mf.Expansion], lam: float, a: float) -> mf.Expansion:
    return which(ORDERS[-1], lam, a)
