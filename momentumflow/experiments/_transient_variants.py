r"""Models beside those of the library that `beyond-transient` compares with them.

Second-order ODEs between (11) and the inertial flow, with the Hessian $H = \nabla^2\Phi$,

$$h(mI - hsH)\ddot u + \big[(1-\lambda)I + hrH\big]\dot u = -(I + h\gamma H)\nabla\Phi,$$

and the phase-space series cut in $y = v - \bar\lambda f(u)$ instead of v.
"""

from collections.abc import Callable
from math import log

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

import momentumflow as mf

from .. import _tree
from .._types import Loss, Params, VectorField, descent_field
from ..expansion.differentials import combinations
from ..expansion.phase import Y, phase_expansion
from ..expansion.trees import order, up_to
from ..flows.model import Claim, ModelField, ModelState
from ..methods.manifold import Start, start_state


class HessianDamped(mf.AbstractFlow):
    """The equation above, from rest. u̇(0) puts the slow part right: λ̄(1-λ/m)f, or to one order more, that of the
    inertial flow, where `second` is set."""

    method: mf.MomentumMethod
    mass: Float[Array, ""]
    relative_mass: Float[Array, ""]
    damping: Float[Array, ""]
    force: Float[Array, ""]
    second: bool = eqx.field(static=True, default=False)

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (Claim(1, "rest"),)

    def field(self, loss: Loss | VectorField) -> ModelField:
        h, friction = self.method.learning_rate, 1 - self.method.momentum

        def field(t: ArrayLike, state: ModelState) -> ModelState:
            u, v = state
            H, identity = jax.hessian(loss)(u), jnp.eye(len(u))
            pull = -(identity + h * self.force * H) @ jax.grad(loss)(u)
            pull -= (friction * identity + h * self.damping * H) @ v
            mass = h * (self.mass * identity - h * self.relative_mass * H)
            return v, jnp.linalg.solve(mass, pull)

        return field

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        if self.second:
            return mf.InertialFlow(self.method).initial_state(loss, params, start)
        slow = self.method.amplification * (1 - self.method.momentum / self.mass)
        return params, -slow * jax.grad(loss)(params)


class SeriesInY(mf.AbstractFlow):
    """The series of the phase-space flow, cut after h^(p-1) in u' and h^(p-2) in y', y = v - λ̄f(u)."""

    method: mf.MomentumMethod
    coefficients: Float[Array, "2 trees"]
    size: int = eqx.field(static=True)

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (Claim(self.size, "rest"),)

    def field(self, loss: Loss | VectorField) -> ModelField:
        force, h = descent_field(loss), self.method.learning_rate
        rows = [
            {
                tree: c * h ** (order(tree) - power)
                for tree, c in zip(up_to(self.size, (Y,)), row, strict=True)
            }
            for row, power in zip(self.coefficients, (1, 2), strict=True)
        ]

        def field(t: ArrayLike, state: ModelState) -> ModelState:
            u, v = state
            f, slope = jax.linearize(force, u)
            y = _tree.linear((1, -self.method.amplification), (v, f))
            du, dy = combinations(force, u, rows, {Y: y})
            return du, _tree.linear((1, self.method.amplification), (dy, slope(du)))

        return field

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        return start_state(self.method, loss, params, start)


Variant = Callable[[mf.MomentumMethod], mf.AbstractFlow]


def hessian_damped(momentum: float, lookahead: float) -> dict[str, Variant]:
    """The second-order ODEs by name, with the constants of one λ and a.

    HDa has the mass that (11) has for heavy ball, HDb that of the transient; HDP is a Padé form of the inertial flow.
    """
    D, ratio, bar = 1 - momentum, lookahead / momentum, 1 / (1 - momentum)
    heavy, mass = (1 + momentum) / 2, -D / log(momentum)
    beta = bar * (bar - lookahead - 0.5) - bar * mass * (bar - ratio)
    constants = {
        "HDa": (heavy, 0.0, lookahead, 0.0, False),
        "HDb": (mass, 0.0, lookahead, 0.0, False),
        "HDa, relative mass": (heavy, lookahead / 2, lookahead, 0.0, False),
        "HDP": (mass, mass * ratio / 2, ratio * (mass - D / 2), beta - ratio / 2, True),
        "inertial 2, leading u̇(0)": (mass, 0.0, mass * ratio, beta, False),
    }
    return {
        name: lambda method, row=row, second=second: HessianDamped(method, *map(jnp.asarray, row), second)
        for name, (*row, second) in constants.items()
    }


def series_in_y(momentum: float, lookahead: float, size: int) -> Variant:
    """The series of order `size`."""
    rows = phase_expansion(size, momentum, lookahead, coordinate="y")
    coefficients = jnp.array([list(row.values()) for row in rows])
    return lambda method: SeriesInY(method, coefficients, size)
