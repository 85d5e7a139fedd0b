"""Methods tuned to strong convexity against their limits.

Kovachki & Stuart (2021), §1.1, §5 and Appendix D: with the momentum (5), λ = (1-√(μh))/(1+√(μh)), heavy ball and
Nesterov, and the splitting (36) after Wilson et al., follow ü + 2√μ u̇ + ∇Φ = 0 on the time scale n√h; with (4),
λ_n = n/(n+3), Nesterov follows ü + (3/t)u̇ + ∇Φ = 0 of Su, Boyd & Candès (3). The distance is O(√h). The exponent
e^{-2√μ h} as (36) prints it takes the friction away as h → 0, and the distance does not fall; Appendix D gives
e^{-2√(μh)}. Losses: a quadratic, and the same plus log-cosh in other directions, so that μ is the quadratic's.
"""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from matplotlib.figure import Figure
from scipy.linalg import expm
from scipy.special import j1

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from .checks import Check


@dataclass(frozen=True)
class Config:
    """Curvatures of the quadratic, the smaller is μ; finest exponent k of h = 4^-2 … 4^-k; T; u₀."""

    curvatures: tuple[float, float] = (0.5, 2.0)
    finest: int = 8
    final_time: float = 3.0
    start: tuple[float, float] = (1.0, -0.8)


PRESETS = {"quick": Config(), "full": Config(finest=10, final_time=6.0)}

_LOSSES = {"quadratic": 0.0, "quadratic + log-cosh": 1.0}
_PRINTED = "(36) as printed"
_METHODS = {
    "HB-μ": mf.heavy_ball_strongly_convex,
    "NAG-μ": mf.nesterov_strongly_convex,
    "Wilson (36)": mf.wilson_splitting,
    _PRINTED: lambda h, mu: mf.wilson_splitting(h, mu, printed=True),
    "Nesterov sequence (4)": lambda h, mu: mf.nesterov_sequence(h),
}
_STYLES = {name: _plot.of(name).line() for name in _METHODS if name != _PRINTED} | {
    _PRINTED: _plot.of("Wilson (36)").line(fillstyle="none")
}


class _Loss(eqx.Module):
    """Σ ½k_i u_i² + weight Σ log cosh(M u)_i: one program for every weight."""

    curvatures: Float[Array, "2"]
    weight: Float[Array, ""]

    def __call__(self, u: Float[Array, "2"]) -> Float[Array, ""]:
        mixed = jnp.array([[1.0, 0.5], [-1.0, 1.0]]) @ u
        return jnp.sum(self.curvatures * u**2) / 2 + self.weight * mf.LogCosh([1.0, 2.0])(mixed)


def _loss(config: Config, name: str) -> _Loss:
    return _Loss(jnp.array(config.curvatures), jnp.array(_LOSSES[name]))


