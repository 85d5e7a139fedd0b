r"""A loss on which the best heavy ball for quadratics cycles for ever.

Lessard, Recht & Packard (2016), §4.6: φ' = 25x below 1, x + 24 on [1, 2), 25x - 24 above, curvature between μ = 1
and L = 25. Heavy ball tuned for quadratics with these curvatures, h = 1/9, λ = 4/9, would shrink the distance by 2/3
per iteration. From u_{-1} = u_0 in (3.0612, 3.4633] it falls on the three points (792, -2208, 2592)/1225 and stays: no
point of the cycle lies where the curvature is 1, so a round is the cube of the step matrix of k = 25, whose double root
is -√λ, and attracts with the double multiplier -λ^(3/2) = -8/27. Gradient descent and Nesterov, tuned for the same
curvatures, converge. What is tuned on quadratics is to be trusted on quadratics.
"""

from dataclasses import dataclass
from fractions import Fraction

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from ..linear.tuning import KINDS
from .checks import Check


@dataclass(frozen=True)
class Config:
    """Starts shown, iterations shown and run; starts at rest on [-reach, reach], halvings of the main basin's borders;
    starts with velocity along each side of the square of (u_{-1}, u_0)."""

    starts: tuple[float, ...] = (2.0, 3.0, 3.3, 3.5)
    shown: int = 40
    steps: int = 301
    reach: float = 5.0
    basin: int = 10_001
    halvings: int = 30
    side: int = 241


PRESETS = {"quick": Config(), "full": Config(steps=1_999, basin=100_001, side=1_001)}

_POINTS = (Fraction(792, 1225), Fraction(-2208, 1225), Fraction(2592, 1225))
_PHASES = ("#f2efe6", "#4477aa", "#ee6677", "#ccbb44")
_LRP = "Lessard, Recht & Packard (2016), §4.6"
_MAIN = (3.0612, 3.4633)  # an independent float64 scan; the paper says 3.07 <= x_0 <= 3.46
_AWAY = 0.1  # an iterate that is not at the minimum after N steps
_INSIDE, _OUTSIDE = 3.3, (3.0, 3.5)  # brackets of the borders of the main basin


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Runs from some starts and from a grid, the borders of the basin, the cycle, a round's eigenvalues, the peers."""
    problem = mf.PiecewiseQuadratic()
    tunings = {kind: mf.optimal_tuning(1.0, 25.0, kind) for kind in KINDS}
    progress.update(0, 2, label="starts")
    paths = {kind: _paths(tuning.method, problem, config) for kind, tuning in tunings.items()}
    cycle = paths["HB"][config.starts.index(_INSIDE), -3:]
    cycle = np.roll(cycle, -int(np.argmin(np.abs(cycle - float(_POINTS[0])))))
    progress.update(1, 2, label="basin")
    at_rest, square = (np.linspace(-config.reach, config.reach, n) for n in (config.basin, config.side))
    heavy = tunings["HB"].method
    before, now = (axis.ravel() for axis in np.meshgrid(square, square))
    ends = _ends(heavy, problem, config.steps, now, (now - before) / float(tunings["HB"].learning_rate))
    borders = [_border(heavy, problem, config, outside) for outside in _OUTSIDE]
    jacobian = _round_jacobian(heavy, problem, cycle)
    cycles = np.abs(_ends(heavy, problem, config.steps, at_rest)) > _AWAY
    return xr.Dataset(
        {
            "path": (
                ("optimizer", "start", "n"),
                [p[:, : config.shown + 1] for p in paths.values()],
                {"symbol": "u_n"},
            ),
            "end": (
                ("optimizer", "start"),
                [np.abs(p[:, -3:]).max(1) for p in paths.values()],
                {"symbol": "|u_N|"},
            ),
            "cycle": ("point", cycle, {"symbol": "u"}),
            "half_trace": ((), np.trace(jacobian) / 2, {"symbol": "multiplier"}),
            "determinant": ((), np.linalg.det(jacobian), {"symbol": "multiplier²"}),
            "cycles": ("x0", cycles.astype(int), {"symbol": "0 or 1"}),
            "phase": (("now", "before"), _phases(ends, cycle).reshape(config.side, -1), {"symbol": "index"}),
            "border": ("side", borders, {"symbol": "u_0"}),
            "exact": ((), _exact_round(), {"symbol": "1"}),
        },
        {
            "optimizer": list(KINDS),
            "start": ("start", list(config.starts), {"symbol": "u_0"}),
            "n": ("n", np.arange(config.shown + 1), {"symbol": "n"}),
            "x0": ("x0", at_rest, {"symbol": "u_0"}),
            "now": ("now", square, {"symbol": "u_0"}),
            "before": ("before", square, {"symbol": "u_{-1}"}),
            "side": ["lower", "upper"],
        },
        {"rate": tunings["HB"].rate, "momentum": tunings["HB"].momentum},
    )


