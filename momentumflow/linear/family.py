r"""One eigenvalue k of the Hessian under the family (7): roots, limits, regimes, and the logarithm of a step.

On a quadratic each eigen-direction is a 2×2 matrix in $x = hk$, on $(u, hv)$ around the minimum

$$M(x) = \begin{pmatrix}1-x & \lambda-xa\\ -x & \lambda-xa\end{pmatrix}, \qquad
  \rho^2 - \big(1+\lambda-x(1+a)\big)\rho + (\lambda-xa) = 0,$$

with a double root at $x_\pm = \big((1\pm\sqrt{\lambda-a(1-\lambda)})/(1+a)\big)^2$.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Complex, Float, Int

from .. import _validate

REGIMES = ("monotone", "rippling", "sign-flipping", "divergent")
_CLOSE = 0.02
"""Below this half-difference of the roots over their mean a series stands in for a quotient that cancels."""


def characteristic_roots(
    x: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike = 0.0
) -> tuple[Complex[Array, "..."], Complex[Array, "..."]]:
    r"""The roots $(\rho_1, \rho_2)$ of $\rho^2 - (1+\lambda-x(1+a))\rho + (\lambda-xa) = 0$, per iteration.

    $\rho_1$ is the one of larger modulus, which is 1 at $x = 0$ and decays slowly; of a complex pair the one
    with the positive imaginary part.

    **Arguments:** `x` $= hk$, learning rate times eigenvalue; `momentum` $\lambda \in [0, 1)$; `lookahead`
    $a \ge 0$. They broadcast.

    **Raises:** `ValueError` for values outside these ranges.

    Kovachki & Stuart (2021), eq. (7), on $\Phi = \tfrac12ku^2$.

        >>> slow, fast = characteristic_roots(0.0, 0.9)
        >>> round(complex(slow).real, 12), round(complex(fast).real, 12)
        (1.0, 0.9)
    """
    _check(x, momentum, lookahead)
    pair = _pair(x, momentum, lookahead)
    turn = jnp.where(pair.real, 0, 1j)
    return pair.slow + turn * pair.root, pair.fast - turn * pair.root


def slow_limit(momentum: ArrayLike, lookahead: ArrayLike = 0.0) -> Float[Array, "..."]:
    r"""$x_-$: up to which hk the slow series converges and, for $a \le \lambda/(1-\lambda)$, an invariant graph exists:

    $$x_- = \Big(\frac{1-\sqrt{\lambda-a(1-\lambda)}}{1+a}\Big)^2, \qquad
      \text{else } |x_\pm| = \frac{1-\lambda}{1+a}.$$

    Heavy ball $(1-\sqrt\lambda)^2$, Nesterov $((1-\lambda)/(1+\lambda))^2$.

    **Arguments:** `momentum` $\lambda \in [0, 1)$, `lookahead` $a \ge 0$; they broadcast.

        >>> round(float(slow_limit(0.9)), 5), round(float(slow_limit(0.9, 0.9)), 5)
        (0.00263, 0.00277)
    """
    _check(0.0, momentum, lookahead)
    damping, inner = 1 - jnp.asarray(momentum), _inner(momentum, lookahead)
    # (1-√s)(1+√s) = 1-s = (1-λ)(1+a): without the difference that cancels as λ → 1
    real = (damping / (1 + jnp.sqrt(jnp.maximum(inner, 0)))) ** 2
    return jnp.where(inner >= 0, real, damping / (1 + jnp.asarray(lookahead)))


def flow_limit(momentum: ArrayLike, lookahead: ArrayLike = 0.0) -> Float[Array, "..."]:
    r"""Up to which hk a flow on (u, v) can pass through the iterates: $M(x)$ has a real logarithm iff x is below

    $$x_+ = \Big(\frac{1+\sqrt{\lambda-a(1-\lambda)}}{1+a}\Big)^2 \ (a \le \lambda), \qquad
      \frac\lambda a \ (a \ge \lambda).$$

    Heavy ball $(1+\sqrt\lambda)^2$; Nesterov 1: beyond, a step reverses orientation ($\det M < 0$) and no
    autonomous flow does so, though Nesterov is stable up to `stability_limit`. 0 without momentum.

    **Arguments:** `momentum` $\lambda \in [0, 1)$, `lookahead` $a \ge 0$; they broadcast.

        >>> round(float(flow_limit(0.9)), 4), float(flow_limit(0.9, 0.9))
        (3.7974, 1.0)
    """
    _check(0.0, momentum, lookahead)
    lam, a = jnp.asarray(momentum), jnp.asarray(lookahead)
    double = ((1 + jnp.sqrt(jnp.maximum(_inner(lam, a), 0))) / (1 + a)) ** 2
    oriented = lam / jnp.where(a > 0, a, 1)
    return jnp.where(lam == 0, 0.0, jnp.where(a < lam, double, oriented))


def stability_limit(momentum: ArrayLike, lookahead: ArrayLike = 0.0) -> Float[Array, "..."]:
    r"""$2(1+\lambda)/(1+2a)$: a quadratic of curvature $k > 0$ is stable iff hk is below.

    Heavy ball $2(1+\lambda)$, Nesterov $2(1+\lambda)/(1+2\lambda)$, gradient descent 2.

    **Arguments:** `momentum` $\lambda \in [0, 1)$, `lookahead` $a \ge 0$; they broadcast.

        >>> float(stability_limit(0.5)), float(stability_limit(0.5, 0.5))
        (3.0, 1.5)
    """
    _check(0.0, momentum, lookahead)
    return 2 * (1 + jnp.asarray(momentum)) / (1 + 2 * jnp.asarray(lookahead))


def spectral_radius(x: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike = 0.0) -> Float[Array, "..."]:
    r"""$\max(|\rho_1|, |\rho_2|)$ of `characteristic_roots`: the factor by which an eigen-direction shrinks per
    iteration in the end. **Arguments** as there.

        >>> round(float(spectral_radius(0.5, 0.81)), 12)  # rippling: √λ, whatever hk
        0.9
    """
    return jnp.abs(characteristic_roots(x, momentum, lookahead)[0])


def regime(x: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike = 0.0) -> Int[Array, "..."]:
    r"""Index into `REGIMES`: how an eigen-direction approaches its minimum.

    0 monotone: the dominant root is real and positive; 1 rippling: a complex pair; 2 sign-flipping: it is
    real and negative; 3 divergent: $\max|\rho| \ge 1$. **Arguments** as of `characteristic_roots`.

        >>> [REGIMES[int(regime(x, 0.9))] for x in (0.001, 1.0, 3.799, 4.0)]
        ['monotone', 'rippling', 'sign-flipping', 'divergent']
    """
    dominant, _ = characteristic_roots(x, momentum, lookahead)
    kind = jnp.where(dominant.imag != 0, 1, jnp.where(dominant.real < 0, 2, 0))
    return jnp.where(jnp.abs(dominant) >= 1, 3, kind)


class StepLogarithm(NamedTuple):
    r"""The field $h\dot u = h\,\varphi_uf + h\,\psi_uv$, $h\dot v = \varphi_vf + \psi_vv$ of one eigen-direction.

    $\varphi_u = -L_{11}/x$, $\varphi_v = -L_{21}/x$, $\psi_u = L_{12}$, $\psi_v = L_{22}$, $L = \log M(x)$:
    M acts on $(u - u_*, hv)$, and $u - u_* = -hf/x$.
    """

    force_u: Float[Array, "..."]
    velocity_u: Float[Array, "..."]
    force_v: Float[Array, "..."]
    velocity_v: Float[Array, "..."]


def step_logarithm(
    x: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike = 0.0, every_second: bool = False
) -> StepLogarithm:
    r"""The entries of $L = \log M(x)$ that make a field: its flow passes through the iterates of a quadratic.

    $$L = \tfrac12\log\det M + \beta\,\big(M - \tfrac12(\rho_1+\rho_2)\big), \qquad
      \beta = \frac{\log\rho_1 - \log\rho_2}{\rho_1 - \rho_2}.$$

    **Arguments:** as of `characteristic_roots`, $\lambda > 0$; `every_second`: beyond `flow_limit` take
    $\tfrac12\log M^2$, which passes through every second iterate (log|ρ| for log ρ).

    **Returns:** `StepLogarithm`, NaN from `flow_limit` on unless `every_second`.

        >>> L = step_logarithm(0.0, 0.9)  # u' = λ̄f + …, v decays like λⁿ
        >>> round(float(L.velocity_v), 6), round(float(L.force_u + L.velocity_u * 10), 6)
        (-0.105361, 10.0)
    """
    _check(x, momentum, lookahead)
    pair = _pair(x, momentum, lookahead)
    decay = jnp.log(jnp.abs(pair.product))  # the trace of L
    beta = _divided_logarithm(pair, decay)
    if not every_second:
        beta = jnp.where(pair.real & ~((pair.slow > 0) & (pair.product > 0)), jnp.nan, beta)
    above = 1 - x - pair.mean
    # two forms of -L₁₁/x: the first keeps its digits as x → 0, the second needs no complex logarithm
    force_u = jnp.where(
        pair.real,
        _rate(x, pair) + beta * (1 - pair.slope),
        -(decay / 2 + beta * above) / jnp.where(x == 0, 1, x),
    )
    return StepLogarithm(force_u, beta * pair.product, beta, decay + x * force_u)


class SlowMode(NamedTuple):
    r"""What the slow root ρ₁ of one eigen-direction makes of $f$ and $v$.

    - `rate`: $-\log\rho_1/x$: on the slow mode $\dot u = $ rate $\cdot f$.
    - `memory`: $(1/\rho_1 - 1)/x$: there $v = $ memory $\cdot f$.
    - `lag`: $\rho_1\rho_2/(\rho_1-\rho_2)$: the slow part of $(u, v)$ starts from
      $u + h\cdot$ lag $\cdot (v - $ memory $\cdot f)$.
    """

    rate: Float[Array, "..."]
    memory: Float[Array, "..."]
    lag: Float[Array, "..."]


def slow_mode(
    x: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike = 0.0, every_second: bool = False
) -> SlowMode:
    r"""The slow one of the two modes $\rho^n$, exactly: the first-order flow that it follows, and how to fall on it.

    With $hv_n = u_n - u_{n-1}$ the mode has $hv = (1-1/\rho)(u - u_*)$ and $u - u_* = -hf/x$; its part of
    $(u, v)$ is what the other mode leaves.

    **Arguments:** as of `characteristic_roots`; `every_second`: log|ρ₁| where ρ₁ is negative, for every second
    iterate.

    **Returns:** `SlowMode`; NaN where ρ₁ is complex, and where it is negative unless `every_second`.

    Without momentum `rate` is the factor of Rosca, Wu, Qin & Dherin (2023), the principal flow.

        >>> round(float(slow_mode(0.5, 0.0).rate), 6)  # -log(1 - 0.5)/0.5
        1.386294
        >>> [round(float(part), 9) for part in slow_mode(0.0, 0.9)]  # λ̄, λ̄, λλ̄
        [10.0, 10.0, 9.0]
    """
    _check(x, momentum, lookahead)
    pair = _pair(x, momentum, lookahead)
    exists = pair.real if every_second else pair.real & (pair.slow > 0)
    parts = (_rate(x, pair), pair.slope / pair.slow, pair.product / (2 * pair.root))
    return SlowMode(*(jnp.where(exists, part, jnp.nan) for part in parts))


def _check(x: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike) -> None:
    _validate.finite("x", x, "it is learning rate times an eigenvalue of the Hessian")
    _validate.momentum_factor("momentum", momentum)
    _validate.non_negative("lookahead", lookahead, "0 is heavy ball, the momentum is Nesterov")


def _inner(momentum: ArrayLike, lookahead: ArrayLike) -> Float[Array, "..."]:
    """λ - a(1-λ), the square under x_±."""
    lam = 1.0 * jnp.asarray(momentum)
    return lam - jnp.asarray(lookahead) * (1 - lam)


class _Pair(NamedTuple):
    """ρ = mean ± root if `real`, mean ± i root if not; `slow` and `fast` are their real parts.

    The sign of `root` makes `slow` the one of larger modulus; `slope` is (1-ρ₁)/x where real.
    """

    mean: Float[Array, "..."]
    root: Float[Array, "..."]
    product: Float[Array, "..."]
    real: Bool[Array, "..."]
    slow: Float[Array, "..."]
    fast: Float[Array, "..."]
    slope: Float[Array, "..."]


def _pair(x: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike) -> _Pair:
    x, lam, a = jnp.asarray(x), 1.0 * jnp.asarray(momentum), jnp.asarray(lookahead)
    mean, product = (1 + lam - x * (1 + a)) / 2, lam - x * a
    square = _discriminant(x, lam, a)
    real = square >= 0
    root = jnp.sqrt(jnp.abs(square)) / 2
    root = jnp.where(real & (mean < 0), -root, root)
    slow = jnp.where(real, mean + root, mean)
    # their product is known, where mean - root would cancel
    fast = jnp.where(real, product / jnp.where(slow == 0, 1, slow), mean)
    # (1-ρ₁)(1-ρ₂) = x
    slope = 1 / ((1 - lam + x * (1 + a)) / 2 + root)
    return _Pair(mean, root, product, real, slow, fast, slope)


def _discriminant(x: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike) -> Float[Array, "..."]:
    """(ρ₁ - ρ₂)² = (1+a)²(x - x₋)(x - x₊), in this form so that it keeps its digits close to a double root."""
    lam, a = 1.0 * jnp.asarray(momentum), jnp.asarray(lookahead)
    inner = _inner(lam, a)
    high = ((1 + jnp.sqrt(jnp.maximum(inner, 0))) / (1 + a)) ** 2
    factored = (1 + a) ** 2 * (x - slow_limit(lam, a)) * (x - high)
    return jnp.where(inner >= 0, factored, (1 - lam + x * (1 + a)) ** 2 - 4 * x)


def _log_slow(x: ArrayLike, pair: _Pair) -> Float[Array, "..."]:
    """log|ρ₁| of a real pair, of which ρ₁ alone would lose the digits as x → 0."""
    change = -x * pair.slope
    return jnp.where(jnp.abs(change) < 0.5, jnp.log1p(change), jnp.log(jnp.abs(pair.slow)))


def _rate(x: ArrayLike, pair: _Pair) -> Float[Array, "..."]:
    """-log|ρ₁|/x of a real pair."""
    return jnp.where(x == 0, pair.slope, -_log_slow(x, pair) / jnp.where(x == 0, 1, x))


def _divided_logarithm(pair: _Pair, decay: Float[Array, "..."]) -> Float[Array, "..."]:
    """(log ρ₁ - log ρ₂)/(ρ₁ - ρ₂), of |ρ| for a real pair."""
    ratio = jnp.where(pair.real, 1, -1) * (pair.root / jnp.where(pair.mean == 0, 1, pair.mean)) ** 2
    close = (jnp.abs(ratio) < _CLOSE**2) & (pair.real | (pair.mean > 0)) & (pair.mean != 0)
    series = (1 + ratio * (1 / 3 + ratio * (1 / 5 + ratio * (1 / 7 + ratio / 9)))) / pair.mean
    root = jnp.where(close, 1, pair.root)
    apart = jnp.where(pair.real, jnp.log(jnp.abs(pair.slow)) - decay / 2, jnp.arctan2(pair.root, pair.mean))
    return jnp.where(close, series, apart / root)