def _flow(config: Config, name: str) -> mf.AbstractFlow:
    if name == "Nesterov sequence (4)":
        return mf.SuBoydCandesODE()
    return mf.StronglyConvexODE(min(config.curvatures))


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Errors for each loss, method and h; on the quadratic both ODEs beside their closed forms."""
    rates = [4.0**-k for k in range(2, config.finest + 1)]
    cells = [(loss, name) for loss in _LOSSES for name in _METHODS]
    errors, floors = [], []
    for done, (loss, name) in enumerate(cells):
        progress.update(done, len(cells), label=f"{loss}, {name}")
        study = mf.convergence_study(
            lambda h, name=name: _METHODS[name](h, min(config.curvatures)),
            lambda _, name=name: _flow(config, name),
            _loss(config, loss),
            jnp.array(config.start),
            rates,
            config.final_time,
        )
        errors.append(study.errors)
        floors.append(study.floors)
    dims, shape = ("loss", "optimizer", "h"), (len(_LOSSES), len(_METHODS), len(rates))
    return xr.Dataset(
        {
            "error": (dims, np.reshape(errors, shape), {"symbol": "max |u_n - u(n√h)|"}),
            "floor": (dims, np.reshape(floors, shape)),
            **_solutions(config),
        },
        {
            "loss": list(_LOSSES),
            "optimizer": list(_METHODS),
            "h": ("h", rates, {"symbol": "h"}),
            "model": ["strongly convex ODE", "Su–Boyd–Candès ODE"],
            "time": ("time", np.linspace(0, config.final_time, 31), {"symbol": "t"}),
            "component": ["u1", "u2"],
        },
        {"mu": min(config.curvatures), "final_time": config.final_time},
    )


def _solutions(config: Config) -> dict[str, tuple]:
    """Both ODEs on the quadratic by the solver, and by a matrix exponential and a Bessel function."""
    times, dims = np.linspace(0, config.final_time, 31), ("model", "time", "component")
    solved = [
        mf.solve(_flow(config, name), _loss(config, "quadratic"), jnp.array(config.start), times).params
        for name in ("HB-μ", "Nesterov sequence (4)")
    ]
    damping = 2 * np.sqrt(min(config.curvatures))
    exact = np.empty((2, len(times), 2))
    for i, (k, start) in enumerate(zip(config.curvatures, config.start, strict=True)):
        matrix = np.array([[0, 1], [-k, -damping]])
        exact[0, :, i] = [(expm(matrix * t) @ (start, 0))[0] for t in times]
        x = np.sqrt(k) * times[1:]
        exact[1, :, i] = start * np.append(1.0, 2 * j1(x) / x)
    return {"solution": (dims, np.stack(solved), {"symbol": "u(t)"}), "exact": (dims, exact, {"symbol": "u(t)"})}


def _study(data: xr.Dataset, loss: str, name: str) -> mf.ConvergenceStudy:
    cell = data.sel(loss=loss, optimizer=name)
    return mf.ConvergenceStudy(cell["h"].values, cell["error"].values, cell["floor"].values)


def checks(data: xr.Dataset) -> list[Check]:
    """Both ODEs against closed forms; order ½ of the last two slopes; order 0 of (36) as printed."""
    closed = ("scipy.linalg.expm", "u = 2J₁(√k t)/(√k t) u₀ on a quadratic, Su, Boyd & Candès (2014)")
    gaps = np.abs(data["solution"] - data["exact"]).max(["time", "component"]).values
    found = [
        Check(f"{model} on the quadratic: max |u(t) - closed form|", gap, 0.0, 1e-8, "within", source)
        for model, gap, source in zip(data["model"].values, gaps, closed, strict=True)
    ]
    stated = "Kovachki & Stuart (2021), §5 and Appendix D: order ½"
    frictionless = "the printed friction 2√(μh) goes to 0 with h: another limit, at a fixed distance"
    for loss in data["loss"].values:
        for name in data["optimizer"].values:
            right, text = name != _PRINTED, f"{loss}, {name}: order"
            source = "Su, Boyd & Candès (2014): order ½" if name == "Nesterov sequence (4)" else stated
            order = 0.5 if right else 0.0
            slopes = _study(data, loss, name).last_orders(2)
            worst = slopes[np.argmax(np.abs(slopes - order))] if len(slopes) == 2 else np.nan
            if not right:
                found.append(Check(text, worst, 0.5, 0.1, "within", f"{stated}, with (36) as printed", refutes=True))
            found.append(Check(text, worst, order, 0.1, "within", source if right else frictionless))
    return found


def plot(data: xr.Dataset) -> Figure:
    """Errors against h, log-log, a panel for each loss."""
    h = data["h"].values
    with _plot.style():
        figure = _plot.figure(8.0, 4.0)
        axes = figure.subplots(1, 2, sharey=True)
        for ax, loss in zip(axes, data["loss"].values, strict=True):
            for name, look in _STYLES.items():
                errors = _study(data, loss, name).errors
                ax.plot(h, errors, **(look | {"linestyle": "-", "lw": 1}), label=name)
            lowest = float(data["error"].sel(loss=loss).isel(h=-1).min())
            ax.set_yscale("log")
            _plot.reference_slope(ax, h, 0.4 * lowest * (h[0] / h[-1]) ** 0.5, 0.5)
            _plot.log2_axis(ax, h)
            ax.set(xlabel="learning rate $h$", title=loss)
        axes[0].set_ylabel(r"$\max_n|u_n-u(n\sqrt{h})|$")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, columnspacing=1.2)
    return figure
