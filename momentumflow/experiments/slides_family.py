"""The family of O(h²) modified flows of momentum.

Ghosh et al. (ICLR 2023), "Family of O(h²) modified flows": the slide is a figure without a statement. Derived here:
from rest on one loss, a flow u̇ = -a_k∇E - h b_k∇²E∇E on [t_k, t_{k+1}), started at u₀ + hs∇E(u₀), is O(h²) from heavy
ball outside the initial layer iff (i) a_k → λ̄ and s + Σ(λ̄ - a_k) = λλ̄² and (ii) b_k → (1+λ)/(2(1-λ)³), approached
geometrically (λ is β on the slides; for a look-ahead a the limit of b_k is λ̄²(λ̄ - a - ½), and (i) is the same).
Here members of every kind: the slides' own, of order 2 from the first step; with the constant drift λ̄ from a shifted
start; one that stands still for the λ/(1-λ) iterations of the lag, then moves at full pace; one with a memory of its
own and a shift that makes up for it; the momentum ODE (11) with the matched velocity; the lagged flow. As controls,
drifts that miss one of the conditions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

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
from . import _quadratic as quadratic
from . import _slopes as slopes
from .checks import Check

_METHODS, _START, _LATE = ("HB", "NAG"), "t ≥ 0", "t ≥ t₀"
_SLIDES = "Ghosh et al. (ICLR 2023), IGRM-S on one loss"
_DERIVED = "conditions (i) and (ii)"
_SHOWN = 8


class _Member(NamedTuple):
    """How a model is made from a method, its orders for t ≥ 0 and t ≥ t₀, and what says so."""

    make: Callable[[mf.MomentumMethod], mf.AbstractFlow | mf.AbstractPiecewiseFlow | None]
    orders: tuple[float, float]
    source: str


def _limits(method: mf.MomentumMethod) -> tuple[float, float, float]:
    """λ, λ̄ and λ̄c."""
    pace = float(method.amplification)
    return float(method.momentum), pace, pace * float(method.regularization)


def _free_bend(method: mf.MomentumMethod) -> mf.FamilyFlow:
    """The slides' a_k with b_k at its limit from the first step on."""
    return mf.FamilyFlow(method, drift=mf.FamilyFlow(method, "transient").drift, bend=[_limits(method)[-1]])


def _own_memory(method: mf.MomentumMethod) -> mf.FamilyFlow:
    """a_k = λ̄(1 - ρ^{k+1}) with ρ = λ/2, whose sum leaves λ̄ρ/(1-ρ), and the shift that makes up for it."""
    lam, pace, bend = _limits(method)
    powers = (lam / 2) ** np.arange(1, 1 + int(np.ceil(40 / -np.log2(lam / 2))))
    left = pace * (lam / 2) / (1 - lam / 2)
    return mf.FamilyFlow(
        method, drift=pace * (1 - np.append(powers, 0)), bend=[bend], shift=lam * pace**2 - left
    )


def _no_lag(method: mf.MomentumMethod) -> mf.FamilyFlow:
    _, pace, bend = _limits(method)
    return mf.FamilyFlow(method, drift=[pace], bend=[bend])


def _no_memory(method: mf.MomentumMethod) -> mf.FamilyFlow:
    """b_k of gradient descent with the effective learning rate, λ̄²/2."""
    lam, pace, _ = _limits(method)
    return mf.FamilyFlow(method, drift=[pace], bend=[pace**2 / 2], shift=lam * pace**2)


_LENGTH = 128
Model = mf.AbstractFlow | mf.AbstractPiecewiseFlow | None


def _alike(model: Model) -> Model:
    """The same flow with sequences of a common length: one program serves every member."""
    if not isinstance(model, mf.FamilyFlow):
        return model
    drift, bend = (
        np.pad(x, (0, max(0, _LENGTH - len(x))), "edge") for x in map(np.asarray, (model.drift, model.bend))
    )
    return mf.FamilyFlow(model.method, drift=drift, bend=bend, shift=float(model.shift))


_LAGGED_FLOW = "lagged flow of u + hλλ̄v"
_MEMBERS = {
    "transient aₖ, bₖ (slides)": _Member(lambda m: mf.FamilyFlow(m, "transient"), (2, 2), _SLIDES),
    "transient aₖ, constant bₖ": _Member(_free_bend, (2, 2), "b_k is free in the layer"),
    _LAGGED_FLOW: _Member(lambda m: None, (2, 2), "p = u + hλλ̄v moves by -hλ̄∇E exactly"),
    "aₖ = λ̄, shifted start": _Member(lambda m: mf.FamilyFlow(m, "lagged"), (1, 2), _DERIVED),
    "waits λ/(1-λ) iterations": _Member(lambda m: mf.FamilyFlow(m, "waiting"), (1, 2), _DERIVED),
    "memory λ/2, shifted start": _Member(_own_memory, (1, 2), _DERIVED),
    "(11), matched velocity": _Member(lambda m: mf.MomentumODE(m), (1, 2), "(11) reduces to the slow flow"),
    "control: without the lag": _Member(_no_lag, (1, 1), "(i) is missed by λλ̄²"),
    "control: bₖ of gradient descent": _Member(_no_memory, (1, 1), "(ii) is missed by λ̄²(λ̄ - a - 1)"),
}


