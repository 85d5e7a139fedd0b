"""Errata of Kovachki & Stuart (2021), (36), of the poster on Qian (1999), and of Ghosh et al. (2023)."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.integrate import solve_ivp
from scipy.signal import lfilter

import momentumflow as mf

from ._errata import Row, path
from ._lockstep import distances

_GHOSH = "[G] Remarks"


def rows(draws: int, seed: int) -> list[Row]:
    """(36); E = wᵀAw; the covariance of G_k and the expectation of IGRM-S."""
    return [*_splitting(), _poster(), *_variance(draws, seed), *_regulariser(draws, seed)]


def _splitting() -> list[Row]:
    """(36): what is left of v after a step without force, and the order of its distance to HB-μ."""
    h = 2.0**-4
    kept = solve_ivp(lambda _, v: -2 * v, (0, math.sqrt(h)), [1.0], rtol=1e-11, atol=1e-13).y[0, -1]
    forms, see = ("e^{-2√μ h}", "e^{-2√(μh)}"), "strongly-convex"
    printed, right = math.exp(-2 * h), math.exp(-2 * math.sqrt(h))
    what, route = "factor on v of a step without force, μ = 1", "v̇ = -2√μ v over t = √h, h = 2^-4"
    factor = Row("[KS] (36)", what, forms, printed, right, float(kept), 1e-8, route, see=see)
    printed, right = (_order_of_splitting(p) for p in (True, False))
    what, route = "order in h of HB-μ to (36), Φ = u²", "Kovachki & Stuart (2021), Figure 7: ½"
    return [factor, Row("[KS] (36)", what, forms, printed, right, 0.5, 0.02, route, see=see)]


def _order_of_splitting(printed: bool) -> float:
    problem = mf.Quadratic([2.0])

    def loss(params: Float[Array, " d"], batch: Float[Array, " 1"]) -> Float[Array, ""]:
        return problem(params)

    largest = []
    for h in (4.0**-8, 4.0**-9):
        methods = (mf.wilson_splitting(h, 1.0, printed), mf.heavy_ball_strongly_convex(h, 1.0))
        counts = jnp.array([round(4 / math.sqrt(h))])
        largest.append(float(distances(methods, loss, jnp.ones(1), jnp.zeros((1, 1)), counts)[0, 0]))
    return math.log(largest[0] / largest[1]) / math.log(4)


def _poster() -> Row:
    """Growth per step along k = 30 of the poster's experiment, m = 2, friction 4, Δt = ½."""
    method = mf.from_physical(2.0, 4.0, 0.5)
    h, p = float(method.learning_rate), float(method.momentum)
    printed, right = (_growth(path("HB", h, p, mf.Quadratic([k]))[0]) for k in (60.0, 30.0))
    what, forms = "growth per step along k = 30, Δt = ½", ("E = wᵀAw", "E = ½wᵀAw")
    route, see = "the poster's Figure 4 converges", "poster-figure-4"
    return Row("[Q] experiment", what, forms, printed, right, 1.0, 0.0, route, "at most", see)


def _growth(u: np.ndarray) -> float:
    early, late = (np.abs(u[n : n + 32]).max() for n in (224, 480))
    return float((late / early) ** (1 / 256))


def _averaged(beta: float, mean: float, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mini-batch gradients of variance 1 and G_k = Σ_{r≤k} β^{k-r}∇E_r, its start left out."""
    gradients = mean + np.random.default_rng(seed).standard_normal(draws)
    return gradients, lfilter([1.0], [1.0, -beta], gradients)


def _variance(draws: int, seed: int) -> list[Row]:
    """Cov(G_k) over Cov(∇E_k), β = 0.7."""
    beta = 0.7
    gradients, averaged = _averaged(beta, 0.0, draws, seed)
    ratio = float(averaged[100:].var() / gradients.var())
    printed, raw = (1 - beta) / (1 + beta), 1 / (1 - beta**2)
    forms, route, see = ("(1-β)/(1+β)", "1/(1-β²)"), f"{draws} random draws", "slides-variance"
    of_raw, of_scaled = "Cov(G_k)/Cov(∇E_k), β = 0.7", "Cov((1-β)G_k)/Cov(∇E_k), β = 0.7"
    scaled = (1 - beta) ** 2 * ratio
    return [
        Row(_GHOSH, of_raw, forms, printed, raw, ratio, 0.05, route, see=see),
        Row(_GHOSH, of_scaled, ("", "(1-β)/(1+β)"), math.nan, printed, scaled, 0.005, route, see=see),
    ]


def _regulariser(draws: int, seed: int) -> list[Row]:
    """(1-β)E|∇G_k|² + 2Σ_{r<k} β^{k-r}|∇G_r|² over E|∇E_k|², β = 0.7."""
    beta, found = 0.7, []
    for mean in (1.0, 0.0):
        gradients, averaged = _averaged(beta, mean, draws, seed)
        squares = averaged**2
        history = beta * lfilter([1.0], [1.0, -beta], squares)[:-1]
        regulariser = (squares[1:] + 2 * history)[200:].mean()
        ratio = float((1 - beta) * regulariser / (gradients**2).mean())
        right = ((1 + beta) / (1 - beta) ** 2 * mean**2 + 1 / (1 - beta)) / (mean**2 + 1)
        # where the mean gradient vanishes the two forms are one
        printed = 1 / (1 - beta) if mean else math.nan
        what = f"E[IGRM_S]/E[IGR_S], β = 0.7, E∇E_k = {mean:g}, variance 1"
        forms = ("1/(1-β)", "((1+β)|g|²/(1-β)² + σ²/(1-β))/(|g|²+σ²)" if mean else "1/(1-β)")
        route, see = f"{draws} random draws", "slides-variance"
        found.append(Row(_GHOSH, what, forms, printed, right, ratio, 0.04 * right, route, see=see))
    return found
