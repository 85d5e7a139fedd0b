"""Momentum against the rescaled gradient flow.

Kovachki & Stuart (2021), Figure 1: on Φ = ½⟨u, Qu⟩ with Q = diag(1, κ), λ = 0.9 and u₀ = (1, 1), heavy ball (9)
and Nesterov (10) approach the rescaled gradient flow (8), u̇ = f/(1-λ), as h falls (Theorem 2); the larger κ,
the larger the transient oscillation around it. Markers: iterates; dashed: (8).
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

_TABLE = {  # an independent float64 computation: sup error over nh ≤ 2, κ = 20, h = 2^-4, 2^-5, 2^-6, 2^-8
    "HB": (1.2, 0.98, 0.86, 0.58),
    "NAG": (0.64, 0.48, 0.66, 0.58),
}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """HB, NAG and (8) for every κ and h."""
    return trajectories.run(config, mf.RescaledGradientFlow, progress)


def checks(data: xr.Dataset) -> list[Check]:
    """The flow against its closed form; distances against a table; they fall where h is small."""
    rate = 1 / (1 - data.attrs["momentum"])
    worst = 0.0
    for kappa in data["kappa"].values:
        exact = quadratic.closed_form(rate * data["time"].values, (1.0, kappa), (1.0, 1.0), 0.0)
        worst = max(worst, float(np.abs(data["curve"].sel(kappa=kappa).values - exact).max()))
    distance = data["distance"]
    table = [
        Check(
            f"{name}, κ = 20, h = 2^{int(np.log2(h))}: max |u_n - u(t_n)|",
            distance.sel(optimizer=name, kappa=20, h=h),
            expected,
            0.06 * expected,
            "within",
            "an independent float64 computation, given to two digits",
        )
        for name, row in _TABLE.items()
        for h, expected in zip((2.0**-4, 2.0**-5, 2.0**-6, 2.0**-8), row, strict=True)
    ]
    falls = (distance.sel(h=2.0**-8) / distance.sel(h=2.0**-6)).max()
    theorem = "Kovachki & Stuart (2021), Theorem 2: the distance vanishes with h"
    closed = "u(t) = exp(-Qt/(1-λ))u₀"
    return [
        Check("solution of (8) against its closed form", worst, 0.0, 1e-9, "within", closed),
        *table,
        Check("largest ratio of distances, h = 2^-8 to 2^-6", falls, 1.0, 0.0, "at most", theorem),
    ]


def plot(data: xr.Dataset) -> Figure:
    """A 2 × 3 panel in the plane of u."""
    return trajectories.plot(data, "rescaled gradient flow (8)", one_curve=True)
