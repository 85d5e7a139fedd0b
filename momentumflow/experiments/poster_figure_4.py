"""A ravine in discrete time, with and without momentum.

Poster on Qian (1999), Figure 4: the discretisation (3) with the large step Δt = 0.5, from rest, A = diag(3, 30),
m = 2, μ̃ = 4: ε = 1/16, p = ½, against m = 0, which is gradient descent with ε = Δt/μ̃ = 1/8. Convergence needs
εk < 2 + 2p: with E = ½wᵀAw momentum converges, εk = 1.875 < 3, and gradient descent diverges, εk = 3.75 > 2.
The poster's E = wᵀAw doubles every k, and momentum diverges too: εk = 3.75 > 3.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from ..linear import oscillator
from . import _ravine as ravine
from .checks import Check

_PRINTED = "momentum, E = wᵀAw"
_CASES = {ravine.PLAIN: (False, 1.0), ravine.HEAVY: (True, 1.0), _PRINTED: (True, 2.0)}
_SYMBOLS = {
    "iterates": "w_n",
    "powers": "w_n",
    "factor": "p",
    "step": "εk",
    "radius": "max |λ|",
    "converges": "0 or 1",
}
_DIMS = dict.fromkeys(_SYMBOLS, ("component",)) | {
    "iterates": ("iteration", "component"),
    "powers": ("iteration", "component"),
    "factor": (),
}
_STYLES = ravine.STYLES | {_PRINTED: _plot.of("(19) as printed")}


@dataclass(frozen=True)
class Config(ravine.Setting):
    """The ravine and the number of iterations N."""

    steps: int = 30


PRESETS = {"quick": Config(), "full": Config(steps=100)}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Iterates of each case, the same by powers of the companion matrix, and what (12) says."""
    columns: dict[str, list] = {name: [] for name in _DIMS}
    for done, (name, (heavy, scale)) in enumerate(_CASES.items()):
        progress.update(done, len(_CASES), label=name)
        method = mf.from_physical(config.mass if heavy else 0.0, config.friction, config.time_step)
        curvatures = scale * np.array(config.curvatures)
        p, step = float(method.momentum), float(method.learning_rate)
        path = mf.iterate(method, mf.Quadratic(curvatures), jnp.array(config.start), config.steps)
        columns["iterates"].append(path.params)
        columns["powers"].append(ravine.powers(p, step, tuple(curvatures), config.start, config.steps))
        columns["factor"].append(p)
        columns["step"].append(step * curvatures)
        columns["radius"].append(np.abs(oscillator.discrete_roots(p, step, curvatures)).max(axis=0))
        columns["converges"].append(oscillator.converges(p, step, curvatures).astype(int))
    return xr.Dataset(
        {
            key: (("case", *_DIMS[key]), np.array(rows), {"symbol": _SYMBOLS[key]})
            for key, rows in columns.items()
        },
        {
            "case": list(_CASES),
            "iteration": ("iteration", np.arange(config.steps + 1), {"symbol": "n"}),
            "component": list(ravine.COMPONENTS),
        },
        {"curvatures": config.curvatures, "time_step": config.time_step},
    )


def checks(data: xr.Dataset) -> list[Check]:
    """Iterates against matrix powers, radii against numpy's eigenvalues, and who converges."""
    power = "powers of the companion matrix, poster on Qian (1999), eq. (11)"
    rule = "poster on Qian (1999), under eq. (12): converges iff 0 < εk < 2 + 2p"
    found = []
    for name in data["case"].values:
        case = data.sel(case=name)
        gap = np.abs(case["iterates"] - case["powers"]).max() / np.abs(case["powers"]).max()
        eigenvalues = np.linalg.eigvals(
            [ravine.companion(float(case["factor"]), x) for x in case["step"].values]
        )
        radius, factor = np.abs(eigenvalues).max(), _factor(case)
        claimed = bool((case["step"] < 2 + 2 * case["factor"]).all())
        relation = "at most" if claimed else "at least"
        found += [
            Check(f"{name}: max |w_n - Aⁿw_0| over max |w_n|", gap, 0.0, 1e-12, "within", power),
            Check(
                f"{name}: spectral radius",
                case["radius"].max(),
                radius,
                1e-12,
                "within",
                "numpy.linalg.eigvals",
            ),
            Check(f"{name}: library's verdict", case["converges"].min(), claimed, 0, "within", rule),
            Check(f"{name}: mean factor per iteration", factor, 1.0, 0.0, relation, rule),
        ]
    converging, printed = (data["radius"].sel(case=case).max() for case in (ravine.HEAVY, _PRINTED))
    poster = "poster on Qian (1999), Experiments: with E = wᵀAw as printed momentum converges"
    complex_pairs = "by hand: both pairs of roots are complex, of product p = ½"
    at_60 = "by hand: λ² + 2.25λ + 0.5 = 0 at k = 60"
    return [
        *found,
        Check("E = ½wᵀAw: spectral radius", converging, 0.5**0.5, 1e-12, "within", complex_pairs),
        Check("E = wᵀAw: spectral radius", printed, 1.0, 0.0, "at most", poster, refutes=True),
        Check("E = wᵀAw: spectral radius", printed, 2.0, 1e-12, "within", at_60),
    ]


def _factor(case: xr.Dataset) -> float:
    """(|w_N|/|w_0|)^(1/N)."""
    distance = np.linalg.norm(case["iterates"].values, axis=1)
    return (distance[-1] / distance[0]) ** (1 / (len(distance) - 1))


def plot(data: xr.Dataset) -> Figure:
    """Left: the paths over ½wᵀAw, where they diverge the first steps. Right: distance to the minimum against n."""
    with _plot.style():
        figure = _plot.figure(8.0, 3.8)
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        ravine.draw_loss(left, data.attrs["curvatures"], (-1.1, 0.8), (-1.5, 1.5))
        for name, style in _STYLES.items():
            case = data.sel(case=name)
            look = style.line(linestyle="-", marker=style.marker or "^", lw=1.1, ms=5)
            shown = slice(None) if case["converges"].all() else slice(4)
            left.plot(*case["iterates"].values[shown].T, **look)
            distance = np.linalg.norm(case["iterates"].values, axis=1)
            steepest = f"{float(case['step'].max()):g} {'<' if case['converges'].all() else '>'}"
            label = rf"{name}, $\varepsilon k = {steepest} {2 + 2 * float(case['factor']):g}$"
            right.plot(data["iteration"], distance, **look, label=label)
        left.set_title(rf"Iterates (3), $\Delta t = {data.attrs['time_step']:g}$")
        right.axhline(1, color="#999999", lw=0.8)
        right.set(yscale="log", xlabel="iteration $n$", ylabel="$|w_n|$", title="Distance to the minimum")
        right.set_ylim(1e-5, 1e5)
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2, handlelength=1.6)
    return figure
