"""Errata of Kovachki & Stuart (2021), §3 and §4: the continuous models."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import momentumflow as mf

from ..linear.higher_order import higher_order_roots
from . import _quadratic as quadratic
from . import _remainder as section_3_2_2
from ._errata import STEPS, Row, path
from ._remainder import taylor_remainder

_ONE = jnp.ones(1)
_LINE = mf.Quadratic([1.0])
VELOCITIES = ("printed", "taylor", "slow")
_VELOCITY_FORMS = ("(1-2α)/(2α-λ+1)", "(2α-1)/(2α+λ-1)")


def rows() -> list[Row]:
    """(19), the text before (22), (12), Theorem 3, (13) and its remainder, LT_n and G of Appendix B."""
    models = [*_modified_loss(), _second_derivative(), *_initial_velocity(), _layer(), _unstable()]
    return [*models, _remainder_of_13(), _truncation(), _lemma_8()]


def _modified_loss() -> list[Row]:
    """c from the slow root of (15) on Φ = u²/2: -log ρ/h = λ̄ + hλ̄c + O(h²)."""
    found = []
    for name, lam in (("HB", 0.5), ("NAG", 0.5), ("HB", 0.0)):
        h, bar = 2.0**-12, 1 / (1 - lam)
        u, half = path(name, h, lam)[0], STEPS // 2
        measured = (math.log(u[half] / u[-1]) / (half * h) - bar) / (h * bar)
        right, printed = map(float, _constants_of_flow(quadratic.method(name, h, lam)))
        what = f"c of {name} at λ = ½" if lam else "c of gradient descent"
        route = "decay of the iterates on u²/2, h = 2^-12"
        forms = ("c = λ̄(λ̄-a+½)", "c = λ̄(λ̄-a-½)")
        found.append(
            Row("[KS] (19)", what, forms, printed, right, measured, 0.02, route, see="paper-theorem-6")
        )
    return found


@eqx.filter_jit
def _constants_of_flow(method: mf.MomentumMethod) -> Float[Array, "2"]:
    """c of the library's flow (20), right and printed: at u = 1 on u²/2 it is u̇ = -λ̄(1 + hc)."""

    def constant(printed: bool) -> Float[Array, ""]:
        (field,) = mf.SlowFlow(method, printed=printed).field(_LINE)(jnp.zeros(()), (_ONE,))
        return (-field[0] / method.amplification - 1) / method.learning_rate

    return jnp.stack([constant(False), constant(True)])


def _second_derivative() -> Row:
    """ü along u̇ = λ̄f for f = -sin u at u = 1, λ = ½: a difference quotient of λ̄f along the flow."""
    bar, step = 2.0, 1e-5
    velocity = -bar * math.sin(1.0)
    measured = -bar * (math.sin(1 + step * velocity) - math.sin(1 - step * velocity)) / (2 * step)
    gradient = math.sin(2.0)  # of |∇Φ|² = sin²u
    right = bar**2 * gradient / 2
    route = "difference quotient along the flow of 1 - cos u"
    what, forms = "ü on (8), f = -sin u, u = 1, λ = ½", ("ü = -½λ̄²∇|∇Φ|²", "ü = +½λ̄²∇|∇Φ|²")
    return Row("[KS] before (22)", what, forms, -right, right, measured, 1e-6, route)


