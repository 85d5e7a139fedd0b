"""What an analysis comes to, in sentences, each with the number that it rests on."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..linear.tuning import optimal_tuning
from ..methods.linear_memory import AbstractLinearMemory
from ..methods.momentum import MomentumMethod, RescaledGradientDescent
from .curvature import Curvature
from .local_models import INERTIAL, MOMENTUM_ODE, PHASE, PRINCIPAL, RESCALED, SLOW, ModelError, Slow
from .modes import Mode, number

EDGE = 0.1
"""Relative distance from the stability limit within which a method is at the edge of stability."""
HEADROOM = 2.0
"""Share of the largest stable h that is suggested where training may sharpen the loss: one over this."""
GROWTH = 2.0
"""By how much h is raised at a time, on the word of one point."""

_KIND_SENTENCES = {
    "zero": "The Hessian is zero: the loss is affine here. Every method of the family moves by hλ̄ a step and is "
    "stable; sharpness, regimes, limits of models and a tuning have no value.",
    "positive": "No negative curvature was found: the loss is convex here as far as {depth} Krylov vectors see, and "
    "what is said of quadratics holds near a minimum.",
    "semidefinite": "The smallest curvature is 0 up to rounding: flat directions, along which no rate and no tuning "
    "exist. Stability and the regimes of the curved directions hold.",
    "indefinite": "The Hessian is indefinite: directions of negative curvature escape instead of converging. "
    "Stability, regimes and models hold for the positive part; a rate of convergence and a best tuning do not exist.",
    "negative": "No positive curvature was found: near a maximum every direction escapes, whatever h and λ. Stability "
    "limits say nothing here; the effective learning rate and the models do.",
}


class Finding(NamedTuple):
    """A sentence, the name of the number behind it, and the number; NaN where the sentence says that there is none."""

    name: str
    text: str
    value: float


class Suggestion(NamedTuple):
    """A learning rate and a momentum; the rate per iteration that a quadratic then has, or None; and why."""

    learning_rate: float
    momentum: float
    rate: float | None
    reason: str


def trusted(
    method: AbstractLinearMemory,
    models: tuple[ModelError, ...],
    stable: bool,
    x: float | None,
    limits: tuple[float, float],
) -> tuple[str | None, str]:
    """The model that follows the method best here, and why; None where none does."""
    if not stable:
        return None, "the steepest direction grows with the iterations: a model of it follows a divergence"
    if x is None:
        slow = next(model for model in models if model.model == SLOW)
        if slow.relative is not None and slow.relative < EDGE:
            return SLOW, "its next term is small; where its series converges is known for the family (7) only"
        return (
            None,
            "the next term of the slow flow is not small, and no other is stated outside the family (7)",
        )
    if x < limits[0]:
        return SLOW, f"h max|k| = {x:.3g} is below x₋ = {limits[0]:.3g}: every direction has its slow flow"
    smooth = [m for m in models if m.model in (INERTIAL, PHASE) and m.holds and m.drift is not None]
    if smooth:
        best = min(smooth, key=lambda m: m.drift or 0.0)
        return best.model, (
            f"h max|k| = {x:.3g} is beyond x₋ = {limits[0]:.3g}, where slow flows fail at every order, and below "
            f"x₊ = {limits[1]:.3g}, up to which a flow on (u, v) passes through the iterates"
        )
    return PRINCIPAL, (
        f"h max|k| = {x:.3g} is beyond max(x₋, x₊) = {max(limits):.3g}: no flow passes through the iterates; the "
        "principal flow passes through every second one (every_second=True)"
    )


def suggest(method: AbstractLinearMemory, curvature: Curvature, limit: float) -> Suggestion | str:
    """An (h, λ) for this spectrum, or the reason why there is none."""
    if not isinstance(method, MomentumMethod | RescaledGradientDescent):
        return "a tuning is known for the family (7) only"
    if curvature.sharpness <= curvature.rounding:
        return "without positive curvature no learning rate is the largest"
    h, lam = number(method.learning_rate), number(method.momentum)
    mu, L = curvature.smallest, curvature.sharpness
    if curvature.kind == "positive" and curvature.smallest_converged and mu < L * (1 - curvature.tolerance):
        kind = _kind_of(method)
        best = optimal_tuning(mu, L, kind)
        return Suggestion(
            number(best.learning_rate),
            number(best.momentum),
            number(best.rate),
            f"the best {kind} for a quadratic with curvature in [{mu:.3g}, {L:.3g}]"
            + ("" if best.carries_over else "; with momentum the rate need not carry over to other losses"),
        )
    stable = h * limit / L
    return Suggestion(
        min(stable / HEADROOM, GROWTH * h),
        lam,
        None,
        f"at most half of the largest stable h = {stable:.3g} at this λ, as the sharpness may rise in training, and at "
        "most twice the present h; a spectrum that touches 0 or is negative has no optimal tuning",
    )


def _kind_of(method: MomentumMethod | RescaledGradientDescent) -> str:
    if isinstance(method, RescaledGradientDescent) or number(method.momentum) == 0:
        return "GD"
    return "NAG" if number(method.lookahead) == number(method.momentum) else "HB"


def findings(
    curvature: Curvature,
    depth: int,
    limit: float,
    modes: tuple[Mode, ...],
    slow: Slow | None,
    layer: float,
    models: tuple[ModelError, ...],
    trust: tuple[str | None, str],
    numbers: Mapping[str, float | None],
) -> tuple[Finding, ...]:
    """The sentences, the most urgent first."""
    found = [_stability(curvature, limit, modes)] if curvature.sharpness > curvature.rounding else []
    found.append(Finding("kind", _KIND_SENTENCES[curvature.kind].format(depth=depth), curvature.smallest))
    found += _unconverged(curvature)
    if slow is not None and layer > 0:
        lag = slow.force / slow.effective
        text = (
            f"Where the curvature is small the method moves, past an initial layer of about {layer:.3g} iterations, "
            f"like gradient descent with step {slow.effective:.4g}, {lag:.3g} iterations late."
        )
        found.append(Finding("effective learning rate", text, slow.effective))
    found += _regimes(modes, curvature.rounding)
    found += _models(models, trust, layer > 0)
    found += _theorem_3(numbers, models)
    return tuple(found)


def _theorem_3(numbers: Mapping[str, float | None], models: tuple[ModelError, ...]) -> list[Finding]:
    x, bound = numbers["largest h|k|"], numbers["Theorem 3's condition"]
    ode = next((model for model in models if model.model == MOMENTUM_ODE and model.holds is not None), None)
    if ode is None or x is None or bound is None:
        return []
    compared = f"h max|k| = {x:.3g} is {'within' if ode.holds else 'beyond'} (1-λ)²/(2α) = {bound:.3g}"
    text = (
        f"Theorem 3, that the momentum ODE (11) is O(h) close, may apply: {compared}, as its B₁ ≥ max|k| must be."
        if ode.holds
        else f"Theorem 3, that the momentum ODE (11) is O(h) close, does not apply: {compared}."
    )
    return [Finding("Theorem 3's condition", text, bound)]


def _stability(curvature: Curvature, limit: float, modes: tuple[Mode, ...]) -> Finding:
    share = curvature.sharpness / limit if limit > 0 else np.inf
    numbers = (
        f"the sharpness {curvature.sharpness:.4g} is {100 * share:.3g} % of the stability limit {limit:.4g}"
    )
    if limit <= 0:
        text = "Unstable for every positive curvature: the method has no stability limit."
    elif share > 1:
        growth = f"{modes[0].factor:.4g}" if modes else "more than 1"
        text = (
            f"Unstable: {numbers}; the steepest direction grows by a factor {growth} an iteration. Reduce h."
        )
    elif share > 1 - EDGE:
        text = f"At the edge of stability: {numbers}."
    else:
        text = f"Stable: {numbers}, a margin of a factor {1 / share:.3g}."
    return Finding("sharpness over its limit", text, share)


def _unconverged(curvature: Curvature) -> list[Finding]:
    late = int((~curvature.converged).sum())
    if not late and curvature.smallest_converged:
        return []
    worst = max(float(curvature.largest_residuals.max()), curvature.smallest_residual)
    which = [f"{late} of the {len(curvature.largest)} largest eigenvalues"] if late else []
    which += [] if curvature.smallest_converged else ["the smallest eigenvalue"]
    text = (
        f"Lanczos has not settled {' and '.join(which)}: residual {worst:.3g}, relative "
        f"{worst / curvature.radius:.2g}. Increase depth."
    )
    return [Finding("largest residual", text, worst)]


def _regimes(modes: tuple[Mode, ...], rounding: float) -> list[Finding]:
    curved = [mode for mode in modes if mode.curvature > rounding]
    if not curved:
        return []
    counts = {mode.regime: 0 for mode in curved}
    for mode in curved:
        counts[mode.regime] += 1
    told = ", ".join(f"{number} {regime}" for regime, number in counts.items())
    text = f"Of the {len(curved)} modes of positive curvature shown: {told}."
    slowest = max(curved, key=lambda mode: mode.time_constant if mode.factor < 1 else 0.0)
    if slowest.factor < 1:
        text += (
            f" The slowest of them, k = {slowest.curvature:.3g}, takes {slowest.time_constant:.3g} iterations to "
            "shrink e-fold."
        )
    return [Finding("time constant of the slowest mode", text, slowest.time_constant)]


def _models(models: tuple[ModelError, ...], trust: tuple[str | None, str], memory: bool) -> list[Finding]:
    name, reason = trust
    found = []
    for model in models:
        if model.model == name and model.relative is not None:
            found.append(
                Finding(
                    "model to trust",
                    f"Trust the {name}: {reason}. To leading order it misses {100 * model.relative:.2g} % of the way.",
                    model.relative,
                )
            )
    if not found:
        text = (
            f"No continuous model is to be trusted: {reason}."
            if name is None
            else f"Trust the {name}: {reason}."
        )
        found.append(Finding("model to trust", text, np.nan))
    rescaled = next((m for m in models if m.model == RESCALED and m.relative is not None), None)
    if memory and rescaled is not None and rescaled.holds is not None:
        share = rescaled.relative or 0.0
        does = "little more than" if rescaled.holds and share < EDGE else "more than"
        text = (
            f"Momentum does {does} rescale the gradient: to leading order the rescaled gradient flow misses "
            f"{100 * share:.3g} % of the way"
            + ("." if rescaled.holds else ", and the steepest directions ripple.")
        )
        found.append(Finding("what momentum adds", text, share))
    return found
