r"""The oscillations of momentum at large h, by equations that the paper does not have.

Kovachki & Stuart (2021), §3.3: "(11) is not able to adequately capture the oscillations of NAG when h is relatively
large", and finding equations that do is left for future work. Here (8), (11) with each initial velocity, the
inertial flow, the phase-space flow and the principal flow follow heavy ball and Nesterov from rest on Φ = ½⟨u, Qu⟩,
Q = diag(1, κ), λ = 0.9, and with them some second-order ODEs between (11) and the inertial flow.

On a quadratic every model is linear, x' = Lx, so its solution at t = n Δt is e^{LΔt} to the power n: no error of a
solver stands between a model and its distance. Nesterov at hκ > 1 reverses orientation, and no autonomous flow in
(u, v) passes through its iterates.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.linalg import expm

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from ..linear.family import flow_limit
from . import _quadratic as quadratic
from . import _transient_variants as variants
from .checks import Check


@dataclass(frozen=True)
class Config:
    """λ, κ with the exponent k of the h = 2^-k at which trajectories are drawn, the ladder of exponents, T."""

    momentum: float = 0.9
    condition_numbers: tuple[float, ...] = (5.0, 20.0)
    drawn: tuple[int, ...] = (4, 5)
    exponents: tuple[int, int] = (4, 9)
    final_time: float = 2.0


PRESETS = {"quick": Config(), "full": Config(exponents=(4, 13))}

_LIMIT, _ODE = "rescaled gradient flow (8)", "momentum ODE (11)"
_INERTIAL, _PHASE, _PRINCIPAL = "inertial flow, order 3", "phase flow, order 3", "principal flow"
_DRAWN = {_LIMIT: _LIMIT, f"{_ODE}, slow": _ODE, _INERTIAL: "inertial flow", _PHASE: "phase flow"}
_SUBSTEPS = 16
"""Points of a drawn curve per iteration."""

_TABLE = {  # κ = 20, λ = 0.9, T = 2, h = 2^-4 … 2^-9
    ("HB", _LIMIT): (1.2e0, 9.8e-1, 8.6e-1, 7.2e-1, 5.8e-1, 4.8e-1),
    ("HB", f"{_ODE}, printed"): (1.2e0, 7.5e-1, 4.8e-1, 3.2e-1, 2.1e-1, 1.3e-1),
    ("HB", f"{_ODE}, taylor"): (5.9e-1, 2.0e-1, 6.8e-2, 2.5e-2, 1.1e-2, 5.2e-3),
    ("HB", f"{_ODE}, slow"): (5.9e-1, 1.9e-1, 6.3e-2, 2.2e-2, 7.7e-3, 2.8e-3),
    ("HB", "HDa"): (5.9e-1, 1.9e-1, 6.3e-2, 2.2e-2, 7.7e-3, 2.8e-3),
    ("HB", "inertial 2, leading u̇(0)"): (1.7e-1, 4.7e-2, 1.5e-2, 4.8e-3, 1.6e-3, 4.9e-4),
    ("HB", "inertial flow, order 2"): (1.2e-1, 1.7e-2, 2.9e-3, 5.0e-4, 9.1e-5, 1.6e-5),
    ("HB", _INERTIAL): (2.7e-2, 2.0e-3, 1.6e-4, 1.4e-5, 1.3e-6, 1.1e-7),
    ("HB", "phase series in y, order 2"): (1.3e0, 7.1e-1, 3.7e-1, 1.3e-1, 3.7e-2, 1.0e-2),
    ("HB", "phase series in y, order 3"): (7.6e-1, 2.4e-1, 3.9e-2, 5.0e-3, 6.5e-4, 8.5e-5),
    ("HB", "phase flow, order 2"): (1.5e4, 3.9e-1, 4.3e-2, 5.6e-3, 7.5e-4, 1.1e-4),
    ("HB", _PHASE): (2.1e0, 1.5e-1, 4.0e-3, 1.4e-4, 5.4e-6, 2.5e-7),
    ("NAG", _LIMIT): (6.4e-1, 4.8e-1, 6.6e-1, 6.4e-1, 5.8e-1, 4.9e-1),
    ("NAG", f"{_ODE}, printed"): (9.9e-1, 7.4e-1, 5.0e-1, 3.2e-1, 1.9e-1, 1.1e-1),
    ("NAG", f"{_ODE}, taylor"): (1.3e0, 6.7e-1, 4.8e-1, 3.1e-1, 2.0e-1, 1.3e-1),
    ("NAG", "HDa"): (5.5e-1, 1.6e-1, 9.6e-2, 5.2e-2, 2.6e-2, 1.1e-2),
    ("NAG", "HDb"): (5.5e-1, 1.7e-1, 9.6e-2, 5.3e-2, 2.6e-2, 1.1e-2),
    ("NAG", "HDa, relative mass"): (5.5e-1, 1.3e-1, 4.6e-2, 1.8e-2, 7.2e-3, 2.8e-3),
    ("NAG", "HDP"): (4.6e-1, 6.0e-2, 1.2e-2, 2.7e-3, 6.3e-4, 1.5e-4),
    ("NAG", "inertial flow, order 2"): (6.1e-1, 1.2e-1, 5.0e-2, 1.9e-2, 6.6e-3, 2.2e-3),
    ("NAG", _INERTIAL): (4.6e-1, 4.6e-2, 9.9e-3, 1.9e-3, 3.4e-4, 5.5e-5),
    ("NAG", "phase series in y, order 3"): (None, 1.7e-1, 3.7e-2, 7.3e-3, 1.3e-3, 2.1e-4),
    ("NAG", "phase flow, order 2"): (4.0e-1, 4.2e-2, 8.9e-3, 1.7e-3, 3.6e-4, 6.7e-5),
    ("NAG", _PHASE): (3.9e-1, 1.0e-2, 5.7e-4, 3.4e-5, 2.1e-6, 1.2e-7),
}
_SOURCE = "an independent float64 computation that preceded the project, two digits"


def models(method: mf.MomentumMethod, momentum: float, lookahead: float) -> dict[str, mf.AbstractFlow]:
    """Every model of one method."""
    damped = variants.hessian_damped(momentum, lookahead)
    return {
        _LIMIT: mf.RescaledGradientFlow(method),
        **{f"{_ODE}, {name}": mf.MomentumODE(method, name) for name in ("printed", "taylor", "slow")},
        **{name: make(method) for name, make in damped.items()},
        **{f"inertial flow, order {p}": mf.InertialFlow(method, p) for p in (2, 3)},
        **{f"phase flow, order {p}": mf.PhaseFlow(method, p) for p in (2, 3)},
        **{f"phase series, order {p}": mf.PhaseFlow(method, p, series=True) for p in (2, 3)},
        **{
            f"phase series in y, order {p}": variants.series_in_y(momentum, lookahead, p)(method)
            for p in (2, 3)
        },
        _PRINCIPAL: mf.PrincipalFlow(method),
    }


@eqx.filter_jit
def generators(
    flows: Mapping[str, mf.AbstractFlow], loss: mf.Quadratic, params: Float[Array, "2"]
) -> dict[str, tuple[Float[Array, "4 4"], Float[Array, "4"]]]:
    """L and x(0) of x' = Lx, x = (u, v), for each model; of (8), without v, padded with zeros."""
    found = {}
    for name, flow in flows.items():
        start, unravel = ravel_pytree(flow.initial_state(loss, params, "rest"))
        field, missing = flow.field(loss), 4 - len(start)

        def column(x: Float[Array, " d"], field=field, unravel=unravel) -> Float[Array, " d"]:
            return ravel_pytree(field(jnp.zeros(()), unravel(x)))[0]

        columns = jax.vmap(column, out_axes=1)(jnp.eye(len(start)))
        found[name] = jnp.pad(columns, (0, missing)), jnp.pad(start, (0, missing))
    return found


