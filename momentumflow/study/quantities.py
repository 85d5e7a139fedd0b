"""The numbers of an analysis, each with its name, symbol and unit, or with the reason why it has no value."""

import math
from typing import NamedTuple

from ..methods.linear_memory import AbstractLinearMemory
from ..methods.momentum import MomentumMethod
from .curvature import Curvature
from .local_models import Slow
from .modes import Mode, number

_NO_FAMILY = "known in closed form for the family (7) only"
NO_FLOW = "the method has no slow flow: its constants vary with n, or its memory never fades"
_THEOREM_3 = ("Theorem 3's condition", "(1-λ)²/2α")
_NO_CURVATURE = "there is no positive curvature here"


class Quantity(NamedTuple):
    """A number with its name, symbol and unit; None with the reason in `note` where it has no value."""

    name: str
    symbol: str
    value: float | None
    unit: str = ""
    note: str = ""


def of_curvature(found: Curvature) -> tuple[Quantity, ...]:
    density, k = "loss/params²", "k"
    residual = f"± {found.largest_residuals[0]:.2g}"
    return (
        Quantity("loss", "Φ", found.loss, "loss"),
        Quantity("gradient", "|∇Φ|", found.gradient_norm, "loss/params"),
        Quantity("sharpness", f"{k}₁", found.sharpness, density, residual),
        Quantity("smallest curvature", "k_d", found.smallest, density, f"± {found.smallest_residual:.2g}"),
        Quantity(
            "trace", "tr H", found.trace, density, f"± {found.trace_error:.2g}, {found.dimension} parameters"
        ),
        _or_reason(
            "curvature along the gradient", "k(∇Φ)", found.along_gradient, density, "the gradient is 0"
        ),
        _or_reason("curvature along the velocity", "k(v)", found.along_velocity, density, "at rest"),
    )


def of_stability(method: AbstractLinearMemory, found: Curvature, limit: float) -> tuple[Quantity, ...]:
    positive = found.sharpness > found.rounding
    margin = limit / found.sharpness if positive else None
    largest = None
    if positive and isinstance(method, MomentumMethod):
        largest = number(method.learning_rate) * limit / found.sharpness
    why = _NO_FAMILY if positive else _NO_CURVATURE
    return (
        Quantity("stability limit", "K", limit, "loss/params²", "stable iff the sharpness is below"),
        Quantity("margin", "K/k₁", margin, "", "" if positive else _NO_CURVATURE),
        Quantity(
            "largest stable learning rate",
            "h_max",
            largest,
            "params²/loss",
            "at this λ and a" if largest else why,
        ),
    )


def of_time(slow: Slow | None, layer: float, seen: tuple[Mode, ...]) -> tuple[Quantity, ...]:
    late = None if slow is None else slow.force / slow.effective
    converging = [mode.time_constant for mode in seen if mode.curvature > 0 and mode.factor < 1]
    return (
        Quantity(
            "effective learning rate",
            "hλ̄",
            None if slow is None else slow.effective,
            "params²/loss",
            NO_FLOW if slow is None else "step of gradient descent that moves alike, past the layer",
        ),
        Quantity("layer", "-1/log λ", layer, "iterations", "the transient shrinks e-fold"),
        Quantity(
            "lag", "λ/(1-λ)", late, "iterations", NO_FLOW if slow is None else "behind the flow, from rest"
        ),
        Quantity(
            "slowest mode shown",
            "-1/log|ρ|",
            max(converging, default=None),
            "iterations",
            "to shrink e-fold" if converging else "no mode shown converges",
        ),
    )


def of_regularizer(slow: Slow | None, found: Curvature, beyond: bool) -> tuple[Quantity, ...]:
    if slow is None:
        return (Quantity("implicit regulariser", "½hc|∇Φ|²", None, "loss", NO_FLOW),)
    weight = slow.time_step * slow.regularization
    size = weight * found.gradient_norm**2 / 2
    share = size / abs(found.loss) if found.loss else None
    told = "holds where hk is below x₋, not in the steepest directions here" if beyond else ""
    return (
        Quantity("implicit regulariser", "½hc|∇Φ|²", size, "loss", f"c = {slow.regularization:.4g}"),
        Quantity("its share of the loss", "½hc|∇Φ|²/|Φ|", share, "", told if found.loss else "the loss is 0"),
    )


def of_limits(
    family: MomentumMethod | None, x: float | None, limits: tuple[float, float]
) -> tuple[Quantity, ...]:
    names = (
        ("largest h|k|", "h max|k|", x, "what the limits below are compared with"),
        ("slow flow limit", "x₋", limits[0], "slow flows (8), (20) for h max|k| below"),
        ("flow limit", "x₊", limits[1], "a flow on (u, v) through the iterates for h max|k| below"),
    )
    if family is None:
        unknown = (*names, _THEOREM_3)
        return tuple(Quantity(name, symbol, None, "", _NO_FAMILY) for name, symbol, *_ in unknown)
    alpha, lam = number(family.inertia), number(family.momentum)
    bound = (1 - lam) ** 2 / (2 * alpha) if alpha > 0 else None
    note = "h max|k| below: necessary for Theorem 3, B₁ ≥ max|k|" if bound else "α ≤ 0: (11) has no mass"
    return (
        *(Quantity(name, symbol, value, "", note) for name, symbol, value, note in names),
        Quantity(*_THEOREM_3, bound, "", note),
    )


def _or_reason(name: str, symbol: str, value: float, unit: str, reason: str) -> Quantity:
    known = math.isfinite(value)
    return Quantity(name, symbol, value if known else None, unit, "" if known else reason)


def name_of(method: AbstractLinearMemory) -> str:
    """A method's name and constants."""
    if not isinstance(method, MomentumMethod):
        return type(method).__name__
    h, lam, a = (number(x) for x in (method.learning_rate, method.momentum, method.lookahead))
    name = (
        "gradient descent" if lam == a == 0 else "heavy ball" if a == 0 else "Nesterov" if a == lam else "(7)"
    )
    constants = (
        {"h": h} | ({"λ": lam} if name != "gradient descent" else {}) | ({"a": a} if name == "(7)" else {})
    )
    return f"{name}, " + ", ".join(f"{symbol} = {value:.6g}" for symbol, value in constants.items())
