r"""The higher-order equations (13), and why more terms do not help.

Kovachki & Stuart (2021), §3.2.2: heavy ball satisfies Σ_{k≤p} h^{k-1}(1+(-1)^kλ)/k! u^{(k)} = f(u) to order p+1, and
as p → ∞ the left-hand side tends to [u(t+h)-u(t)]/h - λ[u(t)-u(t-h)]/h. For Nesterov f is taken at
u + aΣ_{k<p} (-1)^{k+1}h^ku^{(k)}/k!, the same expansion of the look-ahead.

Four things are measured. The residual of (13) on smooth iterates is of order p+1. The error from rest is of order
1 whatever p, since the initial layer is not smooth: h|f|λλ̄²max|λⁿ - Re e^{nσ}| with the root σ ≈ log λ of the
characteristic polynomial. From p = 5 on modes grow like e^{ct/h} at every λ (Routh), so that the limit p → ∞ is
formal. And two slips of the text: the remainder is I⁺ + λI⁻ with I⁻ as defined there, and the two middle lines of
the inverse Fourier transform have h and -h interchanged.
"""

import math
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from ..linear.higher_order import USABLE, higher_order_roots, transient_root
from . import _quadratic as quadratic
from . import _remainder as remainder
from .checks import Check


@dataclass(frozen=True)
class Config:
    """λ of the runs and of the spectra; the ladder h = 2^-5 … 2^-k to time T from u₀; the run of p = 5 at 2^-4."""

    momentum: float = 0.5
    spectra: tuple[float, ...] = (0.0, 0.5, 0.9)
    finest: int = 13
    final_time: float = 0.25
    start: tuple[float, float] = (1.0, -1.5)
    steps: int = 300


PRESETS = {"quick": Config(), "full": Config(spectra=(0.0, 0.25, 0.5, 0.9, 0.99), finest=15, steps=600)}