def _initial_velocity() -> list[Row]:
    """(12): the Taylor criterion, and the error of (11) with each velocity."""
    lam, alpha = 0.9, 0.95

    def residual(s: float) -> float:
        """u₀ + hu̇ + ½h²ü less u₁, over h: u̇ = s, ü = (1-(1-λ)s)/(hα)."""
        return s + (1 - (1 - lam) * s) / (2 * alpha) - 1

    solved = residual(0.0) / (residual(0.0) - residual(1.0))
    velocity = _velocities("HB", lam)
    taylor = Row(
        "[KS] (12)",
        "u̇(0)/f by Taylor's criterion, HB, λ = 0.9",
        _VELOCITY_FORMS,
        velocity["printed"],
        velocity["taylor"],
        solved,
        1e-12,
        "Taylor's condition solved as it stands",
        see="paper-figure-4",
    )
    error = {name: _error("HB", velocity[name], 2.0**-8) for name in ("printed", "taylor")}
    gain = Row(
        "[KS] (12)",
        "HB, h = 2^-8: error of (11) as printed over corrected",
        _VELOCITY_FORMS,
        math.nan,
        error["printed"] / error["taylor"],
        30.0,
        0.0,
        "an independent computation: 30 times smaller",
        "at least",
        "paper-figure-4",
    )
    return [taylor, gain]


def _velocities(name: str, lam: float) -> dict[str, float]:
    """u̇(0)/f(u₀) from rest, as the library's momentum ODE takes it."""
    found = _initial_states(quadratic.method(name, 2.0**-8, lam))
    return dict(zip(VELOCITIES, map(float, found), strict=True))


@eqx.filter_jit
def _initial_states(method: mf.MomentumMethod) -> Float[Array, "3"]:
    flows = [mf.MomentumODE(method, velocity) for velocity in VELOCITIES]
    return jnp.stack([-flow.initial_state(_LINE, _ONE, "rest")[1][0] for flow in flows])


def _inertia(name: str, lam: float) -> float:
    """α of (11)."""
    return float(quadratic.method(name, 1.0, lam).inertia)


def _error(name: str, velocity: float, h: float, lam: float = 0.9) -> float:
    """max |u_n - u(nh)| of (11) on u²/2, by its two roots."""
    mass = h * _inertia(name, lam) / (1 - lam)
    start = (1.0, (1 - lam) * velocity)
    exact = quadratic.closed_form(h * np.arange(STEPS + 1), (1 / (1 - lam),), start, mass)
    return float(np.abs(path(name, h, lam)[0] - exact[:, 0]).max())


def layer_constants() -> tuple[np.ndarray, np.ndarray]:
    """max |u_n - u(nh)|/(h|f|) in the layer, λ = 0.9: measured at h = 2^-16, and its limit; (method, velocity)."""
    h, lam = 2.0**-16, 0.9
    cells = [(name, velocity) for name in quadratic.METHODS for velocity in _velocities(name, lam).values()]
    measured = [_error(name, velocity, h) / h for name, velocity in cells]
    limits = [_layer_limit(name, velocity, lam) for name, velocity in cells]
    return np.reshape(measured, (2, 3)), np.reshape(limits, (2, 3))


def _layer_limit(name: str, velocity: float, lam: float) -> float:
    """The same for h → 0, where f is constant: v_n = λ̄(1-λⁿ)f, and (11) has the layer e^{-n(1-λ)/α}."""
    n, bar, alpha = np.arange(STEPS + 1), 1 / (1 - lam), _inertia(name, lam)
    method = -(bar**2) * lam * (1 - lam**n)
    model = (velocity - bar) * bar * alpha * -np.expm1(-n / (bar * alpha))
    return float(np.abs(method - model).max())


def _layer() -> Row:
    """Theorem 3 for NAG: how v - λ̄f decays."""
    h, lam = 2.0**-30, 0.9
    u, v = path("NAG", h, lam)
    off = v + u / (1 - lam)
    measured = (off[64] / off[0]) ** (1 / 64)
    printed = math.exp(-(1 - lam) / _inertia("NAG", lam))
    route = "v_n - λ̄f(u_n) at h = 2^-30"
    what, forms = "NAG, λ = 0.9: decay of the layer per step", ("e^{-(1-λ)/α} by (11)", "λ for every a")
    return Row("[KS] Theorem 3", what, forms, printed, lam, measured, 1e-4, route)


def growth(terms: int, lam: float = 0.9) -> np.ndarray:
    """Re σ of the modes of (13) with f = 0, in units of 1/h, σ = 0 left out; largest first."""
    roots = higher_order_roots(terms, lam)
    return roots[roots != 0].real


