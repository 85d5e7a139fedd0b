r"""The best learning rate and momentum for quadratics whose curvatures lie in $[\mu, L]$.

The roots of `characteristic_roots` lie in a disc of radius r iff (Schur; Jury) with $c = \lambda - hka$ and
$s = 1 + \lambda - hk(1+a)$

$$c \le r^2, \qquad |s| \le r + c/r.$$

Both are linear in k, so of all curvatures the smallest or the largest is the slowest, whatever lies between. Both are
linear in h, and in $\lambda$ for $a = 0$ and $a = \lambda$, so the h, or the $\lambda$, that reach a given r are an
interval.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float

from .. import _validate
from .._errors import unknown
from ..methods.momentum import MomentumMethod

KINDS = ("GD", "HB", "NAG")
_HALVINGS = 100  # more than bits between 1 and the smallest rate that matters


class Tuning(NamedTuple):
    r"""A learning rate and a momentum for a quadratic, and the rate that they reach.

    !!! warning "The rate is a quadratic's"

        With momentum it does not carry over to every loss with curvature in $[\mu, L]$. On
        `momentumflow.PiecewiseQuadratic`, $\mu = 1$, $L = 25$, heavy ball tuned by `optimal_tuning` goes through
        three points for ever (Lessard, Recht & Packard 2016, §4.6); and whatever h and $\lambda$, heavy ball either
        is no faster than $1 - O(1/\kappa)$ on quadratics or has such a loss on which it does not converge (Goujaud,
        Taylor & Dieuleveut 2023). Without momentum the rate holds on all of them: `carries_over`.

    **Fields:**

    - `learning_rate`: h.
    - `momentum`: $\lambda$.
    - `lookahead`: a: 0 for GD and HB, $\lambda$ for NAG.
    - `rate`: factor per iteration by which the distance from the minimum shrinks in the slowest direction in the
      end; of `momentumflow.average_tuning` the mean over its steps and its spectrum.

        >>> import momentumflow as mf
        >>> tuning = mf.optimal_tuning(1.0, 25.0)
        >>> round(tuning.momentum * 9, 12), tuning.carries_over
        (4.0, False)
    """

    learning_rate: ArrayLike
    momentum: ArrayLike
    lookahead: ArrayLike
    rate: ArrayLike

    @property
    def method(self) -> MomentumMethod:
        """The method, for `momentumflow.iterate`."""
        return MomentumMethod(self.learning_rate, self.momentum, self.lookahead)

    @property
    def carries_over(self) -> bool:
        r"""Whether the worst rate holds on every loss with curvature in $[\mu, L]$: without momentum."""
        return bool(np.all(np.asarray(self.momentum) == 0))


def optimal_tuning(
    smallest: ArrayLike,
    largest: ArrayLike,
    kind: str = "HB",
    *,
    learning_rate: float | None = None,
    momentum: float | None = None,
) -> Tuning:
    r"""The learning rate and the momentum with the smallest worst rate over the curvatures in $[\mu, L]$.

    With $\kappa = L/\mu$

    | | h | $\lambda$ | rate |
    |---|---|---|---|
    | GD | $2/(L+\mu)$ | 0 | $(\kappa-1)/(\kappa+1)$ |
    | HB | $4/(\sqrt L+\sqrt\mu)^2$ | rate² | $(\sqrt\kappa-1)/(\sqrt\kappa+1)$ |
    | NAG | $4/(3L+\mu)$ | $(\sqrt{3\kappa+1}-2)/(\sqrt{3\kappa+1}+2)$ | $1-2/\sqrt{3\kappa+1}$ |

    The same for a list of eigenvalues: those between the extremes never decide. Heavy ball's is the best rate of all
    methods that use gradients (Nemirovski); its optimum is a cusp, where both extremes have a double root. With
    one of h and $\lambda$ given, the other is the best for it: for heavy ball
    $\lambda = \max_{k\in\{\mu, L\}}(1-\sqrt{hk})^2$; where an interval of h is equally good, its middle.

    **Arguments:**

    - `smallest`, `largest`: $0 < \mu < L$, the extreme eigenvalues of the Hessian; they broadcast.
    - `kind`: "GD", "HB" ($a = 0$) or "NAG" ($a = \lambda$).
    - `learning_rate`: h, kept if given; below 4/L for HB, below 2/L for GD and NAG. Then $\mu$ and L are numbers.
    - `momentum`: $\lambda \in [0, 1)$, kept if given; not for GD.

    **Returns:** a `Tuning` of numbers, or of arrays for arrays.

    **Raises:** `ValueError` for values outside these ranges, an unknown kind, or both h and $\lambda$ given.

    Polyak (1964); Lessard, Recht & Packard (2016), Proposition 1; Goh (2017), "Why momentum really works".

        >>> import momentumflow as mf
        >>> h, lam, _, rate = mf.optimal_tuning(1.0, 25.0, "HB")
        >>> round(9 * h, 9), round(9 * lam, 9), round(rate, 9)
        (1.0, 4.0, 0.666666667)
        >>> round(mf.optimal_tuning(1.0, 25.0, "HB", learning_rate=0.01).momentum, 9)
        0.81
    """
    _check(smallest, largest, kind)
    if learning_rate is None and momentum is None:
        ends = np.broadcast_arrays(np.asarray(smallest, float), np.asarray(largest, float))
        found = _OPTIMA[kind](*ends)
        return Tuning(*(float(x) if x.ndim == 0 else x for x in map(np.asarray, found)))
    _check_given(smallest, largest, kind, learning_rate, momentum)
    mu, L = float(np.asarray(smallest)), float(np.asarray(largest))
    if learning_rate is not None:
        return _best_momentum(mu, L, kind, learning_rate)
    return _best_learning_rate(mu, L, kind, float(momentum or 0))


def _best_momentum(mu: float, L: float, kind: str, learning_rate: float) -> Tuning:
    x = learning_rate * np.array([mu, L])
    if kind == "GD":
        return _tuning(learning_rate, 0.0, kind, float(np.abs(1 - x).max()))
    lam, rate = _best(lambda lam, r: _outside(x, lam, kind, r), 1.0)
    return _tuning(learning_rate, lam, kind, rate)


def _best_learning_rate(mu: float, L: float, kind: str, momentum: float) -> Tuning:
    scaled, rate = _best(lambda x, r: _outside(x * np.array([mu / L, 1.0]), momentum, kind, r), np.inf)
    return _tuning(scaled / L, momentum, kind, rate)


def _gradient_descent(mu: np.ndarray, L: np.ndarray) -> Tuning:
    return Tuning(2 / (L + mu), 0 * mu, 0 * mu, (L - mu) / (L + mu))


def _heavy_ball(mu: np.ndarray, L: np.ndarray) -> Tuning:
    total = np.sqrt(L) + np.sqrt(mu)
    rate = (L - mu) / total**2  # without the difference that cancels as κ → 1
    return Tuning(4 / total**2, rate**2, 0 * mu, rate)


def _nesterov(mu: np.ndarray, L: np.ndarray) -> Tuning:
    root = np.sqrt(3 * L / mu + 1)
    excess = 3 * (L - mu) / mu / (root + 2)  # root - 2
    lam = excess / (root + 2)
    return Tuning(4 / (3 * L + mu), lam, lam, excess / root)


_OPTIMA: dict[str, Callable[[np.ndarray, np.ndarray], Tuning]] = {
    "GD": _gradient_descent,
    "HB": _heavy_ball,
    "NAG": _nesterov,
}


def _tuning(learning_rate: float, momentum: float, kind: str, rate: float) -> Tuning:
    return Tuning(learning_rate, momentum, momentum if kind == "NAG" else 0.0, rate)


def _outside(x: ArrayLike, lam: float, kind: str, r: float) -> Float[np.ndarray, " conditions"]:
    """By how much the conditions of the module's docstring fail at x = hk, the second and third times r."""
    a = lam if kind == "NAG" else 0.0
    c, s = lam - x * a, 1 + lam - x * (1 + a)
    return np.concatenate([c - r**2, s * r - r**2 - c, -s * r - r**2 - c])


