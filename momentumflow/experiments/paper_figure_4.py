"""Order of the momentum ODE, for each initial velocity.

Kovachki & Stuart (2021), Figure 4: Δ(h) of heavy ball and Nesterov to (11) tends to 1, whatever u̇(0) (Theorem 3).
What u̇(0) changes is the constant: (12) as printed has a sign slip; "taylor" is (12) corrected; "slow",
λ̄(1-λ/α)f(u₀), puts the slow part of the solution right, so that outside the initial layer the order is 2.
"""

from functools import partial

import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import momentumflow as mf

from .._progress import Progress
from . import _orders as orders
from . import _quadratic as quadratic
from .checks import Check

Config = orders.Config
PRESETS = {"quick": Config(), "full": Config(finest=(16, 18, 20))}

_VELOCITIES = ("slow", "taylor", "printed", "zero")
_LATE = "slow, late"
_TITLES = {
    "slow": r"slow, $\bar\lambda(1-\lambda/\alpha)f$",
    "taylor": r"taylor, $\frac{2\alpha-1}{2\alpha+\lambda-1}f$",
    "printed": r"(12) as printed",
    "zero": r"zero",
    _LATE: r"slow, only $t \geq 1/2$",
}
# lim max|u_n - u(t_n)|/(h|f(u₀)|) for h → 0 at λ = 0.9, from the layer's closed form by an independent derivation
_CONSTANTS = {
    ("HB", "printed"): 9.275,
    ("HB", "taylor"): 0.250,
    ("HB", "slow"): 0.031,
    ("NAG", "printed"): 2.878,
    ("NAG", "taylor"): 7.822,
    ("NAG", "slow"): 3.263,
}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Errors to (11) for every velocity, method, κ and h; with the slow one also outside the layer."""
    flows = {name: partial(_model, name) for name in _VELOCITIES}
    return orders.run(config, flows, progress, late="slow")


def _model(name: str, method: mf.MomentumMethod, loss: mf.Quadratic) -> mf.MomentumODE:
    """(11) with u̇(0) as an array: one compiled program serves every velocity."""
    _, velocity = mf.MomentumODE(method, name).initial_state(loss, jnp.array(quadratic.START), "rest")
    return mf.MomentumODE(method, velocity)


def checks(data: xr.Dataset) -> list[Check]:
    """Slopes for each velocity; 2 outside the layer; the constants of the layer; printed against slow."""
    theorem = "Kovachki & Stuart (2021), Theorem 3"
    found = [
        check
        for name in _VELOCITIES
        for check in orders.order_checks(data, name, 1.0, f"to (11), {name} velocity", theorem)
    ]
    layer = "slow-manifold reduction of (11): equal to (20) to order h²"
    found += orders.order_checks(data, _LATE, 2.0, "to (11) for t ≥ ½, slow velocity", layer)
    return [*found, *_constant_checks(data), _gain(data)]


def _constant_checks(data: xr.Dataset) -> list[Check]:
    source = "closed form of the layer for h → 0, an independent derivation"
    found = []
    for (name, velocity), expected in _CONSTANTS.items():
        ladder = orders.study(data, velocity, name, 20.0)
        force = np.hypot(1.0, 20.0)  # |f(u₀)| = |Qu₀|
        constant = ladder.errors[-1] / (ladder.learning_rates[-1] * force)
        text = f"{name}, {velocity}: max |u_n - u(t_n)|/(h|f(u₀)|)"
        found.append(Check(text, constant, expected, 0.05 * expected, "within", source))
    return found


def _gain(data: xr.Dataset) -> Check:
    """(12) as printed would be the best choice if it were right; the slow velocity is far better."""
    errors = data["error"].sel(optimizer="HB", kappa=1.0, h=2.0**-8)
    gain = errors.sel(model="printed") / errors.sel(model="slow")
    source = "the claim of §3.3 that (12) matches the transient: an independent run found a factor of 30"
    return Check(
        "HB, κ = 1, h = 2^-8: error with (12) as printed over slow", gain, 30.0, 0.0, "at least", source
    )


def plot(data: xr.Dataset) -> Figure:
    """Δ(h) over the whole ladder, a panel for each velocity."""
    expected = dict.fromkeys(_VELOCITIES, 1.0) | {_LATE: 2.0}
    return orders.plot(data, _TITLES, expected, limits=(0.3, 1.7))