@eqx.filter_jit
def _runs(
    method: mf.MomentumMethod,
    problem: mf.AbstractProblem,
    steps: int,
    every: int | None,
    starts: Float[Array, " m"],
    velocities: Float[Array, " m"],
) -> Float[Array, "m saved"]:
    def one(start: Float[Array, ""], velocity: Float[Array, ""]) -> Float[Array, " saved"]:
        run = mf.iterate(method, problem, start[None], steps, start=velocity[None], save_every=every)
        return run.params[..., 0]

    return jax.vmap(one)(starts, velocities)


def _paths(method: mf.MomentumMethod, problem: mf.AbstractProblem, config: Config) -> np.ndarray:
    """u_0, …, u_N from each start shown, at rest."""
    starts = jnp.array(config.starts)
    return np.asarray(_runs(method, problem, config.steps, 1, starts, jnp.zeros_like(starts)))


def _ends(
    method: mf.MomentumMethod,
    problem: mf.AbstractProblem,
    steps: int,
    starts: np.ndarray,
    velocities: np.ndarray | None = None,
) -> np.ndarray:
    """u_N, by default from rest."""
    velocities = np.zeros_like(starts) if velocities is None else velocities
    return np.asarray(_runs(method, problem, steps, None, jnp.asarray(starts), jnp.asarray(velocities)))[:, 0]


def _phases(ends: np.ndarray, cycle: np.ndarray) -> np.ndarray:
    """0 where u_N is at the minimum, 1 to 3 for the point of the cycle that it is at."""
    nearest = np.abs(ends[:, None] - cycle).argmin(1) + 1
    return np.where(np.abs(ends) > _AWAY, nearest, 0)


def _border(method: mf.MomentumMethod, problem: mf.AbstractProblem, config: Config, outside: float) -> float:
    """The last start of the main basin on the side of `outside`, by halving."""
    inside = _INSIDE
    for _ in range(config.halvings):
        middle = (inside + outside) / 2
        if abs(_ends(method, problem, config.steps, np.full(1, middle))[0]) > _AWAY:
            inside = middle
        else:
            outside = middle
    return inside


def _round_jacobian(method: mf.MomentumMethod, problem: mf.AbstractProblem, cycle: np.ndarray) -> np.ndarray:
    """Of three steps on (u, v) at the cycle, by autodiff of the method's own step."""
    velocity = (cycle[0] - cycle[2]) / np.asarray(method.learning_rate)

    def round_trip(state: Float[Array, "2"]) -> Float[Array, "2"]:
        rows = (state[:1], state[1:])
        for n in range(3):
            rows = method.step(lambda w: -jax.grad(problem)(w), rows, n)
        return jnp.concatenate(rows)

    return np.asarray(jax.jacfwd(round_trip)(jnp.array([cycle[0], velocity])))


def _exact_round() -> float:
    """By how much the three points miss themselves after three steps in rational arithmetic."""
    before, now = _POINTS[2], _POINTS[0]
    for _ in range(3):
        slope = 25 * now if now < 1 else now + 24 if now < 2 else 25 * now - 24
        before, now = now, now + Fraction(4, 9) * (now - before) - slope / 9
    return float(abs(now - _POINTS[0]) + abs(before - _POINTS[2]))


def checks(data: xr.Dataset) -> list[Check]:
    """The cycle and its attraction, where it is reached from, and that the other methods converge."""
    found = [
        Check(f"point {i + 1} of the cycle", x, float(exact), 1e-12, "within", f"{_LRP}: {exact}")
        for i, (x, exact) in enumerate(zip(data["cycle"].values, _POINTS, strict=True))
    ]
    multiplier = data.attrs["momentum"] ** 1.5
    by_hand = "by hand: the cube of a step with the double root -√λ, k = L"
    scan = "an independent float64 scan; the paper has 3.07 and 3.46"
    found += [
        Check("a round in rational arithmetic misses its start by", data["exact"], 0, 0, "within", _LRP),
        Check("mean of a round's two multipliers", data["half_trace"], -multiplier, 1e-12, "within", by_hand),
        Check("their product", data["determinant"], multiplier**2, 1e-12, "within", by_hand),
        Check("lower border of the main basin", data["border"][0], _MAIN[0], 1e-4, "within", scan),
        Check("upper border of the main basin", data["border"][1], _MAIN[1], 1e-4, "within", scan),
    ]
    x0, main = data["x0"], (3.07, 3.46)
    inside = data["cycles"].where((x0 >= main[0]) & (x0 <= main[1]), drop=True)
    found.append(Check("share of [3.07, 3.46] that cycles", inside.mean(), 1, 0, "within", _LRP))
    for kind in data["optimizer"].values:
        for start in data["start"].values:
            end, cycles = data["end"].sel(optimizer=kind, start=start), kind == "HB" and start == _INSIDE
            name = f"{kind} from {start:g}: max |u_n| over the last three iterates"
            expected = (
                Check(name, end, 1, 0, "at least", _LRP)
                if cycles
                else Check(name, end, 0, 1e-9, "within", _LRP)
            )
            found.append(expected)
    wrong = data["end"].sel(optimizer="HB", start=_INSIDE)
    source = f"the rate of quadratics, {data.attrs['rate']:.4g} per iteration"
    found.append(
        Check(
            f"HB from {_INSIDE:g}: distance by the rate for quadratics",
            wrong,
            1e-9,
            0,
            "at most",
            source,
            True,
        )
    )
    return found