_USED = remainder.TERMS
_CONSISTENT = (2, 3, 4, 5)
_ALL = tuple(range(2, 13))
_LOSS = mf.LogCosh([1.0, 0.5])
_SMOOTH_TIME, _SMOOTH_STEPS, _SMOOTH_LADDER = 1.5, 200, (4, 5, 6, 7)
_COARSE = 2.0**-4
# An independent computation, to two digits: max Re σ at λ = 0.9, p = 5, …, 12.
_GROWTH = dict(zip(_ALL[3:], (0.01, 1.36, 1.41, 2.54, 2.59, 3.79, 3.86, 5.18), strict=True))
_PAPER = "Kovachki & Stuart (2021), §3.2.2"


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Errors from rest, residuals on smooth iterates, spectra, a run of p = 5, and the two slips."""
    parts = []
    for done, (label, part) in enumerate(
        (("errors", _errors), ("residuals", _residuals), ("spectra", _spectra), ("p = 5", _paths))
    ):
        progress.update(done, 4, label=label)
        parts.append(part(config))
    force = float(np.linalg.norm(jax.grad(_LOSS)(jnp.array(config.start))))
    attributes = {"momentum": config.momentum, "force": force}
    return xr.merge([*parts, remainder.slips()]).assign_attrs(attributes)


def _errors(config: Config) -> xr.Dataset:
    rates = quadratic.ladder(config.finest, 5)
    studies = [
        mf.convergence_study(
            lambda h, name=name: quadratic.method(name, h, config.momentum),
            lambda method, p=p: mf.HigherOrderODE(method, p),
            _LOSS,
            jnp.array(config.start),
            rates,
            config.final_time,
            start=jnp.zeros(2),
            max_steps=2 ** (config.finest + 1),
        )
        for p in _USED
        for name in quadratic.METHODS
    ]
    dims, shape = ("p", "optimizer", "h"), (len(_USED), len(quadratic.METHODS), len(rates))
    return xr.Dataset(
        {
            "error": (dims, np.reshape([s.errors for s in studies], shape), {"symbol": "max |u_n - u(t_n)|"}),
            "floor": (dims, np.reshape([s.floors for s in studies], shape)),
        },
        {
            "p": ("p", list(_USED), {"symbol": "p"}),
            "optimizer": list(quadratic.METHODS),
            "h": ("h", rates, {"symbol": "h"}),
        },
    )


def _residuals(config: Config) -> xr.Dataset:
    """h times (13) less f along the polynomial through eleven iterates, on the manifold and far from the start."""
    rates = [2.0**-k for k in _SMOOTH_LADDER]
    values = [
        [_residual(quadratic.method(name, h, config.momentum), config.start) for h in rates]
        for name in quadratic.METHODS
    ]
    return xr.Dataset(
        {"residual": (("optimizer", "step", "q"), np.array(values), {"symbol": "h|T_pu - f|"})},
        {"step": ("step", rates, {"symbol": "h"}), "q": ("q", list(_CONSISTENT), {"symbol": "p"})},
    )


def _residual(method: mf.MomentumMethod, start: tuple[float, float]) -> list[float]:
    h, lam, a = (float(x) for x in (method.learning_rate, method.momentum, method.lookahead))
    centre, reach = round(_SMOOTH_TIME / h), 5
    u = np.asarray(_smooth(method, jnp.array(start)))[centre - reach : centre + reach + 1]
    nodes = np.arange(-reach, reach + 1)
    scaled = np.linalg.solve(np.vander(nodes, increasing=True), u)  # h^k u^{(k)}/k! by rows
    found = []
    for p in _CONSISTENT:
        left = sum((1 + (-1) ** k * lam) * scaled[k] for k in range(1, p + 1))
        ahead = u[reach] - a * sum((-1) ** k * scaled[k] for k in range(1, p))
        found.append(float(np.linalg.norm(left + h * _gradient(ahead))))
    return found


def _gradient(u: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2"]:
    """Of Σ log cosh(s_i u_i), by hand: the residual takes nothing from the models."""
    scales = np.array([1.0, 0.5])
    return scales * np.tanh(scales * u)


@eqx.filter_jit
def _smooth(method: mf.MomentumMethod, start: Float[jax.Array, "2"]) -> Float[jax.Array, "n 2"]:
    return mf.iterate(method, _LOSS, start, _SMOOTH_STEPS, start="manifold").params


def _spectra(config: Config) -> xr.Dataset:
    """Largest Re σ of the modes of f = 0 but the constant, and how many of them grow."""
    roots = [[higher_order_roots(p, lam) for p in _ALL] for lam in config.spectra]
    largest = [[max(r[r != 0].real) for r in row] for row in roots]
    growing = [[int((r.real > 1e-9).sum()) for r in row] for row in roots]
    return xr.Dataset(
        {
            "growth": (("lam", "terms"), largest, {"symbol": "max Re σ"}),
            "growing": (("lam", "terms"), growing),
        },
        {
            "lam": ("lam", list(config.spectra), {"symbol": "λ"}),
            "terms": ("terms", list(_ALL), {"symbol": "p"}),
        },
    )


def _paths(config: Config) -> xr.Dataset:
    """Heavy ball on u²/2 with h = 2^-4 beside the solution of (13) with p = 5, and the growth of its second half."""
    method, loss, start = mf.heavy_ball(_COARSE, config.momentum), mf.Quadratic([1.0]), jnp.ones(1)
    run = mf.iterate(method, loss, start, config.steps)
    flow = mf.solve(mf.HigherOrderODE(method, 5, unstable=True), loss, start, run.times)
    return xr.Dataset(
        {
            "iterates": ("n", run.params[:, 0], {"symbol": "u_n"}),
            "five": ("n", flow.params[:, 0], {"symbol": "u(t_n), p = 5"}),
            "measured_growth": growth_of_a_pair(np.asarray(flow.params)[config.steps // 2 :, 0]),
            "expected_growth": higher_order_roots(5, config.momentum, _COARSE)[0].real,
        },
        {"n": ("n", np.arange(config.steps + 1), {"symbol": "n"})},
        {"outcome": flow.outcome},
    )


def growth_of_a_pair(u: Float[np.ndarray, " n"]) -> float:
    """Re σ of two conjugate modes from their samples: u_{n+1} = cu_n - bu_{n-1} with b = e^{2 Re σ} (Prony)."""
    (_, b), *_ = np.linalg.lstsq(np.stack([u[1:-1], -u[:-2]], axis=1), u[2:], rcond=None)
    return math.log(b) / 2


def layer_limit(p: int, lam: float) -> float:
    """e(h)/(h|f|) as h → 0: λλ̄² max|λⁿ - Re e^{nσ₁}|."""
    n = np.arange(400)
    return lam / (1 - lam) ** 2 * np.abs(lam**n - np.exp(n * transient_root(p, lam)).real).max()


def _study(data: xr.Dataset, p: int, name: str) -> mf.ConvergenceStudy:
    cell = data.sel(p=p, optimizer=name)
    return mf.ConvergenceStudy(cell["h"].values, cell["error"].values, cell["floor"].values)


def checks(data: xr.Dataset) -> list[Check]:
    """Order 1 from rest, p+1 on smooth iterates; p ≤ 4 stable, p ≥ 5 not; the run of p = 5; the two slips."""
    return [*_order_checks(data), *_spectrum_checks(data), *remainder.checks(data)]


def _order_checks(data: xr.Dataset) -> list[Check]:
    found = []
    for name in data["optimizer"].values:
        for p in map(int, data["p"].values):
            study, limit = _study(data, p, name), data.attrs["force"] * layer_limit(p, data.attrs["momentum"])
            (slope,) = study.last_orders(1) if len(study.last_orders(1)) else (np.nan,)
            constant = study.errors[-1] / study.learning_rates[-1]
            layer = "λλ̄²|f| max|λⁿ - Re e^{nσ}|, f constant in the layer"
            found += [
                Check(f"{name}, p = {p}: order from rest", slope, 1, 0.1, "within", f"{_PAPER}: no gain"),
                Check(f"{name}, p = {p}: error over h", constant, limit, 0.1 * limit, "within", layer),
            ]
        for p in data["q"].values:
            residual = data["residual"].sel(optimizer=name, q=p).values
            text, source = f"{name}, p = {p}: order of the residual", f"{_PAPER}: consistent to order p+1"
            slope = np.log2(residual[-2] / residual[-1])
            found.append(Check(text, slope, p + 1, 0.2, "within", source))
    return found


def _spectrum_checks(data: xr.Dataset) -> list[Check]:
    routh = "Routh array of P(σ)/σ: its entry p(p-2)(5-p), for p = 5 -15, is negative at every λ"
    found = []
    for lam in data["lam"].values:
        cell = data.sel(lam=lam)
        usable, beyond = (
            cell["growth"].sel(terms=slice(None, USABLE)).max(),
            cell["growing"].sel(terms=slice(5, None)),
        )
        text = f"λ = {lam:g}: growing modes for p = 5, …, 12"
        found += [
            Check(f"λ = {lam:g}: largest Re σ for p ≤ 4", usable, 0, 0, "at most", "Routh array, p ≤ 4"),
            Check(f"{text}, fewest", beyond.min(), 2, 0, "at least", routh),
            Check(f"{text}, fewest", beyond.min(), 0, 0, "at most", f"{_PAPER}: p → ∞", refutes=True),
        ]
    for p, expected in _GROWTH.items():
        text, source = f"λ = 0.9, p = {p}: max Re σ", "an independent float64 computation"
        growth = data["growth"].sel(lam=0.9, terms=p)
        found.append(Check(text, growth, expected, 0.005, "within", source))
    last = {name: np.abs(data[name])[-20:].max() for name in ("iterates", "five")}
    roots = "root of the characteristic polynomial with x = hk"
    return [
        *found,
        Check(
            "p = 5, u²/2: growth per iteration",
            data["measured_growth"],
            data["expected_growth"],
            1e-3,
            "within",
            roots,
        ),
        Check("p = 5, u²/2: |u(t)| in the end", last["five"], 1e3, 0, "at least", "the mode grows"),
        Check("heavy ball, u²/2: |u_n| in the end", last["iterates"], 0, 1e-6, "within", "hk < 2(1+λ)"),
    ]


def plot(data: xr.Dataset) -> Figure:
    """Errors from rest and residuals against h; the spectrum against p; the run of p = 5."""
    with _plot.style():
        figure = _plot.figure(8.4, 6.6)
        (errors, residuals), (spectrum, paths) = figure.subplots(2, 2)
        _ladder(errors, data, "error", "p", "h")
        _plot.reference_slope(errors, data["h"].values, 4 * float(data["error"].max()), 1)
        errors.set(ylabel=r"$\max_n|u_n-u(t_n)|$", title="from rest: order 1")
        _ladder(residuals, data, "residual", "q", "step")
        for p in data["q"].values:
            top = 5 * float(data["residual"].sel(q=p).isel(step=0).max())
            _plot.reference_slope(residuals, data["step"].values, top, int(p) + 1, "")
        residuals.set(ylabel="$h\\,|T_pu-f|$", title="smooth iterates: order $p+1$ (dotted)")
        _spectrum_panel(spectrum, data)
        _path_panel(paths, data)
        figure.legend(handles=_handles(data), loc="outside upper center", ncols=6)
    return figure


_COLORS = dict(zip(_CONSISTENT, _plot.sequence(len(_CONSISTENT)), strict=True))


def _handles(data: xr.Dataset) -> list[Line2D]:
    """A colour for each p, a marker for each method."""
    lines = [Line2D([], [], color=color, label=f"p = {p}") for p, color in _COLORS.items()]
    looks = [_look(name, "#555555") | {"label": name} for name in data["optimizer"].values]
    return [*lines, *(Line2D([], [], **look) for look in looks)]


def _look(name: str, color: Any) -> dict[str, Any]:
    line = "-" if name == "HB" else "--"
    return {"color": color, "ls": line, "marker": _plot.of(name).marker, "ms": 4, "lw": 1.2}


def _ladder(ax: Axes, data: xr.Dataset, key: str, terms: str, step: str) -> None:
    for p in data[terms].values:
        for name in data["optimizer"].values:
            cell = data[key].sel({terms: p, "optimizer": name})
            ax.plot(data[step], cell, **_look(str(name), _COLORS[int(p)]))
    _plot.log2_axis(ax, data[step].values, most=5)
    ax.set(yscale="log", xlabel="learning rate $h$")


def _spectrum_panel(ax: Axes, data: xr.Dataset) -> None:
    shades = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#777777")
    for lam, color, marker in zip(data["lam"].values, shades, "os^Dv", strict=False):
        growth = data["growth"].sel(lam=lam)
        ax.plot(data["terms"], growth, color=color, marker=marker, lw=1.1, label=f"λ = {lam:g}")
    ax.axhline(0, color="#555555", lw=0.9)
    ax.set(
        xlabel="terms $p$",
        ylabel=r"largest Re $\sigma$, per iteration",
        title=r"modes $e^{\sigma t/h}$ of (13)",
    )
    ax.set_xticks(data["terms"].values[::2])
    ax.legend()


def _path_panel(ax: Axes, data: xr.Dataset) -> None:
    n, rate = data["n"].values, float(data["expected_growth"])
    five = np.abs(data["five"].values)
    ax.plot(n, np.abs(data["iterates"]), color=_plot.of("HB").color, lw=1.4, label="$|u_n|$, heavy ball")
    ax.plot(n, five, color=_COLORS[5], lw=1.1, label="$|u(t_n)|$, p = 5")
    shown = n[len(n) // 3 :]
    envelope = 4 * five.max() * np.exp(rate * (shown - n[-1]))
    ax.plot(shown, envelope, color="#555555", lw=1.2, ls=":", label=r"$e^{n\,\mathrm{Re}\,\sigma}$")
    title = f"$u^2/2$, $h = 2^{{-4}}$, λ = {data.attrs['momentum']:g}"
    ax.set(yscale="log", xlabel="iteration $n$", ylabel="$|u|$", ylim=(1e-12, 1e4 * five.max()), title=title)
    ax.legend(loc="upper left")
