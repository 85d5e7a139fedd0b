"""Figures of results: each function draws loaded results into axes and returns the axes.

    >>> import jax.numpy as jnp, momentumflow as mf
    >>> loss = lambda u: jnp.sum(jnp.cosh(u))
    >>> study = mf.convergence_study(
    ...     lambda h: mf.heavy_ball(h, 0.5), mf.SlowFlow, loss, jnp.ones(2), [2.0**-k for k in range(5, 10)], 1.0,
    ...     start="manifold")
    >>> with mf.plot.style():
    ...     figure = mf.plot.figure(4, 3)
    ...     ax = mf.plot.convergence({"slow flow (20)": study}, figure.subplots())
    >>> ax.get_xlabel()
    'learning rate $h$'

A name of the library's, such as "HB" or "momentum ODE (11)", brings its own colour, line and marker (`look`), the
same in every figure; any other name takes the next colour of the axes.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import jax
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from . import _plot
from ._plot import figure, style
from ._types import Loss, Params, Trajectory
from .study.orders import ConvergenceStudy

__all__ = ["contours", "convergence", "distance", "figure", "look", "orders", "style", "trajectories"]

Ladder = ConvergenceStudy | xr.Dataset


def look(name: str, **changes: Any) -> dict[str, Any]:
    """How a method or model is drawn in every figure: keywords for `Axes.plot`, with changes.

    **Raises:** `ValueError` for a name without a look, with the nearest that has one.

        >>> import momentumflow as mf
        >>> mf.plot.look("HB", linestyle="--")
        {'color': '#0072b2', 'linestyle': '--', 'marker': 'o'}
    """
    return _plot.of(name).line(**changes)


def trajectories(
    runs: Trajectory | Mapping[str, Trajectory],
    ax: Axes | None = None,
    label: str = "",
    components: int | tuple[int, int] | None = None,
    **style: Any,
) -> Axes:
    r"""Trajectories of methods and models, in the plane of two components $(u_i, u_j)$ or against time $t$.

    **Arguments:**

    - `runs`: a `Trajectory`, of `iterate` or `solve`; or several by name. What is not finite is left out.
    - `ax`: matplotlib axes, by default new ones.
    - `label`: the name of a single run.
    - `components`: (i, j) for the plane, i for component i against time, counted from 0 over all leaves of the
      params; by default the plane of two parameters, or a single one against time.
    - `style`: as for `Axes.plot`, over the look of the name.

    **Returns:** the axes. **Raises:** `ValueError` for an ensemble, for components that the params lack, or where a
    choice is needed.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method, loss = mf.heavy_ball(2**-6, 0.9), mf.Quadratic([1.0, 5.0])
        >>> run = mf.iterate(method, loss, jnp.ones(2), steps=64)
        >>> flow = mf.solve(mf.MomentumODE(method), loss, jnp.ones(2), run.times)
        >>> ax = mf.plot.trajectories({"HB": run, "momentum ODE (11)": flow})
        >>> ax.get_xlabel(), mf.plot.trajectories(run, components=1).get_xlabel()
        ('$u_1$', 'time $t$')
    """
    ax = _plot.axes(ax)
    for name, run in _named(runs, label).items():
        values, symbols = _components(run)
        chosen = _chosen(components, len(symbols))
        x = np.asarray(run.times) if len(chosen) == 1 else values[:, chosen[0]]
        ax.plot(x, values[:, chosen[-1]], **_look(name, style))
        ax.set_xlabel("time $t$" if len(chosen) == 1 else symbols[chosen[0]])
        ax.set_ylabel(symbols[chosen[-1]])
    return ax


def distance(
    run: Trajectory,
    models: Trajectory | Mapping[str, Trajectory],
    ax: Axes | None = None,
    label: str = "",
    **style: Any,
) -> Axes:
    r"""The distance $|u_n - u(t_n)|$ (Euclidean norm over all leaves) of models to a run, against time.

    **Arguments:** `run`: of `iterate`; `models`: of `solve` at `run.times`, one or several by name; `ax`, `label`,
    `style`: as in `trajectories`.

    **Returns:** the axes. **Raises:** `ValueError` for other times or other params than the run's.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method, loss = mf.nesterov(2**-8, 0.5), mf.LogCosh([1.0, 2.0])
        >>> run = mf.iterate(method, loss, jnp.ones(2), steps=64)
        >>> flows = {"slow flow (20)": mf.SlowFlow, "rescaled gradient flow (8)": mf.RescaledGradientFlow}
        >>> models = {name: mf.solve(f(method), loss, jnp.ones(2), run.times) for name, f in flows.items()}
        >>> mf.plot.distance(run, models).get_yscale()
        'log'
    """
    ax = _plot.axes(ax)
    values = _components(run)[0]
    for name, model in _named(models, label).items():
        others = _components(model)[0]
        if others.shape != values.shape or not np.allclose(model.times, run.times):
            raise ValueError(
                f"the model {name!r} must have the run's times and params, got arrays of {others.shape} and "
                f"{values.shape}: call mf.solve(flow, loss, params, run.times)"
            )
        gap = np.linalg.norm(values - others, axis=1)
        ax.plot(np.asarray(run.times), np.where(gap > 0, gap, np.nan), **_look(name, style))
    ax.set_yscale("log")
    ax.set(xlabel="time $t$", ylabel="$|u_n - u(t_n)|$")
    return ax


def convergence(
    studies: Ladder | Mapping[str, Ladder],
    ax: Axes | None = None,
    label: str = "",
    reference: bool = True,
    **style: Any,
) -> Axes:
    r"""Errors $\max_n|u_n - u(t_n)|$ against $h$, log-log: filled markers where the order has settled.

    **Arguments:**

    - `studies`: a `ConvergenceStudy`, or an `xarray.Dataset` with the coordinate `h` and the variables `error` and
      `floor`, as the experiments store it; or several by name.
    - `reference`: for each order found (to the nearest half) a line of that slope.
    - `ax`, `label`, `style`: as in `trajectories`; a name gives way to the study's own label.

    **Returns:** the axes.

    !!! example

        >>> import numpy as np, momentumflow as mf
        >>> h = 2.0 ** -np.arange(4, 9)
        >>> study = mf.ConvergenceStudy(h, errors=3 * h**2, floors=np.full(5, 1e-9))
        >>> mf.plot.convergence(study, label="mine").get_ylabel()
        '$\\max_n |u_n - u(t_n)|$'
    """
    ax = _plot.axes(ax)
    ladders = _ladders(studies, label)
    lowest = _lowest_of_each_order(ladders.values()) if reference else []
    for name, study in ladders.items():
        keywords = _ladder_look(name, style) | {"label": study.label or name or None}
        study.plot(ax, any(study is other for other in lowest), **keywords)
    _plot.log2_axis(ax, np.concatenate([study.learning_rates for study in ladders.values()]))
    return ax


def orders(
    studies: Ladder | Mapping[str, Ladder],
    ax: Axes | None = None,
    label: str = "",
    expected: int | float | None = None,
    **style: Any,
) -> Axes:
    r"""Local slopes $\Delta(h) = \log_2(e(h)/e(h/2))$ against $h$, which falls to the right.

    Slopes between errors that rounding or the solver's tolerance decides are left out. Kovachki & Stuart (2021),
    §2.3 and Figures 2 and 4.

    **Arguments:** `studies`, `ax`, `label`, `style`: as in `convergence`; `expected`: the order that theory gives, a
    grey band of ± 0.1.

    **Returns:** the axes.

    !!! example

        >>> import numpy as np, momentumflow as mf
        >>> h = 2.0 ** -np.arange(4, 9)
        >>> study = mf.ConvergenceStudy(h, errors=3 * h**2, floors=np.full(5, 1e-9))
        >>> ax = mf.plot.orders({"HB": study}, expected=2)
        >>> ax.lines[0].get_ydata().round(9).tolist()
        [2.0, 2.0, 2.0, 2.0]
    """
    ax = _plot.axes(ax)
    ladders = _ladders(studies, label)
    for name, study in ladders.items():
        keywords = _ladder_look(name, style) | {"label": study.label or name or None}
        ax.plot(study.learning_rates[:-1], study.resolved_orders, **keywords)
    if expected is not None:
        ax.axhspan(expected - 0.1, expected + 0.1, color="#dddddd", zorder=0, lw=0)
    _plot.log2_axis(ax, np.concatenate([study.learning_rates for study in ladders.values()]), most=5)
    ax.xaxis.set_inverted(True)
    ax.set(xlabel="$h$", ylabel=r"$\Delta(h)$")
    return ax


def contours(loss: Loss, params: Params, ax: Axes, levels: int = 12) -> Axes:
    r"""Level curves of a loss of two parameters, beneath what the axes show and within their limits.

    **Arguments:** `loss`: $\Phi$; `params`: any of its pytrees with two entries; `ax`: axes that hold the
    trajectories already; `levels`: number of curves, evenly spaced in the root of the height over the lowest value.

    **Returns:** the axes. **Raises:** `ValueError` for params that are not two numbers.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> loss = mf.Quadratic([1.0, 5.0])
        >>> ax = mf.plot.trajectories(mf.iterate(mf.heavy_ball(0.01, 0.9), loss, jnp.ones(2), 100))
        >>> mf.plot.contours(loss, jnp.ones(2), ax) is ax
        True
    """
    flat, unravel = ravel_pytree(params)
    if flat.size != 2:
        raise ValueError(f"contours need two parameters, got {flat.size}: leave them out")
    limits = ax.get_xlim(), ax.get_ylim()
    x, y = np.meshgrid(*(np.linspace(*limit, 200) for limit in limits))
    points = np.stack([x.ravel(), y.ravel()], axis=1).astype(flat.dtype)
    heights = np.asarray(jax.vmap(lambda u: loss(unravel(u)))(points)).reshape(x.shape)
    roots = np.sqrt(heights - np.nanmin(heights))
    chosen = MaxNLocator(levels).tick_values(0, np.nanmax(roots))
    ax.contour(x, y, roots, levels=chosen[chosen > 0], colors="#cfcfcf", linewidths=0.7, zorder=0)
    ax.set(xlim=limits[0], ylim=limits[1])
    ax.grid(False)
    return ax


def _named(runs: Trajectory | Mapping[str, Trajectory], label: str) -> Mapping[str, Trajectory]:
    return {label: runs} if isinstance(runs, Trajectory) else runs


def _ladders(studies: Ladder | Mapping[str, Ladder], label: str) -> dict[str, ConvergenceStudy]:
    # a Dataset is a mapping, too, of its variables
    alone = isinstance(studies, ConvergenceStudy | xr.Dataset)
    several = cast("Mapping[str, Ladder]", {label: studies} if alone else studies)
    return {name: _study(ladder) for name, ladder in several.items()}


def _look(name: str, style: Mapping[str, Any]) -> dict[str, Any]:
    known = look(name) if name in _plot.MODEL_STYLE else {}
    return {**known, "label": name or None, **style}


def _ladder_look(name: str, style: Mapping[str, Any]) -> dict[str, Any]:
    """A method has no line and a model no marker; the points of a ladder have both."""
    known = look(name) if name in _plot.MODEL_STYLE else {}
    line = "-" if known.get("linestyle") == "none" else known.get("linestyle", "-")
    return {**known, "linestyle": line, "marker": known.get("marker") or "o", **style}


def _components(run: Trajectory) -> tuple[Float[np.ndarray, "times d"], list[str]]:
    """All entries of the params side by side, NaN where not finite, and a symbol for each."""
    if np.ndim(run.times) != 1:
        raise ValueError(
            f"a trajectory of one run is drawn, got an ensemble of shape {np.shape(run.times)[:-1]}: "
            "pick one with jax.tree.map(lambda x: x[i], run)"
        )
    columns, symbols = [], []
    for path, leaf in jax.tree_util.tree_leaves_with_path(run.params):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        columns.append(np.asarray(leaf, float).reshape(len(leaf), -1))
        symbols += [_symbol(name, index, leaf.shape[1:]) for index in np.ndindex(leaf.shape[1:])]
    values = np.concatenate(columns, axis=1)
    return np.where(np.isfinite(values), values, np.nan), symbols


def _symbol(name: str, index: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """u₁ for an array of numbers, rate[0] for an entry of a named leaf."""
    if not name:
        return f"$u_{{{','.join(str(i + 1) for i in index)}}}$" if len(index) != 1 else f"$u_{index[0] + 1}$"
    return name + "".join(f"[{i}]" for i in index)


def _chosen(components: int | tuple[int, int] | None, size: int) -> tuple[int, ...]:
    if components is None:
        if size > 2:
            raise ValueError(
                f"params have {size} entries: choose components=(i, j) for their plane, or i against time"
            )
        return tuple(range(size))
    chosen = (components,) if isinstance(components, int) else tuple(components)
    if len(chosen) not in (1, 2) or not all(0 <= i < size for i in chosen):
        raise ValueError(f"components must be i or (i, j) from 0 to {size - 1}, got {components}")
    return chosen


def _study(ladder: Ladder) -> ConvergenceStudy:
    if isinstance(ladder, ConvergenceStudy):
        return ladder
    if ladder["error"].dims != ("h",):
        raise ValueError(
            f"a ladder has the one dimension h, got {ladder['error'].dims}: pick the others with .sel(...)"
        )
    kept = ladder.dropna("h", subset=["error"])
    return ConvergenceStudy(kept["h"].values, kept["error"].values, kept["floor"].values)


def _lowest_of_each_order(studies: Iterable[ConvergenceStudy]) -> list[ConvergenceStudy]:
    found: dict[float, ConvergenceStudy] = {}
    for study in sorted(studies, key=lambda study: study.errors[-1]):
        if np.isfinite(study.order):
            found.setdefault(round(2 * study.order) / 2, study)
    return list(found.values())
