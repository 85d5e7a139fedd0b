"""The largest learning rate for which the invariant manifold is proved to exist."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _validate
from ..methods.momentum import MomentumMethod
from ..problems.problem import Bounds
from .appendix_c import check_bounds, manifold_constants
from .conditions import Conditions

_DEPTH = 200.0  # the bracket reaches down to e^-200 of its top: B₀B₂/B₁² up to 10⁸⁰
_HALVINGS = 60  # of log h: to rounding


class LargestLearningRate(NamedTuple):
    r"""**Fields:** `learning_rate` $\tau$; `conditions` at $\tau$, of which the `binding` one has margin 0.

    >>> import momentumflow as mf
    >>> mf.largest_learning_rate(mf.Bounds(1.0, 1.0, 1.0), 0.5, 0.5).conditions.binding
    'Lemma 10'
    """

    learning_rate: Float[Array, "..."]
    conditions: Conditions


def largest_learning_rate(
    bounds: Bounds | tuple[ArrayLike, ...], momentum: ArrayLike, lookahead: ArrayLike | str = 0.0
) -> LargestLearningRate:
    r"""$\tau$ of Theorem 5: Assumption 11 holds for $h < \tau$ and for no larger h.

    Its margins fall as h grows (`Conditions`), so bisection finds it, to rounding. It is $X/B_1$ with an X that
    depends on $\lambda$, $a$ and $B_0B_2/B_1^2 = \beta$ only:

    $$X = \Big(\frac{1-\lambda}{1+\sqrt{\lambda+a(1-\lambda)}}\Big)^2 \ (\beta = 0), \qquad
      X \sim \frac{2(1-\lambda)^2}{5+\sqrt{9+16\beta}} \ (\lambda \to 1), \qquad X = 1 \ (\lambda = a = 0).$$

    The first is $x_-$, beyond which no graph exists, with -a for a: for heavy ball on an affine f the theory is
    sharp. The last is where $u \mapsto u + hf(u)$ stops being invertible.

    **Arguments:** `bounds` $B_0, B_2 \ge 0$, $B_1 > 0$, finite; `momentum` $\lambda \in [0, 1)$; `lookahead`
    $a \ge 0$, or `"momentum"` for Nesterov's. They broadcast.

    **Returns:** `LargestLearningRate`: $\tau$ and the conditions there.

    **Raises:** `ValueError` for values outside these ranges.

    Kovachki & Stuart (2021), proof of Theorem 5.

    !!! example

        >>> import momentumflow as mf
        >>> round(float(mf.largest_learning_rate(mf.Bounds(1.0, 1.0, 1.0), momentum=0.9).learning_rate), 8)
        0.0020945
    """
    bounds = check_bounds(bounds)
    _validate.positive("B1", bounds.B1, "it is a bound on the curvature; without curvature any h will do")
    _validate.momentum_factor("momentum", momentum)
    if isinstance(lookahead, str) and lookahead != "momentum":
        raise _validate.unknown("lookahead", lookahead, ("momentum",))
    lookahead = momentum if isinstance(lookahead, str) else lookahead
    _validate.non_negative("lookahead", lookahead, "0 is heavy ball, the momentum is Nesterov")
    return _bisect(*jnp.broadcast_arrays(*map(_floating, (momentum, lookahead, *bounds))))


def _floating(x: ArrayLike) -> Float[Array, "..."]:
    return jnp.asarray(x, float)


@jax.jit
def _bisect(
    lam: Float[Array, "..."],
    a: Float[Array, "..."],
    B0: Float[Array, "..."],
    B1: Float[Array, "..."],
    B2: Float[Array, "..."],
) -> LargestLearningRate:
    """log τ between log h with α₁ >= 0, where Lemma 10 fails, and e^-200 of that."""
    bar = 1 / (1 - lam)
    top = jnp.log((1 - lam) / (B1 * (bar + a + lam * bar)))

    def halve(_: Int[Array, ""], carry: tuple) -> tuple:
        low, high, below = carry
        middle = (low + high) / 2
        method = MomentumMethod(jnp.exp(middle), lam, a)
        found = manifold_constants(Bounds(B0, B1, B2), method).conditions
        holds = found.holds
        below = Conditions(*(jnp.where(holds, x, y) for x, y in zip(found, below, strict=True)))
        return jnp.where(holds, middle, low), jnp.where(holds, high, middle), below

    start = (top - _DEPTH, top, Conditions(*[top] * 5))
    low, _, below = jax.lax.fori_loop(0, _HALVINGS, halve, start)
    return LargestLearningRate(jnp.exp(low), below)
