"""What decides the path of momentum, and where a diagonal network ends.

Papazov, Pesme & Flammarion (AISTATS 2024): the path of heavy ball is decided by h/(1-λ)² alone, and a diagonal network
θ = u⊙v ends at the solution that its balance Δ∞ = Δ₀exp(-h/(1-λ)² ∫(ẇ₊/w₊)² + (ẇ₋/w₋)²dτ) selects, w_± = u ± v. That is
so in the limit λ → 1. For the discrete method the number is λ_eff = hc = (1+λ)h/(2(1-λ)²), as in (19), (20): at equal
λ_eff two runs have orbits O(h²) apart, Nesterov's included with its own c = λ̄(λ̄ - a - ½); at equal h/(1-λ)² or h/(1-λ)
they are O(h) apart. And log(Δ₀/Δ∞) = (1+λ)/(2(1-λ)) Σ(ρ₊² + ρ₋²) + O(h³), ρ = w_{k+1}/w_k - 1, an order more than one
expects, since the cubes of ρ₊ and ρ₋ cancel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.integrate import simpson

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from .._types import Loss
from . import _orbits as orbits
from . import _quadratic as quadratic
from . import _slopes as slopes
from .checks import Check

_PAPAZOV = "Papazov, Pesme & Flammarion (2024)"
_ONE, _OTHER = 0.6, 0.9
_HC, _NESTEROV, _INTRINSIC, _RATE = "λ_eff", "λ_eff, HB and NAG", "h/(1-λ)²", "h/(1-λ)"
_SOURCES = {
    _HC: "(20): the orbit of the slow flow depends on hc alone",
    _NESTEROV: "(20): the orbit of the slow flow depends on hc alone",
    _INTRINSIC: "hc differs by O(h)",
    _RATE: "hc differs by O(h)",
}
_ORDERS = {_HC: 2, _NESTEROV: 2, _INTRINSIC: 1, _RATE: 1}
_MOMENTA = (0.0, 0.5, 0.9)


@dataclass(frozen=True)
class Config:
    """Finest k of 2^-5 … 2^-k for either problem; λ of the ODE; data, size and seed of the network, and T of it."""

    finest_valley: int = 10
    finest_network: int = 8
    valley_start: tuple[float, float] = (-0.8, 0.9)
    valley_time: float = 3.0
    data: int = 4
    dimension: int = 8
    initial: float = 0.5
    time: float = 30.0
    strength: float = 0.005
    seed: int = 0


PRESETS = {"quick": Config(), "full": Config(finest_valley=12, finest_network=10)}


class _Problem(NamedTuple):
    loss: Loss
    start: Float[Array, "..."]
    time: float
    strengths: list[float]


def _problems(config: Config) -> dict[str, _Problem]:
    valley = _Problem(
        mf.BoundedValley(2.0),
        jnp.array(config.valley_start),
        config.valley_time,
        quadratic.ladder(config.finest_valley, 6),
    )
    u = jnp.full(config.dimension, config.initial)
    start = jnp.stack([u, jnp.zeros_like(u)])
    network = _Problem(_network(config), start, config.time, quadratic.ladder(config.finest_network, 4))
    return {"curved valley": valley, "diagonal network": network}


def _network(config: Config) -> mf.DiagonalNetwork:
    """Fewer data than weights, XXᵀ = nI, from a sparse θ."""
    n, d = config.data, config.dimension
    rng = np.random.default_rng(config.seed)
    inputs = np.sqrt(n) * np.linalg.qr(rng.normal(size=(d, n)))[0].T
    sparse = np.zeros(d)
    sparse[:2] = 2.0, -1.5
    return mf.DiagonalNetwork(jnp.asarray(inputs), jnp.asarray(inputs @ sparse))


def _of_strength(strength: float, lam: float, nesterov: bool = False) -> mf.MomentumMethod:
    """The method with hc of a given value."""
    unit = mf.momentum_method(1.0, lam, lam if nesterov else 0.0)
    return mf.momentum_method(strength / float(unit.regularization), lam, unit.lookahead)


def _heavy(h: float, lam: float) -> mf.MomentumMethod:
    return mf.momentum_method(h, lam, 0.0)


_PAIRS: dict[str, Callable[[float], tuple[mf.MomentumMethod, mf.MomentumMethod]]] = {
    _HC: lambda s: (_of_strength(s, _ONE), _of_strength(s, _OTHER)),
    _NESTEROV: lambda s: (_of_strength(s, _ONE), _of_strength(s, _OTHER, nesterov=True)),
    _INTRINSIC: lambda s: (_heavy(s * (1 - _ONE) ** 2, _ONE), _heavy(s * (1 - _OTHER) ** 2, _OTHER)),
    _RATE: lambda s: (_heavy(s * (1 - _ONE), _ONE), _heavy(s * (1 - _OTHER), _OTHER)),
}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Distances of orbits for every pair, the balance of discrete runs, of the momentum ODE, and ends of training."""
    progress.update(0, 4, label="orbits")
    parts = [_orbits(config)]
    for done, (label, part) in enumerate(_PARTS.items(), 1):
        progress.update(done, 4, label=label)
        parts.append(part(config))
    return xr.merge(parts).assign_attrs(strength=config.strength)


