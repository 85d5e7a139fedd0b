"""Stochastic modified equations of momentum, for 1-λ as small as √h.

Li, Tai & E (2019): with ε = √h, friction μ = (1-λ)/ε and velocity V = (u_n - u_{n-1})/ε, the law of heavy ball with
noisy gradients is that of dU = V ds, dV = -(μV + ∇Φ)ds - √ε Σ^½dW at s = nε to weak order 1 in ε, and that of an
equation with corrected drift and noise to weak order 2. With a look-ahead, here added, ∇²Φ has the factor 1 - 2a.
Here: least squares on three mini-batches drawn at random, with equal Hessians, where the noise is additive, and with
unequal ones, where it depends on u. The mean and the second moments of the method and of the equation are then known
exactly, by a linear recursion and a matrix exponential, and no sampling blurs the orders; paths drawn by diffrax are
compared with them. At fixed λ, where μ grows like 1/√h, the second equation is of order 1 in h only.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from . import _moments as moments
from . import _quadratic as quadratic
from . import _slopes as slopes
from .checks import Check

_METHODS, _NOISES, _ORDERS = ("HB", "NAG"), ("additive", "of u"), (1, 2)
_MEASURES = {"mean": moments.mean, "second moment": moments.second, "covariance": moments.covariance}
_CASES = [(method, noise, order) for method in _METHODS for noise in _NOISES for order in _ORDERS]
_PAIRS = np.array([[0, 0], [0, 1], [1, 1]])
_LI = "Li, Tai & E (2019)"


@dataclass(frozen=True)
class Config:
    """μ, u₀, the horizon S of s = n√h, finest k of ε = 2^-3 … 2^-k; ε, paths and seed of the sampling; fixed λ."""

    friction: float = 1.0
    start: tuple[float, float] = (1.0, -0.5)
    horizon: float = 2.0
    finest: int = 8
    batches: int = 3
    sampled_scale: float = 2.0**-3
    paths: int = 20_000
    seed: int = 0
    fixed_momentum: float = 0.5


PRESETS = {"quick": Config(), "full": Config(finest=10, sampled_scale=2.0**-5, paths=400_000)}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Errors of the exact moments for every method, noise, order and ε; the moments of sampled paths."""
    scales = quadratic.ladder(config.finest, 3)
    shape = (len(_METHODS), len(_NOISES), len(_ORDERS), len(_MEASURES), len(scales))
    data = xr.Dataset(
        {
            "error": (
                ("optimizer", "noise", "order", "measure", "scale"),
                np.full(shape, np.nan),
                {"symbol": "max over nε ≤ S"},
            )
        },
        {
            "optimizer": list(_METHODS),
            "noise": list(_NOISES),
            "order": list(_ORDERS),
            "measure": list(_MEASURES),
            "scale": ("scale", scales, {"symbol": "ε = √h"}),
        },
        {"friction": config.friction, "horizon": config.horizon, "fixed_momentum": config.fixed_momentum},
    )
    for done, (name, noise, order) in enumerate(_CASES):
        progress.update(done, len(_CASES) + 1, label=f"{name}, noise {noise}, order {order}")
        errors = [_errors(config, name, noise, order, scale) for scale in scales]
        data["error"].loc[{"optimizer": name, "noise": noise, "order": order}] = np.transpose(errors)
    progress.update(len(_CASES), len(_CASES) + 1, label="sampled paths")
    return xr.merge([data, _fixed(config), _sampled(config)]).assign_attrs(data.attrs)


def _method(config: Config, name: str, scale: float) -> mf.MomentumMethod:
    return quadratic.method(name, scale**2, 1 - scale * config.friction)


def _batches(config: Config, noise: str) -> moments.Batches:
    return moments.batches(config.seed, config.batches, alike=noise == "additive")


def _equation(method: mf.MomentumMethod, order: int, data: moments.Batches) -> mf.StochasticModifiedEquation:
    return mf.StochasticModifiedEquation(method, order, data=data)