def powers(
    fields: Float[np.ndarray, "models 4 4"], start: Float[np.ndarray, "models 4"], count: int
) -> Float[np.ndarray, "models count 2"]:
    """u of x_0, …, x_{count-1}, x_n = e^{nA}x_0: each pass doubles what is there. NaN where A does not exist."""
    exists = np.isfinite(fields).all((1, 2))[:, None, None]
    step = np.where(exists, expm(np.where(exists, fields, 0)), np.nan)
    path = start[..., None]
    with np.errstate(all="ignore"):  # a model that diverges is a result
        while path.shape[-1] < count:
            path, step = np.concatenate([path, step @ path], axis=-1), step @ step
    return path[:, :2, :count].swapaxes(1, 2)


def run(config: Config, progress: Progress) -> xr.Dataset:
    """max |u_n - u(t_n)| for every model, method, κ and h; iterates and curves at the largest h below 1/κ."""
    first, last = config.exponents
    rates = quadratic.ladder(last, first)
    cells = [(name, kappa) for name in quadratic.METHODS for kappa in config.condition_numbers]
    names: dict[str, tuple] = {}
    errors, paths, curves = [], [], []
    for done, (name, kappa) in enumerate(cells):
        progress.update(done, len(cells), label=f"{name}, κ = {kappa:g}")
        shown = 2.0 ** -config.drawn[config.condition_numbers.index(kappa)]
        column = []
        for h in rates:
            names, fields, starts, iterates = _linear(config, name, kappa, h)
            gaps = powers(fields, starts, len(iterates)) - iterates
            with np.errstate(over="ignore"):
                column.append(np.linalg.norm(gaps, axis=-1).max(axis=-1))
            if h == shown:
                paths.append(iterates)
                kept, count = (
                    [list(names).index(model) for model in _DRAWN],
                    _SUBSTEPS * (len(iterates) - 1) + 1,
                )
                curves.append(powers(fields[kept] / _SUBSTEPS, starts[kept], count))
        errors.append(np.stack(column, axis=-1))
    return _labelled(config, tuple(names), rates, errors, paths, curves)