def _orbits(config: Config) -> xr.Dataset:
    found = {}
    for name, problem in _problems(config).items():
        rows = [[_apart(problem, *pair(s)) for s in problem.strengths] for pair in _PAIRS.values()]
        key = name.split()[-1]
        found[f"orbit_{key}"] = xr.DataArray(
            rows,
            {"pair": list(_PAIRS), f"strength_{key}": problem.strengths},
            attrs={"symbol": "distance of orbits"},
        )
    return xr.Dataset(found)


def _apart(problem: _Problem, one: mf.MomentumMethod, other: mf.MomentumMethod) -> float:
    first, second = (
        orbits.orbit(method, problem.loss, problem.start, problem.time) for method in (one, other)
    )
    return orbits.distance(first, second)


def _balances(config: Config) -> xr.Dataset:
    """log(Δ₀/Δ∞) of heavy ball against its sum over the steps, for every λ and λ_eff, weight by weight."""
    problem = _problems(config)["diagonal network"]
    rows = []
    for lam in _MOMENTA:
        for strength in problem.strengths:
            _, path = orbits.orbit(_of_strength(strength, lam), problem.loss, problem.start, problem.time)
            u, v = np.moveaxis(path.reshape(len(path), 2, -1), 1, 0)
            both = np.stack([u + v, u - v])
            squares = np.sum((both[:, 1:] / both[:, :-1] - 1) ** 2, (0, 1))
            fallen = np.log(np.prod(both[:, 0], 0) / np.prod(both[:, -1], 0))
            error = np.abs(fallen - (1 + lam) / (2 * (1 - lam)) * squares).max()
            smallest = (both / both[:, :1]).min()
            rows.append(
                [fallen.sum(), squares.sum() / (1 - lam), error, np.abs(u[-1] * v[-1]).sum(), smallest]
            )
    shape = (len(_MOMENTA), len(problem.strengths))
    names = ("fallen", "printed", "identity_error", "norm", "smallest")
    symbols = ("Σlog(Δ₀/Δ∞)", "ΣΣ(ρ₊²+ρ₋²)/(1-λ)", "of the identity", "|θ|₁", "min w_±/w_±(0)")
    return xr.Dataset(
        {
            name: (("lam", "strength_network"), np.reshape(column, shape), {"symbol": symbol})
            for name, symbol, column in zip(names, symbols, np.transpose(rows), strict=True)
        },
        {"lam": ("lam", list(_MOMENTA), {"symbol": "λ"}), "strength_network": problem.strengths},
    )


