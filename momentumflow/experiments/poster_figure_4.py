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
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from ..linear import oscillator
from . import _ravine as ravine
from .checks import Check

_PRINTED = "with momentum, E = wᵀAw"
_CASES = {ravine.PLAIN: (False, 1.0), ravine.HEAVY: (True, 1.0), _PRINTED: (True, 2.0)}
_STYLES = ravine.STYLES | {_PRINTED: _plot.of("(19) as printed")}


@dataclass(frozen=True)
class Config(ravine.Setting):
    """The ravine and the number of iterations N."""

    steps: int = 30


PRESETS = {"quick": Config(), "full": Config(steps=100)}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Iterates of each case, the same by powers of the companion matrix, and what (12) says."""
    columns: dict[str, list] = {name: [] for name in ("iterates", "powers", "factor", "step", "radius", "converges")}
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
    dims = {"iterates": ("iteration", "component"), "factor": ()}
    dims |= {"powers": dims["iterates"]} | dict.fromkeys(("step", "radius", "converges"), ("component",))
    symbols = {"iterates": "w_n", "factor": "p", "step": "εk", "radius": "max |λ|"}
    return xr.Dataset(
        {
            key: (("case", *dims[key]), np.array(rows), {"symbol": symbols.get(key, "")})
            for key, rows in columns.items()
        },
        {
            "case": list(_CASES),
            "iteration": ("iteration", np.arange(config.steps + 1), {"symbol": "n"}),
            "component": list(ravine.COMPONENTS),
        },
        {"curvatures": config.curvatures, "time_step": config.time_step},
    )