def _linear(
    config: Config, name: str, kappa: float, h: float
) -> tuple[dict, np.ndarray, np.ndarray, np.ndarray]:
    """The models by name, their hL and starts, and the iterates up to T."""
    method, loss = quadratic.method(name, h, config.momentum), quadratic.problem(kappa)
    start, longest = jnp.array(quadratic.START), round(config.final_time * 2 ** config.exponents[1])
    iterates = mf.iterate(method, loss, start, longest).params[: round(config.final_time / h) + 1]
    found = generators(models(method, config.momentum, float(method.lookahead)), loss, start)
    fields, starts = (np.stack([np.asarray(pair[i]) for pair in found.values()]) for i in (0, 1))
    return found, h * fields, starts, np.asarray(iterates)


def _labelled(
    config: Config, names: tuple[str, ...], rates: list[float], errors: list, paths: list, curves: list
) -> xr.Dataset:
    shape = (len(quadratic.METHODS), len(config.condition_numbers))
    cells = ("optimizer", "kappa")

    def grid(rows: list[np.ndarray]) -> np.ndarray:
        padded = quadratic.padded(rows, max(map(len, rows)))
        return padded.reshape(*shape, *padded.shape[1:])

    curve = grid([x.swapaxes(0, 1) for x in curves])
    return xr.Dataset(
        {
            "error": ((*cells, "model", "h"), np.stack(errors).reshape(*shape, len(names), len(rates)),
                      {"symbol": "max |u_n - u(t_n)|"}),
            "iterates": ((*cells, "iteration", "component"), grid(paths), {"symbol": "u_n"}),
            "curve": ((*cells, "substep", "drawn", "component"), curve, {"symbol": "u(t)"}),
        },
        {
            "optimizer": list(quadratic.METHODS),
            "kappa": ("kappa", list(config.condition_numbers), {"symbol": "κ"}),
            "drawn_h": ("kappa", [2.0**-k for k in config.drawn], {"symbol": "h"}),
            "model": list(names),
            "drawn": list(_DRAWN),
            "h": ("h", rates, {"symbol": "h"}),
            "component": ["u1", "u2"],
        },
        {"momentum": config.momentum, "final_time": config.final_time},
    )  # fmt: skip


def checks(data: xr.Dataset) -> list[Check]:
    """The table, cell by cell to 5 %; the principal flow where it exists; the inertial flow against (8) and (11)."""
    return [*_table(data), *_principal(data), *_gains(data)]


def _table(data: xr.Dataset) -> list[Check]:
    found = []
    for (name, model), row in _TABLE.items():
        for k, expected in enumerate(row, start=4):
            computed = data["error"].sel(optimizer=name, model=model, kappa=20, h=2.0**-k)
            where = f"{name}, {model}, h = 2^-{k}: max |u_n - u(t_n)|"
            if expected is None:
                found.append(Check(where, computed, 1e3, 0, "at least", f"{_SOURCE}: it diverges"))
            else:
                found.append(Check(where, computed, expected, 0.05 * expected, "within", _SOURCE))
    return found


def _principal(data: xr.Dataset) -> list[Check]:
    found, lam = [], data.attrs["momentum"]
    for name in data["optimizer"].values:
        limit = float(flow_limit(lam, 0.0 if name == "HB" else lam))
        for kappa in data["kappa"].values:
            error = data["error"].sel(optimizer=name, model=_PRINCIPAL, kappa=kappa)
            exists = error["h"] * kappa < limit
            where = f"{name}, κ = {kappa:g}: error of the principal flow"
            found.append(
                Check(where, error.where(exists).max(), 0, 1e-12, "within", "log M is exact on quadratics")
            )
            if not exists.all():
                where = f"{name}, κ = {kappa:g}: share of the h with hκ ≥ x₊ at which it is a number"
                share = np.isfinite(error.where(~exists, drop=True)).mean()
                found.append(Check(where, share, 0, 0, "within", "det M < 0: no flow in (u, v)"))
    return found


