"""The modified flow of momentum on random mini-batches, path by path.

Ghosh et al. (ICLR 2023), "Modified flow for SGD+M": heavy ball on mini-batch losses E_k is O(h²) from the flow of
G_k + (h/4)(|∇G_k|² + 2Σ_{r<k} λ^{k-r}|∇G_r|²), G_k = Σ_{r≤k} λ^{k-r}E_r, on [t_k, t_{k+1}) (λ is β on the slides), for
the very batches that were drawn. Without the regulariser it is O(h). For Nesterov the drift has a further term, no
gradient, derived in the library; without it the order is 1. The lagged flow, driven by the newest batch alone, is
another member of the family of O(h²) flows. On the full batch both hold from the first step on, where the slow flow
of `slides-modified-flow` needs t ≥ t₀.
Here: a network with two hidden units on mini-batches of random data. An error is the root mean square, over several
sequences of batches, of max_n |u_n - u(t_n)|.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from . import _quadratic as quadratic
from .checks import Check

_WITH, _WITHOUT, _LAGGED = "with the regulariser", "without", "lagged flow"
_HB, _NAG, _FULL = "HB, mini-batches", "NAG, mini-batches", "HB, full batch"
_ORDERS = {
    _HB: {_WITH: 2.0, _WITHOUT: 1.0, _LAGGED: 2.0},
    _NAG: {_WITH: 2.0, _WITHOUT: 1.0, _LAGGED: 2.0},
    _FULL: {_WITH: 2.0, _WITHOUT: 1.0, _LAGGED: 2.0},
}
_MODELS = (_WITH, _WITHOUT, _LAGGED)
_CASES = [(setting, model) for setting, orders in _ORDERS.items() for model in orders]
_SLIDES = "Ghosh et al. (ICLR 2023), modified flow for SGD+M"
_SOURCES = {
    _WITH: f"{_SLIDES}: O(h²)",
    _WITHOUT: "first order: G_k alone",
    _LAGGED: "p = u + hλλ̄v moves by -hλ̄∇E_k exactly",
}
_SLOW = "the slow flow of Kovachki & Stuart (2021), Theorem 6"
_HIDDEN, _BATCHES, _DATA = 2, 6, 24


@dataclass(frozen=True)
class Config:
    """λ, the finest exponent k of h = 2^-5 … 2^-k, T, sequences of batches, seed."""

    momentum: float = 0.5
    finest: int = 9
    final_time: float = 1.0
    paths: int = 16
    seed: int = 0


PRESETS = {"quick": Config(), "full": Config(finest=12, paths=64)}


class _Network(eqx.Module):
    """½Σ_j w_j(v·tanh(Wx_j) - y_j)²: a batch is a vector of weights, so that the full batch has the same program."""

    inputs: Float[Array, "data 2"]
    targets: Float[Array, " data"]

    def __call__(self, u: Float[Array, " d"], weights: Float[Array, " data"]) -> Float[Array, ""]:
        first, second = u[: 2 * _HIDDEN].reshape(_HIDDEN, 2), u[2 * _HIDDEN :]
        return jnp.sum(weights * (jnp.tanh(self.inputs @ first.T) @ second - self.targets) ** 2) / 2


class _Problem(eqx.Module):
    network: _Network
    start: Float[Array, " d"]
    batches: Float[Array, "batches data"]
    paths: Int[Array, "paths steps"]


def _problem(config: Config) -> _Problem:
    keys = jax.random.split(jax.random.key(config.seed), 4)
    inputs = jax.random.normal(keys[0], (_DATA, 2))
    targets = jnp.sin(2 * inputs[:, 0]) + 0.3 * jax.random.normal(keys[1], (_DATA,))
    size = _DATA // _BATCHES
    batches = jnp.kron(jnp.eye(_BATCHES), jnp.full((1, size), 1 / size))
    steps = int(np.ceil(config.final_time * 2**config.finest))
    paths = jax.random.randint(keys[2], (config.paths, steps), 0, _BATCHES)
    return _Problem(_Network(inputs, targets), jax.random.normal(keys[3], (3 * _HIDDEN,)), batches, paths)


class _Modified(eqx.Module):
    """The flow with the regulariser or without, by a number: one program serves both."""

    scale: Float[Array, ""]

    def __call__(self, method: mf.MomentumMethod, data: Array, order: Array) -> mf.StochasticModifiedFlow:
        return mf.StochasticModifiedFlow(method, data, order, self.scale)


_FLOWS = {_WITH: 1.0, _WITHOUT: 0.0}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Errors for every setting, model and h; and the transient coefficients of the full batch."""
    problem, rates = _problem(config), quadratic.ladder(config.finest, 5)
    dims, shape = ("setting", "model", "h"), (len(_ORDERS), len(_MODELS), len(rates))
    steps = np.arange(32)
    drift, bend = mf.transient_drift(config.momentum, jnp.asarray(steps))
    data = xr.Dataset(
        {
            "error": (dims, np.full(shape, np.nan), {"symbol": "rms of max |u_n - u(t_n)|"}),
            "floor": (dims, np.full(shape, np.nan)),
            "drift": ("k", np.asarray(drift), {"symbol": "a_k"}),
            "bend": ("k", np.asarray(bend), {"symbol": "S_k"}),
        },
        {
            "setting": list(_ORDERS),
            "model": list(_MODELS),
            "h": ("h", rates, {"symbol": "h"}),
            "k": ("k", steps, {"symbol": "k"}),
        },
        {"momentum": config.momentum, "final_time": config.final_time},
    )
    for done, (setting, model) in enumerate(_CASES):
        progress.update(done, len(_CASES), label=f"{setting}, {model}")
        study = _measure(config, problem, setting, model, rates)
        where = {"setting": setting, "model": model}
        data["error"].loc[where], data["floor"].loc[where] = study.errors, study.floors
    return data


