"""Methods tuned to strong convexity against their limits.

Kovachki & Stuart (2021), §1.1, §5 and Appendix D: with the momentum (5), λ = (1-√(μh))/(1+√(μh)), heavy ball and
Nesterov, and the splitting (36) after Wilson et al. (2016), follow ü + 2√μ u̇ + ∇Φ = 0 on the time scale n√h; with (4),
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
_PRINTED, _SEQUENCE = "(36) as printed", "Nesterov sequence (4)"
_TEXTBOOK = ("HB-μ", "NAG-μ", _SEQUENCE)
_METHODS = {
    "HB-μ": mf.heavy_ball_strongly_convex,
    "NAG-μ": mf.nesterov_strongly_convex,
    "Wilson (36)": mf.wilson_splitting,
    _PRINTED: lambda h, mu: mf.wilson_splitting(h, mu, printed=True),
    _SEQUENCE: lambda h, mu: mf.nesterov_sequence(h),
}
_STYLES = {name: _plot.of(name).line(linestyle="-") for name in _METHODS if name != _PRINTED} | {
    _PRINTED: _plot.of("Wilson (36)").line(linestyle="--", fillstyle="none")
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


def _method(config: Config, name: str, h: float) -> mf.AbstractLinearMemory:
    """The method; those of fixed momentum by their matrix, so that one program serves all of them."""
    method = _METHODS[name](h, min(config.curvatures))
    return method if method.varies else mf.LinearMemory(*method.memory(0)[:3], method.time_step)


def _flow(config: Config, name: str) -> mf.AbstractFlow:
    if name == _SEQUENCE:
        return mf.SuBoydCandesODE()
    return mf.StronglyConvexODE(min(config.curvatures))


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Errors for each loss, method and h; on the quadratic also without this library."""
    rates = [4.0**-k for k in range(2, config.finest + 1)]
    cells = [(loss, name) for loss in _LOSSES for name in _METHODS]
    errors, floors = [], []
    for done, (loss, name) in enumerate(cells):
        progress.update(done, len(cells), label=f"{loss}, {name}")
        study = mf.convergence_study(
            lambda h, name=name: _method(config, name, h),
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
            "textbook": (
                ("textbook_optimizer", "h"),
                [[_textbook(config, name, h) for h in rates] for name in _TEXTBOOK],
                {"symbol": "max |u_n - u(n√h)|"},
            ),
        },
        {
            "loss": list(_LOSSES),
            "optimizer": list(_METHODS),
            "h": ("h", rates, {"symbol": "h"}),
            "textbook_optimizer": list(_TEXTBOOK),
        },
        {"mu": min(config.curvatures), "final_time": config.final_time},
    )


def _textbook(config: Config, name: str, h: float) -> float:
    """max |u_n - u(n√h)| on the quadratic by the recursion (7) and the ODE's closed form, in numpy."""
    k, u0, mu = (np.array(x) for x in (config.curvatures, config.start, min(config.curvatures)))
    constant = (1 - np.sqrt(mu * h)) / (1 + np.sqrt(mu * h))
    path = [u0, u0]
    for n in range(round(config.final_time / np.sqrt(h))):
        momentum = n / (n + 3) if name == _SEQUENCE else constant
        move = path[-1] - path[-2]
        query = path[-1] + (0 if name == "HB-μ" else momentum) * move
        path.append(path[-1] + momentum * move - h * k * query)
    t = np.sqrt(h) * np.arange(len(path) - 1)[:, None]
    exact = _bessel(k, t) if name == _SEQUENCE else _damped(k, mu, t)
    return float(np.linalg.norm(path[1:] - u0 * exact, axis=1).max())


def _bessel(k: np.ndarray, t: np.ndarray) -> np.ndarray:
    x = np.sqrt(k) * np.maximum(t, 1e-9)
    return 2 * j1(x) / x


def _damped(k: np.ndarray, mu: np.ndarray, t: np.ndarray) -> np.ndarray:
    """u(t)/u_0 of ü + 2√μ u̇ + ku = 0, k ≥ μ."""
    rate, frequency = np.sqrt(mu), np.sqrt(k - mu)
    return np.exp(-rate * t) * (np.cos(frequency * t) + rate * t * np.sinc(frequency * t / np.pi))


def _study(data: xr.Dataset, loss: str, name: str) -> mf.ConvergenceStudy:
    cell = data.sel(loss=loss, optimizer=name)
    return mf.ConvergenceStudy(cell["h"].values, cell["error"].values, cell["floor"].values)


def checks(data: xr.Dataset) -> list[Check]:
    """Errors against a computation without this library; order ½ of the last two slopes; order 0 of (36) as printed."""
    error = data["error"].sel(loss="quadratic", optimizer=list(_TEXTBOOK)).values
    gap = np.abs(error / data["textbook"].values - 1).max()
    source = "the recursion (7) in numpy; e^{-√μt}(cos ωt + √μ sin ωt/ω), ω² = k - μ; 2J₁(√k t)/(√k t)"
    found = [Check("quadratic: largest relative difference of an error", gap, 0.0, 1e-6, "within", source)]
    stated = "Kovachki & Stuart (2021), §5 and Appendix D: order ½"
    frictionless = "the printed friction 2√(μh) goes to 0 with h: another limit, at a fixed distance"
    for loss in data["loss"].values:
        for name in data["optimizer"].values:
            right, text = name != _PRINTED, f"{loss}, {name}: order"
            source = "Su, Boyd & Candès (2014): order ½" if name == _SEQUENCE else stated
            order = 0.5 if right else 0.0
            slopes = _study(data, loss, name).last_orders(2)
            worst = slopes[np.argmax(np.abs(slopes - order))] if len(slopes) == 2 else np.nan
            if not right:
                found.append(
                    Check(text, worst, 0.5, 0.1, "within", f"{stated}, with (36) as printed", refutes=True)
                )
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
                ax.plot(h, errors, **look, lw=1, label=name)
            lowest = float(data["error"].sel(loss=loss).isel(h=-1).min())
            ax.set_yscale("log")
            _plot.reference_slope(ax, h, 0.4 * lowest * (h[0] / h[-1]) ** 0.5, 0.5)
            _plot.log2_axis(ax, h)
            ax.set(xlabel="learning rate $h$", title=loss)
        axes[0].set_ylabel(r"$\max_n|u_n-u(n\sqrt{h})|$")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, columnspacing=1.2)
    return figure
