r"""The spectrum of the higher-order ODEs (13) on a quadratic: which of them can be used at all.

In units of the step, $\sigma = hs$ and $x = hk$ for a solution $e^{st}$ and a curvature $k$.
"""

from math import factorial

import numpy as np
from jaxtyping import Complex, Float

from .. import _validate

USABLE = 4
"""The largest p for which no mode of (13) grows; from p = 5 on some do, at every p and λ."""


def higher_order_polynomial(
    terms: int, momentum: float, x: float = 0.0, lookahead: float = 0.0
) -> Float[np.ndarray, " coefficients"]:
    r"""Coefficients, highest power first, of the characteristic polynomial of (13) with $f = -ku$,

    $$P(\sigma) = \sum_{k=1}^{p} \frac{1+(-1)^k\lambda}{k!}\sigma^k
      + x\Big(1 + a\sum_{k=1}^{p-1}\frac{(-1)^{k+1}}{k!}\sigma^k\Big).$$

    For x = 0 it is $h$ times the symbol of the left-hand side, the Taylor polynomial of
    $e^\sigma - 1 - \lambda(1 - e^{-\sigma})$.

    **Arguments:** `terms` $p \ge 1$, `momentum` $\lambda \in [0, 1)$, `x` $= hk$, `lookahead` $a \ge 0$.

    **Raises:** `ValueError` for values outside these ranges.

    Kovachki & Stuart (2021), eq. (13).

        >>> higher_order_polynomial(2, momentum=0.5, x=0.125).tolist()
        [0.75, 0.5, 0.125]
    """
    _validate.count("terms", terms)
    _validate.momentum_factor("momentum", momentum)
    _validate.finite("x", x, "it is learning rate times an eigenvalue of the Hessian")
    _validate.non_negative("lookahead", lookahead, "0 is heavy ball, the momentum is Nesterov")
    left = [0.0] + [(1 + (-1) ** k * momentum) / factorial(k) for k in range(1, terms + 1)]
    ahead = [1.0] + [-lookahead * (-1) ** k / factorial(k) for k in range(1, terms)] + [0.0]
    return (np.array(left) + x * np.array(ahead))[::-1]


def higher_order_roots(
    terms: int, momentum: float, x: float = 0.0, lookahead: float = 0.0
) -> Complex[np.ndarray, " roots"]:
    r"""The roots σ of `higher_order_polynomial`: (13) has the solutions $e^{\sigma t/h}$; largest real part first.

    For x = 0 one root is 0, the slow one, and $\log\lambda$ has a counterpart among the others, the transient of
    the method; what is left is spurious. The Routh array of $p!\,P(\sigma)/\sigma$ is that of λ = 0 with its rows
    times $1+\lambda$ and $1-\lambda$ in turn, so the number of growing modes does not depend on λ: none for p ≤ 4, and
    two or more for every p ≥ 5, since the fourth entry is $p(p-2)(5-p)$, and -15 for p = 5, times such a factor.

    **Arguments** and **Raises:** as `higher_order_polynomial`.

        >>> [round(float(higher_order_roots(p, 0.9)[0].real), 2) for p in (4, 5, 6)]
        [0.0, 0.01, 1.36]
    """
    # a factor p! keeps the coefficients of order one, for the strip of leading zeros as for the reader
    roots = np.roots(factorial(terms) * higher_order_polynomial(terms, momentum, x, lookahead)).astype(
        complex
    )
    return roots[np.argsort(-roots.real, kind="stable")]


def transient_root(terms: int, momentum: float) -> complex:
    r"""The root $\sigma_1 \approx \log\lambda$ that stands for the method's transient $\lambda^n$.

    Among the roots at x = 0 but 0 itself: the one nearest to the real axis, and of the real ones the largest.
    $-2(1-\lambda)/(1+\lambda)$ for p = 2; for p = 3 half of a pair where λ < 0.24.

    **Arguments:** `terms` $p \ge 2$, `momentum` $\lambda \in [0, 1)$. **Raises:** `ValueError` outside these ranges.

        >>> round(transient_root(4, 0.9).real, 5), round(float(np.log(0.9)), 5)
        (-0.10536, -0.10536)
    """
    _validate.count("terms", terms, 2)
    roots = higher_order_roots(terms, momentum)
    others = roots[roots != 0]
    return complex(others[np.lexsort((-others.real, np.abs(others.imag)))[0]])
