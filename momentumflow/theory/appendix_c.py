r"""The constants of Kovachki & Stuart (2021), Appendix C: when the invariant manifold exists, how it attracts."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _validate
from ..problems.problem import Bounds

_BOUND = "it is a bound on a norm"


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
      for its value on the manifold.
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

    @property
    def holds(self) -> Bool[Array, "..."]:
        """Whether Assumption 11 holds: Lemmas 9 and 10, (41), (43) and (44)."""
        below_one = (self.Q3, self.mu, self.printed_rate)
        return jnp.all(jnp.stack([x < 1 for x in below_one]), axis=0)  # NaN where a lemma fails


def largest_correction(
    bounds: Bounds,
    learning_rate: ArrayLike,
    momentum: ArrayLike,
    lookahead: ArrayLike = 0.0,
    printed: bool = False,
) -> Float[Array, "..."]:
    r"""$\tau_1$ of Lemma 9, the smallest $\gamma$ that satisfies (38):

    $$\tau_1 = \frac{\bar\lambda B_0B_1(a+\bar\lambda)}{1-\lambda-hB_1(a+\lambda\bar\lambda)}.$$

    **Arguments:** `bounds` $B_0, B_1, B_2 \ge 0$; `learning_rate` $h > 0$; `momentum` $\lambda \in [0, 1)$;
    `lookahead` $a \ge 0$; `printed`: the sum $1-\lambda+hB_1(\dots)$ of the paper's proof in the denominator,
    which violates (38). They broadcast.

    **Returns:** NaN where $\lambda + hB_1(a+\lambda\bar\lambda) \ge 1$, which the lemma excludes.

    **Raises:** `ValueError` for values outside these ranges.

    Kovachki & Stuart (2021), Lemma 9.

        >>> import momentumflow as mf
        >>> from momentumflow.theory.appendix_c import largest_correction
        >>> float(largest_correction(mf.Bounds(1.0, 1.0, 1.0), learning_rate=0.25, momentum=0.5))
        16.0
    """
    _check(bounds, learning_rate, momentum, lookahead)
    lam, bar = jnp.asarray(momentum), 1 / (1 - jnp.asarray(momentum))
    stretch = learning_rate * jnp.asarray(bounds.B1) * (lookahead + lam * bar)
    gap = 1 - lam + (stretch if printed else -stretch)
    gamma = bar * bounds.B0 * bounds.B1 * (lookahead + bar) / gap
    return jnp.where(lam + stretch < 1, gamma, jnp.nan)


def constants(
    bounds: Bounds, learning_rate: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike = 0.0
) -> ManifoldConstants:
    r"""Every constant of Appendix C, with the smallest $\gamma$ and $\delta$ that its lemmas allow.

    **Arguments:** `bounds` $B_0, B_1, B_2 \ge 0$ on the derivatives of the loss, as of `problem.bounds(radius)`;
    `learning_rate` $h > 0$; `momentum` $\lambda \in [0, 1)$; `lookahead` $a \ge 0$. They broadcast.

    **Returns:** `ManifoldConstants`, NaN from the first lemma on that fails.

    **Raises:** `ValueError` for values outside these ranges.

    Kovachki & Stuart (2021), Lemma 9, (39)-(44); Lemma 9 and the rate of Theorem 5 corrected.

    !!! example

        >>> import math, momentumflow as mf
        >>> from momentumflow.theory.appendix_c import constants
        >>> found = constants(mf.Cosine().bounds(math.inf), learning_rate=0.00669, momentum=0.5)
        >>> bool(found.holds), round(float(found.printed_rate), 6), round(float(found.rate), 6)
        (True, 0.500378, 0.507068)
    """
    gamma = largest_correction(bounds, learning_rate, momentum, lookahead)
    B0, B1, B2 = map(jnp.asarray, bounds)
    h, lam, a = map(jnp.asarray, (learning_rate, momentum, lookahead))
    bar, shrink = 1 / (1 - lam), lam + h * a * B1
    K1 = bar * B0 + h * gamma
    K3 = B0 + lam * K1
    bend = B1 + h * B2 * K3
    alpha_2 = h**2 * shrink
    coupled = B1 * (bar + a * (1 + h * bar * B1)) + lam * bar * bend
    alpha_1 = lam - 1 + h * (coupled + h * a * (a * B2 * K1 + B1 * bar * bend))
    alpha_0 = (
        a * B2 * K1 * (1 + h * a * bar * B1)
        + bar * (a * B1**2 + B2 * K3)
        + bar**2 * B1 * (1 + h * a * B1) * bend
    )
    delta, delta_max = _between_roots(alpha_0, alpha_1, alpha_2)
    K2 = bar * B1 + h * delta
    steep = lam * K2 + B1 * (1 + h * a * K2)
    Q1 = lam * delta + a * (B1 * K2 + B2 * K1 * (1 + h * a * K2)) + bar * (bend * steep + B2 * K3)
    Q2 = h * (a * (B1 + h * a * B2 * K1) + bar * shrink * bend)
    Q3 = h * steep
    mu = lam + Q2 + h**2 * shrink * Q1 / (1 - Q3)
    printed_rate, rate = lam + h**2 * lam * delta, shrink * (1 + h * K2)
    return ManifoldConstants(
        gamma, K1, K2, K3, alpha_0, alpha_1, alpha_2, delta, delta_max, Q1, Q2, Q3, mu, printed_rate, rate
    )


def _between_roots(
    alpha_0: Float[Array, "..."], alpha_1: Float[Array, "..."], alpha_2: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """τ₂^- and τ₂^+ of Lemma 10, NaN where it fails; α₂ is of order h², so the small root is 2α₀/(…)."""
    discriminant = alpha_1**2 - 4 * alpha_2 * alpha_0
    ok = (discriminant > 0) & (alpha_1 < 0)
    sum_ = jnp.where(ok, -alpha_1 + jnp.sqrt(jnp.where(ok, discriminant, 1.0)), jnp.nan)
    return 2 * alpha_0 / sum_, sum_ / (2 * alpha_2)


def _check(bounds: Bounds, learning_rate: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike) -> None:
    for name, bound in zip(("B0", "B1", "B2"), bounds, strict=True):
        _validate.non_negative(name, bound, _BOUND)
    _validate.positive("learning_rate", learning_rate, "0 would not move")
    _validate.momentum_factor("momentum", momentum)
    _validate.non_negative("lookahead", lookahead, "0 is heavy ball, the momentum is Nesterov")
