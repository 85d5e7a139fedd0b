r"""The constants of Kovachki & Stuart (2021), Appendix C: when the invariant manifold exists, how it attracts."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _validate
from ..flows.model import family_only
from ..methods.linear_memory import AbstractLinearMemory
from ..problems.problem import Bounds
from .conditions import Conditions

_BOUND = "Appendix C needs bounded derivatives of the loss (Assumption 1); problem.bounds(radius) bounds them on a ball"


class ManifoldConstants(NamedTuple):
    r"""The constants of Lemmas 9 and 10, Assumption 11 and Theorem 5; NaN where what they stand on fails.

    **Fields:**

    - `gamma`: $\gamma = \tau_1$, the smallest bound on $|g|$ that Lemma 9 allows.
    - `K1`, `K2`, `K3`: bound and Lipschitz constant of $w = \bar\lambda f + hg$; bound of $z = v_{n+1}$ on it.
    - `alpha_0`, `alpha_1`, `alpha_2`: of the parabola (40), by (39).
    - `delta`, `delta_max`: $\tau_2^\pm$, between which a Lipschitz constant $\delta$ of g may lie; the others
      take $\delta = \tau_2^-$, the smallest.
    - `Q1`, `Q2`, `Q3`: of (42); $Q_3$ is also the $c$ of (41).
    - `mu`: the rate at which T contracts, Lemma 15.
    - `printed_rate`: $\lambda + h^2\lambda\delta$, by which Theorem 5 as printed bounds $e_{n+1}/e_n$; false.
    - `rate`: $(\lambda + haB_1)(1 + hK_2)$, the bound that its proof gives once $f(u_n + hav_n)$ is not taken
      for its value on the manifold; below $1 - hB_1$.
    - `conditions`: the margins of Assumption 11.

    !!! example

        >>> import momentumflow as mf
        >>> found = mf.manifold_constants(mf.Bounds(1.0, 1.0, 1.0), mf.nesterov(0.01, 0.5))
        >>> [round(float(x), 3) for x in (found.gamma, found.delta, found.mu, found.rate)]
        [10.309, 22.156, 0.516, 0.516]
    """

    gamma: Float[Array, "..."]
    K1: Float[Array, "..."]
    K2: Float[Array, "..."]
    K3: Float[Array, "..."]
    alpha_0: Float[Array, "..."]
    alpha_1: Float[Array, "..."]
    alpha_2: Float[Array, "..."]
    delta: Float[Array, "..."]
    delta_max: Float[Array, "..."]
    Q1: Float[Array, "..."]
    Q2: Float[Array, "..."]
    Q3: Float[Array, "..."]
    mu: Float[Array, "..."]
    printed_rate: Float[Array, "..."]
    rate: Float[Array, "..."]
    conditions: Conditions


class Setting(NamedTuple):
    """What the formulas below are made of, numbers, arrays or symbols: λ̄ = `bar`, λ + haB₁ = `shrink`."""

    B0: Any
    B1: Any
    B2: Any
    h: Any
    lam: Any
    a: Any

    @property
    def bar(self) -> Any:
        return 1 / (1 - self.lam)

    @property
    def shrink(self) -> Any:
        return self.lam + self.h * self.a * self.B1


def largest_correction(
    bounds: Bounds | tuple[ArrayLike, ...], method: AbstractLinearMemory, printed: bool = False
) -> Float[Array, "..."]:
    r"""$\tau_1$ of Lemma 9, the smallest $\gamma$ that satisfies (38):

    $$\tau_1 = \frac{\bar\lambda B_0B_1(a+\bar\lambda)}{1-\lambda-hB_1(a+\lambda\bar\lambda)}.$$

    **Arguments:** `bounds`, `method` as of `manifold_constants`; `printed`: the sum $1-\lambda+hB_1(\dots)$ of
    the paper's proof in the denominator, which violates (38).

    **Returns:** NaN where $\lambda + hB_1(a+\lambda\bar\lambda) \ge 1$, which the lemma excludes.

    **Raises:** `ValueError` for bounds that are not finite or negative.

    Kovachki & Stuart (2021), Lemma 9.

        >>> import momentumflow as mf
        >>> float(largest_correction(mf.Bounds(1.0, 1.0, 1.0), mf.heavy_ball(0.25, 0.5)))
        16.0
    """
    s = _setting(bounds, method)
    stretch = s.h * s.B1 * (s.a + s.lam * s.bar)
    gap = 1 - s.lam - stretch
    gamma = s.bar * s.B0 * s.B1 * (s.a + s.bar) / jnp.where(gap > 0, gap + 2 * stretch * printed, jnp.nan)
    return jnp.asarray(gamma)


def manifold_constants(
    bounds: Bounds | tuple[ArrayLike, ...], method: AbstractLinearMemory
) -> ManifoldConstants:
    r"""Every constant of Appendix C, with the smallest $\gamma$ and $\delta$ that its lemmas allow, and the margin
    of each condition of Assumption 11.

    With $\lambda = a = 0$, gradient descent, all of it holds for $h < 1/B_1$: the graph is $v = f(u_{n-1})$, any
    run is on it after a step (`rate` 0), and (40) is linear, $\tau_2^+ = \infty$. For an affine f ($B_2 = 0$)
    nothing but γ, K₁ and K₃ depends on $B_0$, which any finite number may stand for.

    **Arguments:** `bounds` $B_0, B_1, B_2 \ge 0$, finite, on the derivatives of the loss, as of
    `problem.bounds(radius)`; `method` of the family (7). Entries that are arrays broadcast.

    **Returns:** `ManifoldConstants`, NaN from the first lemma on that fails; `.conditions.failing` names it,
    `.conditions.margin` says by how much.

    **Raises:** `ValueError` for bounds that are not finite or negative, `TypeError` for another method.

    Kovachki & Stuart (2021), Lemma 9, (39)-(44); Lemma 9 and the rate of Theorem 5 corrected.

    !!! example

        >>> import math, momentumflow as mf
        >>> found = mf.manifold_constants(mf.Cosine().bounds(math.inf), mf.heavy_ball(0.00669, 0.5))
        >>> bool(found.conditions.holds), round(float(found.printed_rate), 6), round(float(found.rate), 6)
        (True, 0.500378, 0.507068)
    """
    gamma, s = largest_correction(bounds, method), _setting(bounds, method)
    K1, K3 = sizes(s, gamma)
    alpha_0, alpha_1, alpha_2 = parabola(s, K1, K3)
    room = -alpha_1 - 2 * jnp.sqrt(alpha_2 * alpha_0)
    delta, delta_max = _between_roots(alpha_0, alpha_1, alpha_2, room)
    K2, Q1, Q2, Q3, mu = contraction(s, K1, K3, delta)
    printed_rate, rate = s.lam + s.h**2 * s.lam * delta, s.shrink * (1 + s.h * K2)
    lemma_9 = 1 - s.lam - s.h * s.B1 * (s.a + s.lam * s.bar)
    margins = (lemma_9, room, 1 - Q3, 1 - jnp.maximum(Q3, mu), 1 - printed_rate)
    conditions = Conditions(*jnp.broadcast_arrays(*margins))
    numbers = (gamma, K1, K2, K3, alpha_0, alpha_1, alpha_2, delta, delta_max, Q1, Q2, Q3, mu, printed_rate)
    return ManifoldConstants(*numbers, rate, conditions)


def sizes(s: Setting, gamma: Any) -> tuple[Any, Any]:
    """K₁ and K₃: bounds of w and z of Lemma 12."""
    K1 = s.bar * s.B0 + s.h * gamma
    return K1, s.B0 + s.lam * K1


def parabola(s: Setting, K1: Any, K3: Any) -> tuple[Any, Any, Any]:
    """α₀, α₁, α₂ of (39)."""
    bend = s.B1 + s.h * s.B2 * K3
    alpha_2 = s.h**2 * s.shrink
    coupled = s.B1 * (s.bar + s.a * (1 + s.h * s.bar * s.B1)) + s.lam * s.bar * bend
    alpha_1 = s.lam - 1 + s.h * (coupled + s.h * s.a * (s.a * s.B2 * K1 + s.B1 * s.bar * bend))
    alpha_0 = (
        s.a * s.B2 * K1 * (1 + s.h * s.a * s.bar * s.B1)
        + s.bar * (s.a * s.B1**2 + s.B2 * K3)
        + s.bar**2 * s.B1 * (1 + s.h * s.a * s.B1) * bend
    )
    return alpha_0, alpha_1, alpha_2


def contraction(s: Setting, K1: Any, K3: Any, delta: Any) -> tuple[Any, Any, Any, Any, Any]:
    """K₂, Q₁, Q₂, Q₃ and μ of (41) and (42)."""
    K2, bend = s.bar * s.B1 + s.h * delta, s.B1 + s.h * s.B2 * K3
    steep = s.lam * K2 + s.B1 * (1 + s.h * s.a * K2)
    Q1 = (
        s.lam * delta
        + s.a * (s.B1 * K2 + s.B2 * K1 * (1 + s.h * s.a * K2))
        + s.bar * (bend * steep + s.B2 * K3)
    )
    Q2 = s.h * (s.a * (s.B1 + s.h * s.a * s.B2 * K1) + s.bar * s.shrink * bend)
    Q3 = s.h * steep
    return K2, Q1, Q2, Q3, s.lam + Q2 + s.h**2 * s.shrink * Q1 / (1 - Q3)


def _between_roots(
    alpha_0: Float[Array, "..."],
    alpha_1: Float[Array, "..."],
    alpha_2: Float[Array, "..."],
    room: Float[Array, "..."],
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """τ₂^- and τ₂^+ of Lemma 10, NaN where it fails; α₂ is of order h², so the small root is 2α₀/(…)."""
    room = jnp.where(room > 0, room, jnp.nan)
    sum_ = -alpha_1 + jnp.sqrt(room * (room + 4 * jnp.sqrt(alpha_2 * alpha_0)))
    return 2 * alpha_0 / sum_, sum_ / (2 * alpha_2)


def _setting(bounds: Bounds | tuple[ArrayLike, ...], method: AbstractLinearMemory) -> Setting:
    family = family_only("Appendix C")(method)
    bounds = check_bounds(bounds)
    return Setting(*map(jnp.asarray, (*bounds, family.learning_rate, family.momentum, family.lookahead)))


def check_bounds(bounds: Bounds | tuple[ArrayLike, ...]) -> Bounds:
    """The bounds, of a tuple too; raises unless B₀, B₁, B₂ are finite and not negative."""
    if not isinstance(bounds, tuple | list) or len(bounds) != 3:
        raise ValueError(f"bounds must be B0, B1 and B2, got {bounds!r}: pass mf.Bounds(B0, B1, B2)")
    bounds = Bounds(*bounds)
    for name, bound in zip(("B0", "B1", "B2"), bounds, strict=True):
        _validate.non_negative(name, bound, _BOUND)
    return bounds