def _unstable() -> Row:
    """(13): the number of growing modes; the fewest at p = 5, the most at p ≤ 4, over λ."""
    momenta = np.linspace(0, 0.99, 100)
    count = {p: [int((growth(p, lam) > 1e-9).sum()) for lam in momenta] for p in (2, 3, 4, 5)}
    fewest, usable = float(min(count[5])), float(max(map(max, (count[2], count[3], count[4]))))
    route = "a mode that grows like e^{ct/h} is no limit; the Routh array has two sign changes at p = 5"
    what, forms = "growing modes of (13), f = 0, any λ", ("p → ∞; the first is p = 5", "p ≤ 4")
    return Row("[KS] (13)", what, forms, fewest, usable, 0.0, 0.0, route, "at most")


def _remainder_of_13() -> Row:
    """§3.2.2: u_{n+1} - u_n - λ(u_n - u_{n-1}) less (13) for u = e^t, p = 3."""
    data = section_3_2_2.slips().sel(p=3)
    printed, right = data["remainder_form"].values
    what, forms = "remainder of (13), u = e^t, p = 3", ("I⁺ - λI⁻", "I⁺ + λI⁻, for I⁻ as defined there")
    exact = float(data["remainder"])
    return Row("[KS] §3.2.2", what, forms, printed, right, exact, 1e-12, "both sides as they stand")


def _truncation() -> Row:
    """LT_n for f = -u along the slow mode e^{rt} of (11), at t = 0; f is linear, so I^f = 0."""
    h, lam = 0.002, 0.9
    a, alpha = lam, (1 + lam - 2 * lam * (1 - lam)) / 2
    r = (-(1 - lam) + math.sqrt((1 - lam) ** 2 - 4 * h * alpha)) / (2 * h * alpha)
    back = -math.expm1(-r * h)
    exact = math.expm1(r * h) - lam * back + h * (1 + a * back)
    plus, minus = 2 * taylor_remainder(2, h, r), 2 * taylor_remainder(2, -h, r)
    rest = h**3 / 2 * (plus - lam * minus) - (h**3 * a * r**2 / 2 - h**4 * a * minus / 2)
    mass = h**3 * a * alpha * r**3
    return Row(
        "[KS] Appendix B",
        "LT_n of NAG, slow mode of (11), f = -u",
        ("-½h³aα u⃛", "-h³aα u⃛"),
        rest - mass / 2,
        rest - mass,
        exact,
        1e-9 * abs(exact),
        "(7) applied to that mode",
    )


def _lemma_8() -> Row:
    """G of the proof of Lemma 8, for f = -sin u: ż + (1-λ)z/(hα) + λ̄f'z, z = ẇ, by a difference quotient."""
    lam, h, alpha, u, v, step = 0.5, 0.5, 0.75, 1.0, 0.3, 1e-5
    bar = 1 / (1 - lam)

    def w(u: float, v: float) -> float:
        return (1 - lam) * v + math.sin(u)

    def z(u: float, v: float) -> float:
        return -(1 - lam) / (h * alpha) * w(u, v) + bar * math.cos(u) * (w(u, v) - math.sin(u))

    push = -w(u, v) / (h * alpha)
    ahead, behind = (z(u + s * v, v + s * push) for s in (step, -step))
    exact = (ahead - behind) / (2 * step) + ((1 - lam) / (h * alpha) - bar * math.cos(u)) * z(u, v)
    f, df, ddf = -math.sin(u), -math.cos(u), math.sin(u)
    common = df * df * v + ddf * v * w(u, v)
    printed, right = -bar * (common + ddf * df * v * f), -bar * (common + ddf * v * f)
    route = "difference quotient along (11)"
    what, forms = "G(u, v, w) of its proof, f = -sin u", ("… + D²f[Df v, f]", "… + D²f[v, f]")
    return Row("[KS] Lemma 8", what, forms, printed, right, exact, 1e-6, route)
