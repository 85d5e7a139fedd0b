"""The implicit regulariser of gradient descent and of heavy ball.

Ghosh et al. (ICLR 2023), after Barrett & Dherin (ICLR 2021): gradient descent is O(h²) from the flow of
E + (h/4)|∇E|², heavy ball from 1/(1-λ) times that of E + (1+λ)h/(4(1-λ)²)|∇E|², IGR-M (λ is β on the slides);
both are O(h) from the flow without the regulariser. For heavy ball the slides do not say that this needs a start
on the manifold: started at rest it lags its flow by λ/(1-λ) iterations, so that the flow has to start at
u₀ + hλ/(1-λ)²∇E(u₀), as the library's slow flow does, and even then the order is 2 only for t ≥ t₀, after the
initial layer. From u₀ it is 1. Losses: the slides' E = ½(y - w₁w₂x)², and log-cosh.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from .._types import Loss, Params, VectorField
from ..flows.model import Claim, ModelField, ModelState
from ..methods.manifold import Start
from . import _quadratic as quadratic
from .checks import Check

_LOSSES = {"½(y - w₁w₂x)²": 0.0, "log-cosh": 1.0}
_GD, _MANIFOLD, _REST = "GD", "HB on its manifold", "HB from rest, t ≥ t₀"
_WITH, _WITHOUT, _LAGGED = "with the regulariser, from u₀", "without", "with, from the lagged start"
_ORDERS = {
    _GD: {_WITH: 2.0, _WITHOUT: 1.0},
    _MANIFOLD: {_WITH: 2.0, _WITHOUT: 1.0},
    _REST: {_WITH: 1.0, _WITHOUT: 1.0, _LAGGED: 2.0},
}
_CASES = [(setting, model) for setting, orders in _ORDERS.items() for model in orders]
_SLIDES = "Ghosh et al. (ICLR 2023)"
_SOURCES = {
    _WITH: f"{_SLIDES}: O(h²)",
    _WITHOUT: f"{_SLIDES}: O(h)",
    _LAGGED: f"{_SLIDES}: O(h²), with the lag",
}


@dataclass(frozen=True)
class Config:
    """λ, the finest exponent k of h = 2^-4 … 2^-k, T, t₀, the datum (x, y), the starts u₀ for either loss."""

    momentum: float = 0.5
    finest: int = 11
    final_time: float = 1.0
    late_time: float = 0.25
    x: float = 1.0
    y: float = 0.6
    product_start: tuple[float, float] = (1.4, -0.4)
    log_cosh_start: tuple[float, float] = (1.2, -0.8)


PRESETS = {"quick": Config(), "full": Config(finest=14)}


class _SlidesFlow(mf.AbstractFlow):
    """The slides' flow as they write it: from u₀, the gradient of the regularised loss by autodiff."""

    method: mf.MomentumMethod

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (Claim(2, "manifold"),)

    def field(self, loss: Loss | VectorField) -> ModelField:
        h, lam = self.method.learning_rate, self.method.momentum

        def regularised(w: Float[Array, " d"]) -> Float[Array, ""]:
            return loss(w) + (1 + lam) * h / (4 * (1 - lam) ** 2) * jnp.sum(jax.grad(loss)(w) ** 2)

        return lambda t, state: (-jax.grad(regularised)(state[0]) / (1 - lam),)

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        return (params,)


_FLOWS = {_WITH: _SlidesFlow, _WITHOUT: mf.RescaledGradientFlow, _LAGGED: mf.SlowFlow}


