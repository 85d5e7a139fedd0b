"""Kvaerno5 with output between its steps as accurate as the steps: quintic Hermite on (x, ẋ, ẍ).

Diffrax gives Kvaerno5 a cubic Hermite interpolant, 10²-10³ times worse than the tolerance.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


class QuinticHermite(diffrax.AbstractLocalInterpolation):
    """The quintic that has x, dt·ẋ and dt²·ẍ of both ends; error O(dt⁶)."""

    t0: Float[Array, ""]
    t1: Float[Array, ""]
    ends: tuple[PyTree, ...]

    def __init__(self, *, t0: Any, t1: Any, ends: tuple[PyTree, ...]) -> None:
        self.t0, self.t1, self.ends = t0, t1, ends

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> PyTree:
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        dt = self.t1 - self.t0
        s = jnp.where(dt > 0, (t0 - self.t0) / jnp.where(dt > 0, dt, 1), 0)
        weights = _weights(s)
        return jax.tree.map(
            lambda *ends: sum(jnp.asarray(w, x.dtype) * x for w, x in zip(weights, ends, strict=True)),
            *self.ends,
        )


def _weights(s: Float[Array, ""]) -> tuple[Float[Array, ""], ...]:
    """Of x₀, ẋ₀dt, ẍ₀dt², x₁, ẋ₁dt, ẍ₁dt² at the fraction s of the step."""
    r, cube = 1 - s, s**3
    x1 = cube * (10 - 15 * s + 6 * s**2)
    v1 = cube * (-4 + 7 * s - 3 * s**2)
    a1 = cube * r**2 / 2
    v0 = s * r**3 * (1 + 3 * s)
    a0 = s**2 * r**3 / 2
    return 1 - x1, v0, a0, x1, v1, a1


class StiffSolver(diffrax.Kvaerno5):
    """Kvaerno5 (ESDIRK, L-stable, order 5) with the quintic interpolant, for small dimension."""

    interpolation_cls: ClassVar[Callable[..., QuinticHermite]] = QuinticHermite  # type: ignore[assignment]

    def step(self, terms: Any, t0: Any, t1: Any, y0: PyTree, args: Any, *rest: Any) -> Any:
        y1, error, _, state, result = super().step(terms, t0, t1, y0, args, *rest)
        dt = t1 - t0
        ends = (*_derivatives(terms, t0, y0, args, dt), *_derivatives(terms, t1, y1, args, dt))
        return y1, error, {"ends": ends}, state, result


def _derivatives(terms: Any, t: Any, y: PyTree, args: Any, dt: Any) -> tuple[PyTree, PyTree, PyTree]:
    """x, dt·ẋ, dt²·ẍ: one evaluation and one forward derivative of the field."""
    first = terms.vf(t, y, args)
    _, second = jax.jvp(lambda t, y: terms.vf(t, y, args), (t, y), (jnp.ones_like(t), first))

    def scaled(power: int, tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: jnp.asarray(dt**power, x.dtype) * x, tree)

    return y, scaled(1, first), scaled(2, second)