@dataclass(frozen=True)
class Config:
    """λ, finest exponent k of h = 2^-7 … 2^-k, T, t₀, the datum (x, y), u₀, and h of the picture of the layer."""

    momentum: float = 0.6
    finest: int = 12
    final_time: float = 1.0
    late_time: float = 0.25
    x: float = 1.0
    y: float = 0.6
    start: tuple[float, float] = (1.4, -0.4)
    shown_learning_rate: float = 2.0**-10


PRESETS = {"quick": Config(), "full": Config(finest=15)}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Errors for every method, member, window and h; what each member of the class misses; the layer."""
    rates = quadratic.ladder(config.finest, 7)
    dims = ("optimizer", "member", "window", "h")
    shape = (len(_METHODS), len(_MEMBERS), 2, len(rates))
    data = xr.Dataset(
        {
            "error": (dims, np.full(shape, np.nan), {"symbol": "max |u_n - u(t_n)|"}),
            "floor": (dims, np.full(shape, np.nan)),
        },
        {
            "optimizer": list(_METHODS),
            "member": list(_MEMBERS),
            "window": [_START, _LATE],
            "h": ("h", rates, {"symbol": "h"}),
        },
        {"momentum": config.momentum, "late_time": config.late_time},
    )
    cells = [(name, member) for name in _METHODS for member in _MEMBERS]
    for done, (name, member) in enumerate(cells):
        progress.update(done, len(cells), label=f"{name}, {member}")
        for window in data["window"].values:
            study = _measure(config, name, member, window, rates)
            where = {"optimizer": name, "member": member, "window": window}
            data["error"].loc[where], data["floor"].loc[where] = study.errors, study.floors
    return xr.merge([data, _conditions(config), _layer(config)]).assign_attrs(data.attrs)


def _measure(config: Config, name: str, member: str, window: str, rates: list[float]) -> mf.ConvergenceStudy:
    loss, begin = mf.ProductLoss(config.x, config.y), jnp.array(config.start)

    def method(h: float) -> mf.MomentumMethod:
        return quadratic.method(name, h, config.momentum)

    late = config.late_time if window == _LATE else 0.0
    if member == _LAGGED_FLOW:
        # a model on mini-batches: here each step draws the one loss
        steps = int(np.ceil(config.final_time / rates[-1]))
        known = (_OneBatch(loss), begin, jnp.zeros(1), np.zeros((1, steps), int), rates, config.final_time)
        return mf.pathwise_study(method, mf.StochasticLaggedFlow, *known)

    def make(stepper: mf.AbstractLinearMemory) -> Model:
        return _alike(_MEMBERS[member].make(stepper))

    return mf.convergence_study(method, make, loss, begin, rates, config.final_time, from_time=late)


class _OneBatch(eqx.Module):
    """A loss as one of (params, datum)."""

    loss: mf.ProductLoss

    def __call__(self, u: Float[Array, "2"], datum: Float[Array, ""]) -> Float[Array, ""]:
        return self.loss(u)


def _family(config: Config, name: str) -> dict[str, mf.FamilyFlow]:
    """The members that are drifts of their own."""
    method = quadratic.method(name, config.shown_learning_rate, config.momentum)
    made = {member: _alike(_MEMBERS[member].make(method)) for member in _MEMBERS}
    return {member: flow for member, flow in made.items() if isinstance(flow, mf.FamilyFlow)}


def _conditions(config: Config) -> xr.Dataset:
    """What the members miss of (i) and (ii)."""
    rows = [[flow.defects for flow in _family(config, name).values()] for name in _METHODS]
    return xr.Dataset(
        {"defect": (("optimizer", "flow", "condition"), np.array(rows), {"symbol": "a_∞ - λ̄, (i), (ii)"})},
        {"flow": list(_family(config, "HB")), "condition": list(mf.Defects._fields)},
    )


def _layer(config: Config) -> xr.Dataset:
    """How far heavy ball and the members get along -∇E(u₀) in the first iterations, in units of hλ̄|∇E(u₀)|."""
    loss, begin = mf.ProductLoss(config.x, config.y), jnp.array(config.start)
    method = quadratic.method("HB", config.shown_learning_rate, config.momentum)
    h, slope = config.shown_learning_rate, np.asarray(jax.grad(loss)(begin))
    direction = -slope / (h * float(method.amplification) * np.sum(slope**2))
    fine = np.linspace(0, _SHOWN, 10 * _SHOWN + 1)
    paths = [mf.solve(flow, loss, begin, h * fine).params for flow in _family(config, "HB").values()]
    iterates = mf.iterate(method, loss, begin, _SHOWN).params
    return xr.Dataset(
        {
            "progress": (
                ("flow", "fine"),
                (np.asarray(paths) - config.start) @ direction,
                {"symbol": "hλ̄|∇E|"},
            ),
            "iterates": ("n", (np.asarray(iterates) - config.start) @ direction, {"symbol": "hλ̄|∇E|"}),
        },
        {"fine": ("fine", fine, {"symbol": "t/h"}), "n": np.arange(_SHOWN + 1)},
    )


def _study(data: xr.Dataset, name: str, member: str, window: str) -> mf.ConvergenceStudy:
    cell = data.sel(optimizer=name, member=member, window=window)
    return mf.ConvergenceStudy(cell["h"].values, cell["error"].values, cell["floor"].values)


def checks(data: xr.Dataset) -> list[Check]:
    """Each member's orders, from the start and after the layer; the conditions where there are sequences."""
    found = []
    for name in _METHODS:
        for member, (_, orders, source) in _MEMBERS.items():
            for window, order in zip((_START, _LATE), orders, strict=True):
                worst = slopes.worst(_study(data, name, member, window), order)
                found.append(Check(f"{name}, {window}: order, {member}", worst, order, 0.1, "within", source))
        for member in data["flow"].values:
            missed = float(np.abs(data["defect"].sel(optimizer=name, flow=member)).max())
            text, source = f"{name}: largest defect, {member}", "Σ(λ̄ - a_k) and the limits, summed"
            control = member.startswith("control")
            found.append(Check(text, missed, 0.0, 1e-9, "within", source, refutes=control))
    return found


