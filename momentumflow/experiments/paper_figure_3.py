"""Momentum against the momentum ODE.

Kovachki & Stuart (2021), Figure 3: on Φ = ½⟨u, Qu⟩ with Q = diag(1, κ), λ = 0.9 and u₀ = (1, 1), the momentum
ODE (11), hαü + (1-λ)u̇ = f, follows heavy ball with its oscillations, and Nesterov less well where h is large
(§3.3). Markers: iterates; lines: (11) of the same h, with the slow velocity; the paper took (12), which is
misprinted (see `paper-figure-4`).
"""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import momentumflow as mf

from .._progress import Progress
from . import _quadratic as quadratic
from . import _trajectories as trajectories
from .checks import Check

Config = trajectories.Config
PRESETS = {"quick": Config(), "full": Config(exponents=(4, 5, 6, 7, 8, 9))}

_HB = (0.59, 0.19, 0.063, 0.0077)  # an independent computation: κ = 20, h = 2^-4, 2^-5, 2^-6, 2^-8


def run(config: Config, progress: Progress) -> xr.Dataset:
    """HB, NAG and (11) for every κ and h."""
    return trajectories.run(config, mf.MomentumODE, progress)


def checks(data: xr.Dataset) -> list[Check]:
    """The ODE against its closed form; HB's distances against a table; (11) against (8)."""
    distance = data["distance"]
    table = [
        Check(
            f"HB, κ = 20, h = 2^{int(np.log2(h))}: max |u_n - u(t_n)|",
            distance.sel(optimizer="HB", kappa=20, h=h),
            expected,
            0.06 * expected,
            "within",
            "an independent float64 computation, given to two digits",
        )
        for h, expected in zip((2.0**-4, 2.0**-5, 2.0**-6, 2.0**-8), _HB, strict=True)
    ]
    closed = "a damped oscillator by its two roots"
    gain = (distance / _distance_to_rescaled(data)).sel(optimizer="HB").max()
    text = "Kovachki & Stuart (2021), §3.3: (11) captures the oscillations of HB, (8) does not"
    return [
        Check(
            "solution of (11) against its closed form", _closed_form_gap(data), 0.0, 1e-8, "within", closed
        ),
        *table,
        Check("HB: distance to (11) over distance to (8), largest", gain, 1.0, 0.0, "at most", text),
    ]


def _closed_form_gap(data: xr.Dataset) -> float:
    lam, worst = data.attrs["momentum"], 0.0
    for name, lookahead in (("HB", 0.0), ("NAG", lam)):
        alpha = (1 + lam - 2 * lookahead * (1 - lam)) / 2
        for kappa in data["kappa"].values:
            for h in data["h"].values:
                mass, curvatures = h * alpha / (1 - lam), (1 / (1 - lam), kappa / (1 - lam))
                exact = quadratic.closed_form(data["time"].values, curvatures, (1.0, 1 - lam / alpha), mass)
                curve = data["curve"].sel(optimizer=name, kappa=kappa, h=h).values
                worst = max(worst, float(np.abs(curve - exact).max()))
    return worst


def _distance_to_rescaled(data: xr.Dataset) -> xr.DataArray:
    time = data["iteration"] * data["h"]
    k = xr.concat([xr.ones_like(data["kappa"]), data["kappa"]], "component").assign_coords(
        component=["u1", "u2"]
    )
    gap = data["iterates"] - np.exp(-time * k / (1 - data.attrs["momentum"]))
    return np.sqrt((gap**2).sum("component", skipna=False)).max("iteration")


def plot(data: xr.Dataset) -> Figure:
    """A 2 × 3 panel in the plane of u."""
    return trajectories.plot(data, "momentum ODE (11)", one_curve=False)