def plot(data: xr.Dataset) -> Figure:
    """The loss and its cycle; heavy ball from some starts; where it cycles; the three methods from one start."""
    with _plot.style():
        figure = _plot.figure(9.0, 7.6)
        (loss, iterates), (basin, methods) = figure.subplots(2, 2)
        _draw_loss(loss, data["cycle"].values)
        _draw_iterates(iterates, data.sel(optimizer="HB"))
        _draw_basin(basin, data)
        _draw_methods(methods, data)
    return figure


def _draw_loss(ax: Axes, cycle: np.ndarray) -> None:
    x = np.linspace(-2.7, 2.7, 400)
    value = jax.vmap(lambda u: mf.PiecewiseQuadratic()(u[None]))
    ax.axvspan(1, 2, color="#eeeeee", lw=0, zorder=0)
    ax.plot(x, value(jnp.asarray(x)), color="#333333", lw=1.6)
    heights = np.asarray(value(jnp.asarray(cycle)))
    for i, color in enumerate(_PHASES[1:]):
        j = (i + 1) % 3
        arrow = {
            "arrowstyle": "-|>",
            "color": "#888888",
            "shrinkA": 6,
            "shrinkB": 6,
            "connectionstyle": "arc3,rad=-0.2",
        }
        ax.annotate("", (cycle[j], heights[j]), (cycle[i], heights[i]), arrowprops=arrow)
        ax.plot(cycle[i], heights[i], "o", color=color, ms=10, mec="white", zorder=5)
    ax.text(1.5, 84, "curvature 1", ha="center", va="top", fontsize=9, color="#555555")
    ax.set(xlabel="$u$", ylabel=r"$\Phi(u)$", title="The cycle, curvature 25 but on [1, 2)", ylim=(-4, 88))


def _draw_iterates(ax: Axes, cell: xr.Dataset) -> None:
    for point, color in zip(cell["cycle"].values, _PHASES[1:], strict=True):
        ax.axhline(point, color=color, lw=5, alpha=0.3)
    starts = cell["start"].values
    for start, color in zip(starts, _plot.sequence(len(starts)), strict=True):
        ax.plot(
            cell["n"],
            cell["path"].sel(start=start),
            "o-",
            color=color,
            lw=0.7,
            ms=3.5,
            label=f"$u_0 = {start:g}$",
        )
    ax.set(xlabel="iteration $n$", ylabel="$u_n$", title=r"Heavy ball, $h = 1/9$, $\lambda = 4/9$, from rest")
    ax.legend(loc="upper right", ncols=2)
    ax.set_ylim(top=6)


def _draw_basin(ax: Axes, data: xr.Dataset) -> None:
    reach = float(data["now"].max())
    image = np.array([to_rgb(color) for color in _PHASES])[data["phase"].values]
    ax.imshow(
        image, extent=(-reach, reach, -reach, reach), origin="lower", interpolation="nearest", aspect="auto"
    )
    ax.plot([-reach, reach], [-reach, reach], color="#333333", lw=0.8, ls="--")
    ax.plot(data["border"], data["border"], "|", color="black", ms=9)
    ax.text(-0.1, 0.15, "from rest", rotation=38, ha="center", va="bottom", fontsize=9)
    ax.set(xlabel="$u_{-1}$", ylabel="$u_0$", title="Where it ends: pale, the minimum")
    ax.grid(False)


def _draw_methods(ax: Axes, data: xr.Dataset) -> None:
    for kind in data["optimizer"].values:
        distance = np.abs(data["path"].sel(optimizer=kind, start=_INSIDE))
        ax.plot(
            data["n"],
            distance,
            **_plot.of(str(kind)).line(linestyle="-", lw=0.8, ms=4),
            label=f"{kind}, tuned",
        )
    n = data["n"].values
    ax.plot(
        n, _INSIDE * data.attrs["rate"] ** n, color="#555555", ls=":", label="HB on a quadratic: $(2/3)^n$"
    )
    ax.set(
        yscale="log",
        ylim=(1e-5, 20),
        xlabel="iteration $n$",
        ylabel="$|u_n|$",
        title=f"From $u_0 = {_INSIDE:g}$ at rest",
    )
    ax.legend(loc="lower left")