def _best(outside: Callable[[float, float], np.ndarray], most: float) -> tuple[float, float]:
    """(t, r): the smallest r for which some t in [0, most] meets every condition, and the middle of those t.

    Halving r, and no descent in t: at the optimum two conditions meet in a cusp, or t is not unique.
    """
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        first, last = _interval(outside, middle, most)
        low, high = (low, middle) if first <= last else (middle, high)
    return sum(_interval(outside, high, most)) / 2, high


def _interval(outside: Callable[[float, float], np.ndarray], r: float, most: float) -> tuple[float, float]:
    """The t in [0, most] with outside(t, r) <= 0, which is affine in t."""
    start = outside(0.0, r)
    slope = outside(1.0, r) - start
    if np.any((slope == 0) & (start > 0)):
        return np.inf, -np.inf
    falling, rising = slope < 0, slope > 0
    first = np.max(-start[falling] / slope[falling], initial=0.0)
    return float(first), float(np.min(-start[rising] / slope[rising], initial=most))


def _check(smallest: ArrayLike, largest: ArrayLike, kind: str) -> None:
    if kind not in KINDS:
        raise unknown("kind of method", kind, KINDS)
    _validate.positive(
        "smallest", smallest, "leave out eigenvalues that no gradient moves (0) or that repel (< 0)"
    )
    _validate.positive("largest", largest, "it is the largest eigenvalue of the Hessian")
    if _validate.is_concrete(smallest) and _validate.is_concrete(largest):
        mu, L = np.asarray(smallest), np.asarray(largest)
        if not np.all(mu < L):
            raise ValueError(
                f"smallest must be < largest, got {mu} and {L}: they are the extreme eigenvalues; with one eigenvalue "
                "k gradient descent with h = 1/k arrives in a step"
            )


def _check_given(
    smallest: ArrayLike, largest: ArrayLike, kind: str, learning_rate: float | None, momentum: float | None
) -> None:
    if learning_rate is not None and momentum is not None:
        raise ValueError(
            f"learning_rate and momentum must not both be given, got {learning_rate} and {momentum}: nothing is left "
            "to tune; their rate is mf.convergence_factor(method, curvatures).max()"
        )
    shapes = [np.shape(x) for x in (smallest, largest, learning_rate, momentum) if x is not None]
    if any(shapes):
        raise ValueError(
            f"with one of h and λ given all values must be numbers, got shapes {shapes}: loop over them"
        )
    if momentum is not None:
        if kind == "GD":
            raise ValueError(f"momentum must not be given for GD, got {momentum}: it has none; use HB or NAG")
        _validate.momentum_factor("momentum", momentum)
    if learning_rate is not None:
        _validate.positive("learning_rate", learning_rate, "it is the size of a step")
        limit = (4 if kind == "HB" else 2) / largest
        if not learning_rate < limit:
            raise ValueError(
                f"learning_rate must be < {limit:g} = {limit * largest:g}/largest, got {learning_rate}: no momentum "
                f"makes {kind} converge beyond; reduce it"
            )