_PALETTE = ("#000000", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#e69f00", "#cc79a7", "#777777", "#bbbbbb")
_COLORS = dict(zip(_MEMBERS, _PALETTE, strict=True))


def plot(data: xr.Dataset) -> Figure:
    """Left: the layer, drift by drift. Then errors of heavy ball against h for t ≥ 0 and for t ≥ t₀."""
    with _plot.style():
        figure = _plot.figure(9.8, 4.4)
        layer, *axes = figure.subplots(1, 3)
        _draw_layer(layer, data)
        for ax, window in zip(axes, (_START, _LATE), strict=True):
            _panel(ax, data, window)
            ax.set_ylim(0.4 * float(data["error"].sel(optimizer="HB").min()), None)
        axes[0].set_ylabel(r"$\max_n|u_n-u(t_n)|$")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _draw_layer(ax: Axes, data: xr.Dataset) -> None:
    lam = data.attrs["momentum"]
    for member in data["flow"].values:
        line = "--" if member.startswith("control") else "-"
        ax.plot(data["fine"], data["progress"].sel(flow=member), color=_COLORS[member], ls=line, lw=1.3)
    ax.plot(
        data["n"], data["iterates"], "o", color="black", mfc="white", ms=5, zorder=5, label="heavy ball $u_n$"
    )
    ax.set(
        title=f"The layer, λ = {lam:g}",
        xlabel="$t/h$",
        ylabel=r"way along $-\nabla E(u_0)$ / $(h\bar\lambda|\nabla E(u_0)|)$",
    )
    ax.legend(loc="upper left")


def _panel(ax: Axes, data: xr.Dataset, window: str) -> None:
    h = data["h"].values
    for (member, color), marker in zip(_COLORS.items(), "osD^vPX<>", strict=True):
        study = _study(data, "HB", member, window)
        line = "--" if member.startswith("control") else "-"
        ax.plot(h, study.errors, color=color, marker=marker, ls=line, ms=4, lw=1.1, label=member)
    coarsest = max(_study(data, "HB", member, window).errors[0] for member in _MEMBERS)
    for order, factor in ((1, 3.0), (2, 1.5e-3)):
        _plot.reference_slope(ax, h, factor * coarsest, order)
    ax.set_yscale("log")
    _plot.log2_axis(ax, h, most=6)
    late = "" if window == _START else f", t₀ = {data.attrs['late_time']:g}"
    ax.set(title=f"HB, {window}{late}", xlabel="learning rate $h$")
