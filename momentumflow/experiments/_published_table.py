"""The table of Kovachki & Stuart (2021), Figure 6, and which μ its rows belong to.

By (8), u' = -λ̄∇Φ, all methods follow one gradient flow, and after equally many steps only the effective learning rate
tells how far along it they are:

    GF, HB, NAG: h/(1-λ);  HB-μ, NAG-μ: h(1+s)/(2s), s = √(μh), as λ = (1-s)/(1+s) in (5);  Wilson: √h/(2√μ), from (36).

GF's row is thus a curve of the error against the effective rate; where a number of another row lies on that curve says
its effective rate, and with it μ.
"""

import numpy as np
from jaxtyping import Float

EXPONENTS = (0, 2, 4, 6)
PUBLISHED = {  # columns h = 2^0, 2^-2, 2^-4, 2^-6; NaN is n/a
    "GF": (float("nan"), 4.5954, 7.0049, 10.6548),
    "HB": (3.6775, 4.5429, 7.0720, 10.6848),
    "NAG": (3.2808, 4.4579, 7.0557, 10.6814),
    "Wilson": (6.7395, 8.3491, 10.2761, 12.4123),
    "HB-mu": (5.7099, 7.6202, 9.7838, 12.1743),
    "NAG-mu": (5.6867, 7.6131, 9.7783, 12.1738),
}
SOURCE = "Kovachki & Stuart (2021), Figure 6"


def published(name: str, h: float) -> float:
    """The number of a cell; NaN for n/a and for the columns that are not known here."""
    k = round(-np.log2(h))
    return PUBLISHED[name][EXPONENTS.index(k)] if k in EXPONENTS else float("nan")


def effective_rate(name: str, h: float, momentum: float, strong_convexity: float) -> float:
    """The step of gradient descent that moves as far along the gradient flow."""
    s = np.sqrt(strong_convexity * h)
    if name == "Wilson":
        return float(np.sqrt(h / strong_convexity) / 2)
    return float(h * (1 + s) / (2 * s) if name.endswith("-mu") else h / (1 - momentum))


def rate_of_error(
    error: float, rates: Float[np.ndarray, " points"], errors: Float[np.ndarray, " points"]
) -> float:
    """Where a curve that falls reaches an error, by log-log interpolation; NaN beyond its ends."""
    order = np.argsort(errors)
    found = np.interp(
        np.log(error), np.log(errors[order]), np.log(rates[order]), left=float("nan"), right=float("nan")
    )
    return float(np.exp(found))


def strong_convexity_of(name: str, h: float, rate: float) -> float:
    """The μ at which a method has an effective rate."""
    if name == "Wilson":
        return h / (4 * rate**2)
    return float((h / (2 * rate - h)) ** 2 / h)
