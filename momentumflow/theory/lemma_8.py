"""How large the derivatives of the momentum ODE (11) are: Kovachki & Stuart (2021), Lemma 8."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree, _validate
from .._types import Params
from ..flows.model import family_only
from ..methods.linear_memory import AbstractLinearMemory
from ..methods.momentum import MomentumMethod
from ..problems.problem import Bounds
from .appendix_c import check_bounds


class DerivativeBounds(NamedTuple):
    r"""The constants of Lemma 8, for one h:

    $$|\dot u| \le C^{(1)}, \qquad |\ddot u| \le \frac{C_1^{(2)}}h e^{-rt} + C_2^{(2)}, \qquad
      |\dddot u| \le \frac{C_1^{(3)}}{h^2} e^{-rt} + C_2^{(3)}, \qquad r = \frac{1-\lambda}{2h\alpha}.$$

    **Fields:** `first` $C^{(1)}$; `second` and `third`: the pairs $(C_1, C_2)$; `decay` r; `learning_rate` h.

    >>> import jax.numpy as jnp, momentumflow as mf
    >>> method, bounds = mf.heavy_ball(0.01, 0.5), mf.Bounds(1.0, 1.0, 1.0)
    >>> found = mf.derivative_bounds(bounds, method, force=jnp.ones(1), velocity=jnp.zeros(1))
    >>> [round(float(x), 3) for x in (found.first, *found.second, *found.third, found.decay)]
    [4.12, 1.333, 8.0, 0.889, 100.858, 33.333]
    """

    first: Float[Array, ""]
    second: tuple[Float[Array, ""], Float[Array, ""]]
    third: tuple[Float[Array, ""], Float[Array, ""]]
    decay: Float[Array, ""]
    learning_rate: ArrayLike

    def at(self, times: ArrayLike) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " n"]]:
        """The three bounds at times t >= 0."""
        layer, h = jnp.exp(-self.decay * jnp.asarray(times)), self.learning_rate
        first = self.first * jnp.ones_like(layer)
        (C1, C2), (D1, D2) = self.second, self.third
        return first, C1 / h * layer + C2, D1 / h**2 * layer + D2


def derivative_bounds(
    bounds: Bounds, method: AbstractLinearMemory, force: Params, velocity: Params
) -> DerivativeBounds:
    r"""Bounds on the derivatives of $h\alpha\ddot u + (1-\lambda)\dot u = f(u)$ for all $t \ge 0$.

    With $w = (1-\lambda)\dot u(0) - f(u_0)$, $\beta_1 = 2\bar\lambda^2\alpha B_0B_1$ and
    $C = \bar\lambda B_1^2C^{(1)} + B_2(C^{(1)})^2 \ge |G|$, $G = -\bar\lambda f'f'\dot u - f''[\dot u, \dot u]$:

    $$C^{(1)} = \bar\lambda(|w| + h\beta_1 + B_0), \quad C_1^{(2)} = \frac{|w|}\alpha, \quad
      C_2^{(2)} = \frac{\beta_1}\alpha, \quad
      C_1^{(3)} = \frac{(1-\lambda)|w|}{\alpha^2} + \frac{hB_1|\dot u(0)|}\alpha, \quad C_2^{(3)} = 2\bar\lambda C.$$

    As $h\beta_1 \le B_0$ and $hB_1 \le (1-\lambda)^2/(2\alpha)$, they stay bounded as h falls.

    **Arguments:** `bounds` $B_0, B_1, B_2 \ge 0$, finite; `method` of the family (7) with $\alpha > 0$ and
    $h \le (1-\lambda)^2/(2\alpha B_1)$; `force` $f(u_0)$ and `velocity` $\dot u(0)$, pytrees like the params.

    **Raises:** `ValueError` for values outside these ranges, `TypeError` for another method.

    Kovachki & Stuart (2021), Lemma 8; its proof prints a wrong third term of G.

    !!! example

        >>> import math, jax, jax.numpy as jnp, momentumflow as mf
        >>> loss, u0 = mf.Cosine(), jnp.ones(1)
        >>> force, rest = -jax.grad(loss)(u0), jnp.zeros(1)
        >>> found = mf.derivative_bounds(loss.bounds(math.inf), mf.heavy_ball(0.01, 0.5), force, rest)
        >>> round(float(found.first), 6)  # 2(sin 1 + 0.01 × 6 + 1)
        3.802942
    """
    family = family_only("Lemma 8")(method)
    _check(bounds, family)
    h, lam, alpha, bar = family.learning_rate, family.momentum, family.inertia, family.amplification
    w, speed = _tree.norm(_tree.linear((1 - lam, -1.0), (velocity, force))), _tree.norm(velocity)
    beta_1 = 2 * bar**2 * alpha * bounds.B0 * bounds.B1
    first = bar * (w + h * beta_1 + bounds.B0)
    G = bar * bounds.B1**2 * first + bounds.B2 * first**2
    third = (1 - lam) * w / alpha**2 + h * bounds.B1 * speed / alpha
    numbers = (first, w / alpha, beta_1 / alpha, third, 2 * bar * G, (1 - lam) / (2 * h * alpha))
    C, C1, C2, D1, D2, decay = (jnp.asarray(x) for x in numbers)
    return DerivativeBounds(C, (C1, C2), (D1, D2), decay, h)


def largest_rate_of_theorem_3(
    B1: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike = 0.0
) -> Float[Array, "..."]:
    r"""$(1-\lambda)^2/(2\alpha B_1)$: the h up to which Theorem 3 and Lemma 8 are proved, $\alpha > 0$.

    >>> round(float(largest_rate_of_theorem_3(1.0, 0.9)), 6)
    0.005263
    """
    lam = jnp.asarray(momentum)
    return (1 - lam) ** 2 / ((1 + lam - 2 * lookahead * (1 - lam)) * B1)


def _check(bounds: Bounds, method: MomentumMethod) -> None:
    check_bounds(bounds)
    lam, a = method.momentum, method.lookahead
    _validate.positive(
        "the inertia α = (1 + λ - 2a(1-λ))/2", method.inertia, "use a smaller lookahead or more momentum"
    )
    limit, h = largest_rate_of_theorem_3(jnp.maximum(bounds.B1, 1e-300), lam, a), method.learning_rate
    if all(map(_validate.is_concrete, (limit, h))) and np.any(np.asarray(h) > np.asarray(limit)):
        raise ValueError(
            f"learning_rate must be at most (1-λ)²/(2αB₁) = {limit}, got {h}: Lemma 8 is proved up to there"
        )
