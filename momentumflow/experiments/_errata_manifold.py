"""Errata of Kovachki & Stuart (2021), §4 and Appendix C: the invariant manifold."""

import math

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike
from scipy.optimize import brentq

import momentumflow as mf

from ..theory.appendix_c import largest_correction
from ._errata import Row, path

_BOUNDS = mf.Bounds(1.0, 1.0, 1.0)
_CASES = 2000


def rows(seed: int) -> list[Row]:
    """(15), Lemma 9, Theorem 5 and Figure 5."""
    return [_one_step(), *_lemma_9(seed), _theorem_5(), _figure_5()]


def _one_step() -> Row:
    """(15): u₂ of Nesterov for f = -u, against the recursion (7)."""
    h, lam = 0.1, 0.9
    alpha = (1 + lam - 2 * lam * (1 - lam)) / 2

    def second(a: float) -> float:
        u, v = 1.0, 0.0
        for _ in range(2):
            v = lam * v - (u + h * a * v)
            u += h * v
        return u

    u1 = 1 - h
    step = u1 - 1
    recursion = u1 + lam * step - h * (u1 + lam * step)
    what, forms = "u₂ of NAG, f = -u, λ = 0.9, h = 0.1", ("f(u_n + hαv_n)", "f(u_n + hav_n)")
    return Row("[KS] (15)", what, forms, second(alpha), second(lam), recursion, 1e-12, "the recursion (7)")


def _lemma_9(seed: int) -> list[Row]:
    """τ₁ against the smallest γ of (38), and (38) on random cases."""
    h, lam, a = 0.002, 0.9, 0.9
    method = mf.momentum_method(h, lam, a)
    printed, right = (float(largest_correction(_BOUNDS, method, p)) for p in (True, False))
    solved = brentq(lambda gamma: _excess_of_38(gamma, _BOUNDS, h, lam, a), 0.0, 1e6, xtol=1e-9)
    forms = ("1-λ+hB₁(a+λλ̄) below", "1-λ-hB₁(a+λλ̄) below")
    what = "τ₁ of NAG, λ = 0.9, B₀ = B₁ = 1"
    smallest = Row("[KS] Lemma 9", what, forms, printed, right, solved, 1e-6, "(38) solved for γ")
    rng = np.random.default_rng(seed)
    bounds = mf.Bounds(*rng.uniform(0.1, 3.0, (3, _CASES)))
    momentum, lookahead = rng.uniform(0.05, 0.98, _CASES), rng.uniform(0, 1.2, _CASES)
    limit = (1 - momentum) / (np.asarray(bounds.B1) * (lookahead + momentum / (1 - momentum)))
    case = (bounds, limit * rng.uniform(0.001, 0.99, _CASES), momentum, lookahead)
    method = mf.momentum_method(*case[1:])
    printed, right = (_share(largest_correction(bounds, method, p), case) for p in (True, False))
    what = f"share of {_CASES} random cases where τ₁ satisfies (38)"
    return [smallest, Row("[KS] Lemma 9", what, forms, printed, right, 1.0, 0.0, "Lemma 9 says all")]


def _share(gamma: ArrayLike, case: tuple) -> float:
    gamma = np.asarray(gamma)
    return float(np.mean(_excess_of_38(gamma, *case) <= 1e-9 * gamma))


def _excess_of_38(
    gamma: ArrayLike, bounds: mf.Bounds, h: ArrayLike, lam: ArrayLike, a: ArrayLike
) -> np.ndarray:
    """Left-hand side of (38) less its right-hand side."""
    gamma, h, lam, a, B0, B1 = map(np.asarray, (gamma, h, lam, a, bounds.B0, bounds.B1))
    bar = 1 / (1 - lam)
    return np.asarray((lam + h * B1 * (a + lam * bar)) * gamma + bar * B0 * B1 * (a + bar) - gamma)


def _theorem_5() -> Row:
    """The bound on e_{n+1}/e_n on Φ = 1 - cos u, so near 0 that its graph is v = s(1)u to 1e-15."""
    h, lam = 6.69e-3, 0.5
    found = eqx.filter_jit(mf.manifold_constants)(_BOUNDS, mf.heavy_ball(h, lam))
    u, v = path("HB", h, lam, mf.Cosine(), 1e-5)
    root = np.roots([1.0, -(1 + lam - h), lam]).real.max()
    off = np.abs(v - (1 - 1 / root) / h * u)
    measured = float((off[20] / off[0]) ** (1 / 20))
    what, forms = "bound on e_{n+1}/e_n, Φ = 1 - cos u, HB, λ = ½", ("λ+h²λδ", "(λ+haB₁)(1+hK₂)")
    rates, route = (float(found.printed_rate), float(found.rate)), "e_n of the iterates, h = 0.00669"
    return Row("[KS] Theorem 5", what, forms, *rates, measured, 0.0, route, "at least", "paper-theorem-5")


def _figure_5() -> Row:
    """The decay per step of e_n with the figure's h and λ, in the direction k = 20."""
    h, lam, k = 2.0**-6, 0.9, 20.0
    u, v = path("HB", h, lam, mf.Quadratic([k]))
    e = np.abs(v + (k / (1 - lam) + h * k**2 / (1 - lam) ** 3) * u)
    n = np.arange(400)
    measured = math.exp(np.polyfit(n, np.log(e[:400]), 1)[0])
    what, forms = "decay of e_n per step, HB, κ = 20", ("λ, as for a graph", "√λ: no graph exists")
    route, see = "e_n (34) of the iterates", "paper-figure-5"
    return Row("[KS] Figure 5", what, forms, lam, math.sqrt(lam), measured, 2e-3, route, see=see)