def _errors(config: Config, name: str, noise: str, order: int, scale: float) -> list[float]:
    """max |E g(method) - E g(equation)| over nε ≤ S, for every measure."""
    method, data, begin = _method(config, name, scale), _batches(config, noise), moments.start(config.start)
    steps = round(config.horizon / scale)
    ours = moments.of_equation(_equation(method, order, data), begin, steps)
    exact = moments.of_method(method, data, begin, steps)
    return [float(np.abs(part(ours) - part(exact)).max()) for part in _MEASURES.values()]


def _fixed(config: Config) -> xr.Dataset:
    """Errors of the mean of u at fixed λ for ½ ≤ nh ≤ 1, against h = 2^-6 … 2^-(k+2)."""
    rates, data, errors = quadratic.ladder(config.finest + 2, 6), _batches(config, "of u"), []
    for h in rates:
        method, steps = quadratic.method("HB", h, config.fixed_momentum), round(1 / h)
        known = (moments.start(config.start), steps)
        exact = moments.mean(moments.of_method(method, data, *known))
        ours = moments.mean(moments.of_equation(_equation(method, 2, data), *known))
        errors.append(float(np.abs(ours - exact)[steps // 2 :, :2].max()))
    return xr.Dataset(
        {"fixed_error": ("h", errors, {"symbol": "mean of u, fixed λ"})},
        {"h": ("h", rates, {"symbol": "h"})},
    )


def _sampled(config: Config) -> xr.Dataset:
    """Mean and covariance of u of sampled paths at S with standard errors; exact ones at every s; a few paths."""
    scale = config.sampled_scale
    method, data, begin = _method(config, "HB", scale), _batches(config, "of u"), moments.start(config.start)
    steps = round(config.horizon / scale)
    exact = moments.of_method(method, data, begin, steps)
    rows, laws = [], []
    for order in _ORDERS:
        equation = _equation(method, order, data)
        known = (moments.loss, jnp.asarray(config.start), steps, jax.random.key(config.seed + order))
        ends = mf.sample_paths(equation, *known, config.paths, save_every=None).params[:, 0]
        rows.append(_statistics(np.asarray(ends)))
        laws.append(_flat(moments.of_equation(equation, begin, steps)[-1:]))
    shown = mf.sample_paths(equation, *known, 12)
    return xr.Dataset(
        {
            "sampled": (("order", "statistic", "entry"), np.array(rows)),
            "law": (("order", "entry"), np.array(laws)),
            "path": (("path", "step", "component"), np.asarray(shown.params), {"symbol": "U"}),
            "mean": (("step", "component"), moments.mean(exact)[:, :2], {"symbol": "E u_n"}),
            "deviation": (("step", "component"), _deviation(exact), {"symbol": "standard deviation of u_n"}),
        },
        {
            "order": list(_ORDERS),
            "statistic": ["value", "standard error"],
            "entry": ["E u₁", "E u₂", "Var u₁", "Cov(u₁, u₂)", "Var u₂"],
            "s": ("step", scale * np.arange(steps + 1), {"symbol": "s = nε"}),
        },
    )


def _statistics(ends: Float[np.ndarray, "p 2"]) -> list[np.ndarray]:
    """Mean and covariances of u, and their standard errors."""
    gap = ends - ends.mean(0)
    products = gap[:, _PAIRS[:, 0]] * gap[:, _PAIRS[:, 1]]
    each = np.hstack([ends, products])
    return [each.mean(0), each.std(0) / np.sqrt(len(ends))]


def _flat(moment: Float[np.ndarray, "1 5 5"]) -> np.ndarray:
    covariance = moments.covariance(moment)[0]
    return np.concatenate([moments.mean(moment)[0, :2], covariance[_PAIRS[:, 0], _PAIRS[:, 1]]])


def _deviation(exact: moments.Moments) -> Float[np.ndarray, "n 2"]:
    return np.sqrt(np.maximum(np.diagonal(moments.covariance(exact), axis1=1, axis2=2)[:, :2], 0))


def checks(data: xr.Dataset) -> list[Check]:
    """Weak orders 1 and 2 in ε, that of the covariance, the sampler's moments, and fixed λ."""
    found = []
    for name, noise, order in _CASES:
        errors = data["error"].sel(optimizer=name, noise=noise, order=order)
        where = f"{name}, noise {noise}, equation of order {order}"
        for measure in ("mean", "second moment"):
            worst = slopes.worst_of(errors.sel(measure=measure), order)
            found.append(
                Check(
                    f"{where}: order in ε, {measure}",
                    worst,
                    order,
                    0.1,
                    "within",
                    f"{_LI}: weak order {order}",
                )
            )
        expected = 3 if (noise, order) == ("additive", 2) else 2
        worst = slopes.worst_of(errors.sel(measure="covariance"), expected)
        source = "one step's covariance: ε²Σ + O(ε³), with constant Σ to O(ε⁴) by the corrected noise"
        found.append(Check(f"{where}: order in ε, covariance", worst, expected, 0.1, "within", source))
    wrong = slopes.worst_of(data["error"].sel(optimizer="HB", noise="additive", order=1, measure="mean"), 1)
    found.append(
        Check("control: the equation of order 1, mean", wrong, 2, 0.1, "within", "order 2", refutes=True)
    )
    worst = slopes.worst_of(data["fixed_error"], 1)
    text = f"fixed λ = {data.attrs['fixed_momentum']:g}, equation of order 2: order in h, mean"
    found.append(
        Check(
            text, worst, 1, 0.1, "within", "μ = (1-λ)/√h grows: the leading drift -λ̄∇Φ is all that is right"
        )
    )
    return [*found, *_sampling_checks(data)]


def _sampling_checks(data: xr.Dataset) -> list[Check]:
    value, error = (data["sampled"].sel(statistic=name) for name in data["statistic"].values)
    apart = abs((value - data["law"]) / error).max("entry")
    source = "the equation's moments by matrix exponential"
    text = "sampled paths: largest deviation of a moment of u in standard errors"
    found = [
        Check(f"{text}, order {order}", apart.sel(order=order), 3, 0, "at most", source) for order in _ORDERS
    ]
    other = abs((value.sel(order=1) - data["law"].sel(order=2)) / error.sel(order=1)).max()
    text = "control: paths of order 1 beside the moments of order 2"
    return [*found, Check(text, other, 3, 0, "at most", "the equations' drifts differ by O(ε)", refutes=True)]


_COLORS = {1: "#d55e00", 2: "#0072b2"}
_LINES = {"mean": ("-", "o"), "second moment": ("--", "s"), "covariance": (":", "D")}


def plot(data: xr.Dataset) -> Figure:
    """Errors of the moments against ε, log-log; right, paths of the equation of order 2 over the method's own law."""
    with _plot.style():
        figure = _plot.figure(9.6, 4.2)
        axes = figure.subplots(1, 3)
        for ax, name, noise in zip(axes, _METHODS, ("additive", "of u"), strict=False):
            _panel(ax, data, name, noise)
        axes[0].set_ylabel(r"$\max_{n\epsilon\leq S}$ of the error")
        _fan(axes[2], data)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _panel(ax: Axes, data: xr.Dataset, name: str, noise: str) -> None:
    scale = data["scale"].values
    for order in _ORDERS:
        for measure, (line, marker) in _LINES.items():
            errors = data["error"].sel(optimizer=name, noise=noise, order=order, measure=measure)
            label = f"order {order}: {measure}"
            ax.plot(scale, errors, color=_COLORS[order], ls=line, marker=marker, ms=4, lw=1.2, label=label)
    ax.set_yscale("log")
    _plot.log2_axis(ax, scale, most=6)
    kind = "additive noise" if noise == "additive" else "noise that depends on u"
    ax.set(title=f"{name}, {kind}", xlabel=r"$\epsilon=\sqrt{h}$, at μ = " + f"{data.attrs['friction']:g}")


def _fan(ax: Axes, data: xr.Dataset) -> None:
    s = data["s"].values
    for component, color in ((0, "#0072b2"), (1, "#009e73")):
        mean, spread = (data[name].isel(component=component).values for name in ("mean", "deviation"))
        label = f"$u_{component + 1}$"
        ax.fill_between(s, mean - 2 * spread, mean + 2 * spread, color=color, alpha=0.2, lw=0, label=label)
        ax.plot(s, data["path"].isel(component=component).values.T, color=color, lw=0.6, alpha=0.8)
    ax.set(title="HB: mean ± 2 sd, 12 paths of order 2", xlabel=r"$s=n\epsilon$", ylabel="$u$")
    ax.legend(loc="lower left")