class _Losses(eqx.Module):
    """Either loss by its weight: one program serves both."""

    product: mf.ProductLoss
    log_cosh: mf.LogCosh
    weight: Float[Array, ""]

    def __call__(self, u: Float[Array, "2"]) -> Float[Array, ""]:
        return (1 - self.weight) * self.product(u) + self.weight * self.log_cosh(u)


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Errors for every loss, method with its start, model and h."""
    rates = quadratic.ladder(config.finest)
    dims, shape = ("loss", "setting", "model", "h"), (len(_LOSSES), len(_ORDERS), len(_FLOWS), len(rates))
    data = xr.Dataset(
        {
            "error": (dims, np.full(shape, np.nan), {"symbol": "max |u_n - u(t_n)|"}),
            "floor": (dims, np.full(shape, np.nan)),
        },
        {
            "loss": list(_LOSSES),
            "setting": list(_ORDERS),
            "model": list(_FLOWS),
            "h": ("h", rates, {"symbol": "h"}),
        },
        {"momentum": config.momentum, "final_time": config.final_time, "late_time": config.late_time},
    )
    cells = [(loss, *case) for loss in _LOSSES for case in _CASES]
    for done, cell in enumerate(cells):
        progress.update(done, len(cells), label=", ".join(cell))
        study, where = _measure(config, *cell, rates), dict(zip(dims, cell, strict=False))
        data["error"].loc[where], data["floor"].loc[where] = study.errors, study.floors
    return data


def _measure(config: Config, loss: str, setting: str, model: str, rates: list[float]) -> mf.ConvergenceStudy:
    """One ladder. Rest is a velocity of 0, not a name, so that it shares its program with the manifold."""
    problem = _Losses(mf.ProductLoss(config.x, config.y), mf.LogCosh([1.0, 2.0]), jnp.array(_LOSSES[loss]))
    begin = jnp.array(config.log_cosh_start if _LOSSES[loss] else config.product_start)
    momentum = 0.0 if setting == _GD else config.momentum
    return mf.convergence_study(
        lambda h: mf.momentum_method(h, momentum, 0.0),
        _FLOWS[model],
        problem,
        begin,
        rates,
        config.final_time,
        start=_on_manifold if setting == _MANIFOLD else jnp.zeros(2),
        from_time=config.late_time if setting == _REST else 0.0,
    )


_on_manifold = eqx.filter_jit(mf.manifold_velocity)


def _study(data: xr.Dataset, loss: str, setting: str, model: str) -> mf.ConvergenceStudy:
    cell = data.sel(loss=loss, setting=setting, model=model)
    return mf.ConvergenceStudy(cell["h"].values, cell["error"].values, cell["floor"].values)


def checks(data: xr.Dataset) -> list[Check]:
    """Orders 2 with and 1 without; from rest 1 with the flow from u₀, and 2 with the lagged start."""
    found = []
    for loss in data["loss"].values:
        for setting, model in _CASES:
            order = _ORDERS[setting][model]
            slopes = _study(data, loss, setting, model).last_orders(2)
            worst = slopes[np.argmax(np.abs(slopes - order))] if len(slopes) == 2 else np.nan
            text, source = f"{loss}, {setting}: order, {model}", _SOURCES[model]
            if (setting, model) == (_REST, _WITH):
                found.append(Check(text, worst, 2.0, 0.1, "within", f"{source}, any start", refutes=True))
                source = "from rest heavy ball lags by hλ/(1-λ)²∇E(u₀), which is O(h)"
            found.append(Check(text, worst, order, 0.1, "within", source))
    return found


def plot(data: xr.Dataset) -> Figure:
    """Errors against h, log-log: a row for each loss, a column for each method and start."""
    names = {_WITH: "(19) as printed", _WITHOUT: "rescaled gradient flow (8)", _LAGGED: "slow flow (20)"}
    with _plot.style():
        figure = _plot.figure(8.4, 5.4)
        axes = figure.subplots(2, 3, sharex=True, sharey="row")
        for row, loss in zip(axes, data["loss"].values, strict=True):
            for ax, setting in zip(row, _ORDERS, strict=True):
                for model, marker in zip(_ORDERS[setting], "osD", strict=False):
                    study = _study(data, loss, setting, model)
                    look = _plot.of(names[model]).line(marker=marker, markersize=4, linewidth=1.2)
                    ax.plot(study.learning_rates, study.errors, **look, label=model)
                _draw_slopes(ax, data, loss, setting)
                ax.set_title(f"{setting}\n{loss}")
            row[0].set_ylabel(r"$\max_n|u_n-u(t_n)|$")
        for ax in axes[-1]:
            ax.set_xlabel("learning rate $h$")
        handles, labels = axes[0, -1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _draw_slopes(ax: Axes, data: xr.Dataset, loss: str, setting: str) -> None:
    h = data["h"].values
    for order, factor, pick in ((2, 0.4, min), (1, 25.0, max)):
        finest = pick(_study(data, loss, setting, model).errors[-1] for model in _ORDERS[setting])
        _plot.reference_slope(ax, h, factor * finest * (h.max() / h.min()) ** order, order)
    ax.set_yscale("log")
    _plot.log2_axis(ax, h, most=5)