def _gains(data: xr.Dataset) -> list[Check]:
    """The paper's models against the inertial flow, at every h and κ."""
    paper = [m for m in data["model"].values if m.startswith((_LIMIT, _ODE))]
    best = data["error"].sel(model=paper).min("model")
    return [
        Check(
            f"{name}: largest error of the inertial flow of order 3, over the best of (8) and (11)",
            (data["error"].sel(model=_INERTIAL) / best).sel(optimizer=name).max(), 1, 0, "at most",
            "uniformly O(h³), where (8) and (11) are O(h)",
        )
        for name in data["optimizer"].values
    ]  # fmt: skip


_LADDERS = {  # model: its look, line, marker, label
    _LIMIT: (_LIMIT, "--", "", "(8)"),
    f"{_ODE}, slow": (_ODE, "-", "o", "(11), slow velocity"),
    "HDa": ("(19) as printed", ":", "x", "(11) with damping $haH$"),
    "inertial flow, order 2": ("inertial flow", "--", "^", "inertial flow, order 2"),
    _INERTIAL: ("inertial flow", "-", "s", "inertial flow, order 3"),
    "phase series, order 3": ("principal flow", "-", "v", "phase flow (series), order 3"),
    _PHASE: ("phase flow", "-", "D", "phase flow (iterates), order 3"),
}


def plot(data: xr.Dataset) -> Figure:
    """Iterates beside (8), (11), the inertial and the phase flow: a row for a method and κ; below, errors against h."""
    with _plot.style():
        figure = _plot.figure(9.0, 11.0)
        top, bottom = figure.subfigures(2, 1, height_ratios=(2.9, 1))
        axes = top.subplots(4, 4, sharex="row", sharey="row")
        cells = [(name, kappa) for name in ("NAG", "HB") for kappa in data["kappa"].values]
        for row, (name, kappa) in zip(axes, cells, strict=True):
            _trajectories(row, data.sel(optimizer=name, kappa=kappa))
        for ax, model in zip(axes[0], _DRAWN, strict=True):
            ax.set_title(model.removesuffix(", slow"))
        for ax in axes[-1]:
            ax.set_xlabel("$u_1$")
        ladders = bottom.subplots(1, 4, sharey=True, sharex=True)
        for ax, (name, kappa) in zip(ladders, cells, strict=True):
            _errors(ax, data["error"].sel(optimizer=name, kappa=kappa))
        lowest = float(data["error"].sel(model=list(_LADDERS)).min())
        ladders[0].set_ylim(lowest / 4, 5)
        ladders[0].set_ylabel(r"$\max_n|u_n-u(t_n)|$")
        bottom.legend(*ladders[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _trajectories(row: np.ndarray, cell: xr.Dataset) -> None:
    exponent, name = round(np.log2(float(cell["drawn_h"]))), str(cell["optimizer"].values)
    iterates = cell["iterates"].dropna("iteration").values
    for ax, (model, look) in zip(row, _DRAWN.items(), strict=True):
        curve = cell["curve"].sel(drawn=model).dropna("substep").values
        ax.plot(*curve.T, **_plot.of(look).line(linestyle="-", linewidth=1.1), zorder=2)
        ax.plot(*iterates.T, **_plot.of(name).line(markersize=2.6), zorder=3)
    row[0].set_ylabel(f"{name}, κ = {float(cell['kappa']):g}, $h = 2^{{{exponent}}}$\n$u_2$")


def _errors(ax: Axes, error: xr.DataArray) -> None:
    for model, (look, line, marker, label) in _LADDERS.items():
        style = _plot.of(look).line(linestyle=line, marker=marker, markersize=4, linewidth=1.1, label=label)
        ax.plot(error["h"], error.sel(model=model), **style)
    ax.set_yscale("log")
    _plot.log2_axis(ax, error["h"].values, most=6)
    name, kappa = str(error["optimizer"].values), float(error["kappa"])
    if name == "NAG" and 1 / kappa < error["h"].max():
        ax.axvline(1 / kappa, color="#555555", lw=0.9, ls=":")
        place = ax.get_xaxis_transform()
        ax.text(1 / kappa, 0.05, "$h\\kappa=1$ ", transform=place, ha="right", fontsize=8)
    ax.set(xlabel="$h$", title=f"{name}, κ = {kappa:g}")