def _measure(
    config: Config, problem: _Problem, setting: str, model: str, rates: list[float]
) -> mf.ConvergenceStudy:
    lookahead = config.momentum if setting == _NAG else 0.0

    def method(h: float) -> mf.MomentumMethod:
        return mf.momentum_method(h, config.momentum, lookahead)

    whole = jnp.broadcast_to(problem.batches.mean(0), problem.batches.shape)
    batches = whole if setting == _FULL else problem.batches
    flow = _Modified(jnp.array(_FLOWS[model])) if model in _FLOWS else mf.StochasticLaggedFlow
    known = (problem.network, problem.start, batches, problem.paths, rates, config.final_time)
    return mf.pathwise_study(method, flow, *known, tolerance=1e-10)


def _study(data: xr.Dataset, setting: str, model: str) -> mf.ConvergenceStudy:
    cell = data.sel(setting=setting, model=model)
    return mf.ConvergenceStudy(cell["h"].values, cell["error"].values, cell["floor"].values)


def checks(data: xr.Dataset) -> list[Check]:
    """Order 2 with the regulariser and of the lagged flow, 1 without; the coefficients' limits."""
    found = []
    for setting, model in _CASES:
        order = _ORDERS[setting][model]
        slopes = _study(data, setting, model).last_orders(2)
        worst = slopes[np.argmax(np.abs(slopes - order))] if len(slopes) == 2 else np.nan
        within = 0.1 if order == 2 else 0.15
        found.append(Check(f"{setting}: order, {model}", worst, order, within, "within", _SOURCES[model]))
    lam, last = data.attrs["momentum"], data.isel(k=-1)
    for name, limit, where in (("drift", 1 / (1 - lam), "a_k"), ("bend", (1 + lam) / (1 - lam) ** 3, "S_k")):
        # S_k - S_∞ is O(k λ^k)
        gap = 10 * len(data["k"]) * lam ** len(data["k"]) * limit
        found.append(
            Check(f"full batch: {where}, k = {len(data['k']) - 1}", last[name], limit, gap, "within", _SLOW)
        )
    return found


_LOOK = {
    _WITH: ("#0072b2", "o", "-"),
    _WITHOUT: ("#d55e00", "s", "-"),
    _LAGGED: ("#009e73", "D", "-"),
}


def plot(data: xr.Dataset) -> Figure:
    """Errors against h, log-log, a panel for each setting."""
    with _plot.style():
        figure = _plot.figure(8.8, 4.0)
        axes = figure.subplots(1, 3, sharex=True, sharey=True)
        for ax, setting in zip(axes, _ORDERS, strict=True):
            _panel(ax, data, setting)
        axes[0].set_ylabel(r"rms over paths of $\max_n|u_n-u(t_n)|$")
        handles, labels = axes[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _panel(ax: Axes, data: xr.Dataset, setting: str) -> None:
    h = data["h"].values
    for model in _ORDERS[setting]:
        color, marker, line = _LOOK[model]
        study = _study(data, setting, model)
        ax.plot(h, study.errors, color=color, marker=marker, ls=line, ms=4, lw=1.2, label=model)
    for order, model, factor in ((2, _LAGGED, 0.4), (1, _WITHOUT, 5.0)):
        finest = _study(data, setting, model).errors[-1]
        _plot.reference_slope(ax, h, factor * finest * (h.max() / h.min()) ** order, order)
    ax.set_yscale("log")
    _plot.log2_axis(ax, h, most=5)
    ax.set(title=f"{setting}, λ = {data.attrs['momentum']:g}", xlabel="learning rate $h$")