def _flow_balance(config: Config) -> xr.Dataset:
    """log(Δ₀/Δ∞) along λẅ + ẇ + ∇Φ = 0 beside λ∫(ẇ₊/w₊)² + (ẇ₋/w₋)², and of heavy ball with h/(1-λ)² = that λ."""
    problem, network, strength = _problems(config)["diagonal network"], _network(config), config.strength
    layer = np.linspace(0, 40 * strength, 2001)
    late = np.linspace(layer[-1], config.time, 8001)
    # (11) with hα = λ and unit friction
    model = mf.MomentumODE(mf.gradient_descent(2 * strength))
    flow = mf.solve(model, problem.loss, problem.start, np.append(layer, late[1:]))
    w, rate = (np.asarray(x) for x in (flow.params, flow.velocity))
    both, rates = (np.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 1]]) for x in (w, rate))
    squares = np.sum((rates / both) ** 2, 0)
    cut = len(layer)
    integral = simpson(squares[:cut], layer, axis=0) + simpson(squares[cut - 1 :], late, axis=0)
    fallen = np.log(np.asarray(network.balance(w[0]) / network.balance(w[-1])))
    discrete = []
    for lam in _MOMENTA:
        _, path = orbits.orbit(
            _heavy(strength * (1 - lam) ** 2, lam), problem.loss, problem.start, config.time
        )
        ends = path[[0, -1]].reshape(2, 2, -1)
        discrete.append(np.log(network.balance(ends[0]) / network.balance(ends[1])).sum())
    return xr.Dataset(
        {
            "flow_error": (
                (),
                np.abs(fallen - strength * integral).max(),
                {"symbol": "of the identity along (11)"},
            ),
            "flow_smallest": ((), (both / both[:, :1]).min(), {"symbol": "min w_±/w_±(0) of (11)"}),
            "flow_fallen": ((), fallen.sum(), {"symbol": "Σlog(Δ₀/Δ∞) of (11)"}),
            "same_intrinsic": ("lam", discrete, {"symbol": "Σlog(Δ₀/Δ∞) at equal h/(1-λ)²"}),
        },
        {"lam": list(_MOMENTA)},
    )


_PARTS = {"balance": _balances, "balance of the ODE": _flow_balance}


def checks(data: xr.Dataset) -> list[Check]:
    """Orders of the distance of orbits, the identities of the balance, and which number is the right one."""
    found = []
    for name in ("valley", "network"):
        for pair, order in _ORDERS.items():
            worst = slopes.worst_of(data[f"orbit_{name}"].sel(pair=pair), order)
            text = f"{name}, λ = {_ONE:g} and {_OTHER:g} at equal {pair}: order of the distance of orbits"
            found.append(Check(text, worst, order, 0.1, "within", _SOURCES[pair]))
    wrong, text = (
        slopes.worst_of(data["orbit_network"].sel(pair=_INTRINSIC), 2),
        f"network: order at equal {_INTRINSIC}",
    )
    found.append(Check(text, wrong, 2, 0.1, "within", f"{_PAPAZOV}: the same path", refutes=True))
    cancel = "log(1+ρ) and 1 - 1/(1+ρ) expanded and summed over k; ρ₊³ + ρ₋³ = O(h⁴)"
    for lam in _MOMENTA:
        worst = slopes.worst_of(data["identity_error"].sel(lam=lam), 3)
        found.append(
            Check(f"λ = {lam:g}: order of the error of log(Δ₀/Δ∞) in h", worst, 3, 0.1, "within", cancel)
        )
    return [*found, *_number_checks(data)]


