"""Order of the rescaled gradient flow.

Kovachki & Stuart (2021), Figure 2: Δ(h) = log₂(‖u^(h) - u‖∞ / ‖u^(h/2) - u‖∞) of heavy ball and Nesterov to (8)
tends to 1 (Theorem 2). The whole ladder of h is drawn; the grey band is 1 ± 0.1.
"""

import xarray as xr
from matplotlib.figure import Figure

import momentumflow as mf

from .._progress import Progress
from . import _orders as orders
from .checks import Check

Config = orders.Config
PRESETS = {"quick": Config(), "full": Config(finest=(16, 18, 20))}

_MODEL = "(8)"


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Errors to (8) for every method, κ and h."""
    return orders.run(config, {_MODEL: lambda method, _: mf.RescaledGradientFlow(method)}, progress)


def checks(data: xr.Dataset) -> list[Check]:
    """The last two slopes are 1 ± 0.1."""
    return orders.order_checks(data, _MODEL, 1.0, "to (8)", "Kovachki & Stuart (2021), Theorem 2")


def plot(data: xr.Dataset) -> Figure:
    """Δ(h) over the whole ladder."""
    title = "Order of HB and NAG to the rescaled gradient flow (8)"
    return orders.plot(data, {_MODEL: title}, {_MODEL: 1.0})
