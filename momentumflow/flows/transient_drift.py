"""The full-batch drift of momentum from its first step on."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _validate

_BITS = 31
"""Of a number of steps that is traced."""


def transient_drift(
    momentum: ArrayLike, steps: ArrayLike, lookahead: ArrayLike = 0
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    r"""$a_k$ and $S_k$ of the flow that momentum from rest follows on $[t_k, t_{k+1})$, on one loss:

    $$\dot u = -a_k\nabla\Phi - \tfrac h2S_k\nabla^2\Phi\nabla\Phi, \qquad
      a_k = \frac{1-\lambda^{k+1}}{1-\lambda}, \qquad S_k = 2C_k - a_k^2 - 2aD_k,$$

    with $C_k = \sum_{r\le k}\lambda^{k-r}a_r^2 = \big(a_k - 2(k+1)\lambda^{k+1} + \lambda^{k+2}a_k\big)/(1-\lambda)^2$
    and $D_k = \sum_{r<k}\lambda^{k-1-r}a_r = (a_{k-1} - k\lambda^k)/(1-\lambda)$. For $k \to \infty$ that is the
    slow flow, $a_k \to \bar\lambda$ and $S_k \to 2\bar\lambda c = (1+\lambda)/(1-\lambda)^3$ for heavy ball.

    The closed forms cancel for λ near 1 and are not what is computed: the sums over n + m steps are products of those
    over n and over m, of positive terms only, and k is taken bit by bit. In float64 where all is known, whatever the
    session's precision; for traced values in that precision, to about $\epsilon/(1-\lambda)$, $\epsilon$ its rounding.

    **Arguments:** `momentum` $\lambda \in [0, 1)$; `steps`: integers $k \ge 0$, any shape; `lookahead` $a \ge 0$.

    **Returns:** $a_k$ and $S_k$, of the shape of `steps`.

    **Raises:** `ValueError` for values outside these ranges, or steps that are no integers.

    Ghosh et al. (2023), IGRM-S with $E_k = \Phi$; the sums and the look-ahead are done here.

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> [x.round(6).tolist() for x in mf.transient_drift(0.5, jnp.array([0, 1, 100]))]
        [[1.0, 1.5, 2.0], [1.0, 3.25, 12.0]]
    """
    drift, bend = drift_and_bend(momentum, steps, lookahead)
    return jnp.asarray(drift, float), jnp.asarray(bend, float)


def drift_and_bend(
    momentum: ArrayLike, steps: ArrayLike, lookahead: ArrayLike = 0
) -> tuple[ArrayLike, ArrayLike]:
    """`transient_drift`, where all is known in numpy's float64."""
    _validate.momentum_factor("momentum", momentum)
    _validate.non_negative("lookahead", lookahead, "0 is heavy ball, the momentum is Nesterov")
    _validate.non_negative("steps", steps, "the first interval is k = 0")
    if not jnp.issubdtype(jnp.result_type(steps), jnp.integer):
        raise ValueError(
            f"steps must be integers, got {jnp.result_type(steps)}: k counts the steps; use .astype(int)"
        )
    known = all(map(_validate.is_concrete, (momentum, steps, lookahead)))
    array = np.asarray if known else jnp.asarray
    lam, k, a = array(momentum, float), array(steps, int), array(lookahead, float)
    before = _sums(lam, k, int(np.max(k, initial=0)).bit_length() if known else _BITS)
    now = _then(before, _one(lam))
    return now.single, 2 * now.past - now.single**2 - 2 * a * before.ahead


class _Sums(NamedTuple):
    """After n steps: λⁿ, A_n = Σ_{r<n}λʳ, Σ_{s≤n}λ^{n-s}A_s and Σ_{s≤n}λ^{n-s}A_s²; a_k is A_{k+1}."""

    power: Float[ArrayLike, "*batch"]
    single: Float[ArrayLike, "*batch"]
    ahead: Float[ArrayLike, "*batch"]
    past: Float[ArrayLike, "*batch"]


def _one(lam: Float[ArrayLike, "*batch"]) -> _Sums:
    return _Sums(lam, *[lam**0] * 3)


def _then(first: _Sums, second: _Sums) -> _Sums:
    """After n + m steps: A_{n+s} = A_n + λⁿA_s."""
    (p, a, d, c), (q, b, e, f) = first, second
    return _Sums(p * q, a + p * b, q * d + a * b + p * e, q * c + a**2 * b + 2 * a * p * e + p**2 * f)


def _sums(lam: Float[ArrayLike, "*batch"], k: Int[ArrayLike, "*steps"], bits: int) -> _Sums:
    """After k steps, by their binary digits."""
    unit, found = _one(lam), _Sums(lam**0, *[0 * lam] * 3)
    for j in range(max(1, bits)):  # one at least gives the shape
        digit = (k >> j) & 1
        found = _Sums(
            *(digit * new + (1 - digit) * old for new, old in zip(_then(found, unit), found, strict=True))
        )
        # squaring λⁿ again and again would double its rounding each time
        unit = _then(unit, unit)._replace(power=lam ** (2 << j))
    return found