def _number_checks(data: xr.Dataset) -> list[Check]:
    finest = data.isel(strength_network=-1)
    smallest = np.minimum(data["smallest"].min(), data["flow_smallest"])
    text = "smallest w_±/w_±(0) of every run and of the ODE: no sign changes"
    found = [
        Check(text, smallest, 0, 0, "at least", "else Δ passes through 0, and either identity fails"),
        Check(
            "largest error of log(Δ₀/Δ) along the momentum ODE", data["flow_error"], 0, 1e-8, "within",
            f"{_PAPAZOV}: (ẇ/w)˙ = ẅ/w - (ẇ/w)², summed over ±",
        )
    ]  # fmt: skip
    for lam in _MOMENTA:
        ratio, share = finest["fallen"].sel(lam=lam) / finest["printed"].sel(lam=lam), (1 + lam) / 2
        text = f"λ = {lam:g}: log(Δ₀/Δ∞) over ΣΣ(ρ₊²+ρ₋²)/(1-λ)"
        found.append(Check(text, ratio, share, 1e-4, "within", "the identity, (1+λ)/2"))
        ratio = data["same_intrinsic"].sel(lam=lam) / data["flow_fallen"]
        text = f"λ = {lam:g}: log(Δ₀/Δ∞) over that of the ODE at equal h/(1-λ)²"
        found.append(Check(text, ratio, share, 0.01, "within", "λ_eff/(h/(1-λ)²) = (1+λ)/2, to O(h)"))
    ratio, text = data["same_intrinsic"].sel(lam=0.0) / data["flow_fallen"], "the same at λ = 0"
    found.append(Check(text, ratio, 1, 0.01, "within", f"{_PAPAZOV}: decided by h/(1-λ)²", refutes=True))
    spread = finest["norm"].max("lam") - finest["norm"].min("lam")
    change = data["norm"].isel(strength_network=0) - data["norm"].isel(strength_network=-1)
    text = "spread of |θ∞|₁ over λ at the smallest λ_eff, in its change over the λ_eff"
    return [*found, Check(text, spread / change.mean(), 0, 0.01, "at most", "θ∞ is decided by λ_eff")]


_COLORS = {_HC: "#0072b2", _NESTEROV: "#56b4e9", _INTRINSIC: "#d55e00", _RATE: "#e69f00"}


def plot(data: xr.Dataset) -> Figure:
    """Distances of orbits, log-log, for either problem; right, the balance lost against either number."""
    with _plot.style():
        figure = _plot.figure(9.8, 4.2)
        *axes, last = figure.subplots(1, 3)
        for ax, (name, title) in zip(
            axes, (("valley", "Curved valley"), ("network", "Diagonal network")), strict=True
        ):
            _panel(ax, data[f"orbit_{name}"], title)
        axes[0].set_ylabel("largest distance of the orbits")
        _draw_balance(last, data)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=4, title="two runs, λ = 0.6 and 0.9, at equal"
        )
    return figure


def _panel(ax: Axes, distances: xr.DataArray, title: str) -> None:
    strength = distances[distances.dims[-1]].values
    for (pair, color), marker in zip(_COLORS.items(), "osD^", strict=True):
        ax.plot(strength, distances.sel(pair=pair), color=color, marker=marker, ms=4, lw=1.2, label=pair)
    for order, pair, factor in ((2, _HC, 0.4), (1, _RATE, 2.0)):
        _plot.reference_slope(ax, strength, factor * float(distances.sel(pair=pair)[0]), order)
    ax.set_yscale("log")
    _plot.log2_axis(ax, strength, most=6)
    ax.set(title=title, xlabel="their common value")


def _draw_balance(ax: Axes, data: xr.Dataset) -> None:
    """Filled against λ_eff, hollow against h/(1-λ)²."""
    strength = data["strength_network"].values
    # the filled ones lie upon each other
    for lam, color, marker, size in zip(
        _MOMENTA, ("#999999", "#009e73", "#000000"), "osD", (10, 6, 2.5), strict=True
    ):
        fallen = data["fallen"].sel(lam=lam)
        look: dict[str, Any] = {"color": color, "marker": marker}
        ax.plot(strength, fallen, ms=size, ls="none", label=f"λ = {lam:g}", **look)
        ax.plot(2 * strength / (1 + lam), fallen, ms=5, mfc="none", lw=0.8, ls=":", **look)
    ax.set_yscale("log")
    _plot.log2_axis(ax, np.append(strength, 2 * strength), most=6)
    ax.set(
        title="Balance lost in training",
        xlabel="λ_eff (filled) or h/(1-λ)² (hollow)",
        ylabel=r"$\sum\log(\Delta_0/\Delta_\infty)$",
    )
    ax.legend(loc="upper left", fontsize=8)
