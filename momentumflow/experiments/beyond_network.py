"""Slow, inertial and phase flows beside the training of a real network.

An autoencoder on one fixed batch, λ = 0.9: 200 iterations of heavy ball and of Nesterov from rest, against slow
flows, the inertial and the phase flow of order 2. Distance: |u_n - u(t_n)| in the Euclidean norm of all
parameters, beside |u_n - u_0|. The largest eigenvalue k of the Hessian, by Lanczos at either end, tells what to expect:
the slow series converges only for hk < x₋ = (1-√λ)² = 0.0026 (Nesterov ((1-λ)/(1+λ))² = 0.0028), which hardly any
training run obeys; the series in h at fixed λⁿ, on which the inertial and the phase flow stand, up to (1+√λ)² = 3.8
and 1. The activations are smooth (tanh), so that orders beyond 1 mean something.

Quick: digits, a small network in float64. Full: MNIST and the paper's layers, 2.8 million parameters in float32, whose
rounding of some 1e-6 is then the floor of every distance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PyTree
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _krylov, _plot, _tree
from .._progress import Progress
from .._types import Loss
from ..linear.family import flow_limit, slow_limit
from ..problems.networks import MNIST_SIZES
from ..training import load
from . import _quadratic as quadratic
from .checks import Check

_UNIFORM = {"inertial flow, order 2": mf.InertialFlow, "phase flow, order 2": mf.PhaseFlow}
_LINES = ((0, (1, 1)), (0, (4, 1.5)), "-")


@dataclass(frozen=True)
class Config:
    """Data, network (encoder `sizes`), batch; λ; h; iterations, every which is kept; dtype; slow orders."""

    dataset: str = "digits"
    sizes: tuple[int, ...] = (64, 16, 8)
    hidden: str = "tanh"
    batch_size: int = 100
    momentum: float = 0.9
    learning_rates: tuple[float, ...] = (2**-11, 2**-7, 2**-4)
    steps: int = 200
    every: int = 4
    dtype: str = "float64"
    tolerance: float = 1e-8
    max_steps: int = 400
    slow_orders: tuple[int, ...] = (1, 2)
    krylov: int = 20
    seed: int = 0


PRESETS = {
    "quick": Config(),
    "full": Config(
        "mnist",
        MNIST_SIZES,
        learning_rates=(2**-13, 2**-9, 2**-6),
        every=20,
        dtype="float32",
        tolerance=1e-5,
        max_steps=300,
    ),
}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Distances of the iterates from each flow and from the start, and the largest curvature at either end."""
    network = mf.Autoencoder(config.sizes, config.hidden)
    params = network.init(jax.random.key(config.seed), config.dtype)
    images = jnp.asarray(load(config.dataset).batches(config.batch_size)[0], config.dtype)

    def loss(u: PyTree) -> Float[Array, ""]:
        return network.loss(u, images)

    flows = {f"slow flow, order {p}": partial(mf.SlowFlow, order=p) for p in config.slow_orders} | _UNIFORM
    losses = jax.jit(lambda many: jax.lax.map(loss, many))
    cells = [(name, h, flow) for name in quadratic.METHODS for h in config.learning_rates for flow in flows]
    found: dict[str, list] = {"distance": [], "moved": [], "loss": [], "curvature": []}
    curvature = _largest_curvature(loss, config)
    for done, (name, h, flow) in enumerate(cells):
        progress.update(done, len(cells), label=f"{flow}, {name}, h = 2^{int(np.log2(h))}")
        method = quadratic.method(name, h, config.momentum)
        if flow == next(iter(flows)):
            iterates = mf.iterate(method, loss, params, config.steps, save_every=config.every)
            still = jax.tree.map(lambda x, many: jnp.broadcast_to(x, many.shape), params, iterates.params)
            found["moved"].append(_apart(iterates.params, still))
            found["loss"].append(losses(iterates.params))
            found["curvature"].append(curvature(_tree.at(iterates.params, -1)))
        limits = {"tolerance": config.tolerance, "max_steps": config.max_steps}
        solved = mf.solve(flows[flow](method), loss, params, iterates.times, **limits)
        found["distance"].append(_apart(solved.params, iterates.params))
    found["curvature"] = np.maximum(found["curvature"], curvature(params)).tolist()
    return _dataset(config, list(flows), found, _tree.size(params))


@jax.jit
def _apart(one: PyTree, other: PyTree) -> Float[Array, " n"]:
    """|u_n - u_n'| for every n."""
    return jax.vmap(lambda a, b: _tree.norm(_tree.linear((1, -1), (a, b))))(one, other)


def _largest_curvature(loss: Loss, config: Config) -> Callable[[PyTree], float]:
    """The largest eigenvalue of the Hessian at some params."""

    @jax.jit
    def largest(params: PyTree) -> Float[Array, ""]:
        _, product = jax.linearize(jax.grad(loss), params)
        vector = _tree.normal(jax.random.key(config.seed + 1), params)
        return _krylov.eigenvalues(_krylov.lanczos(product, vector, config.krylov))[-1]

    return lambda params: float(largest(params))


def _dataset(config: Config, models: list[str], found: dict, size: int) -> xr.Dataset:
    dims = ("optimizer", "h", "model", "iteration")
    rates = config.learning_rates
    shape = (len(quadratic.METHODS), len(rates), len(models), -1)
    lam = config.momentum
    lookaheads = np.array([quadratic.method(name, 1.0, lam).lookahead for name in quadratic.METHODS], float)
    data = {
        "distance": (dims, np.reshape(found["distance"], shape), {"symbol": "|u_n - u(t_n)|"}),
        "x_minus": ("optimizer", np.asarray(slow_limit(lam, lookaheads)), {"symbol": "x₋"}),
        "x_plus": ("optimizer", np.asarray(flow_limit(lam, lookaheads)), {"symbol": "x₊"}),
    }
    for name, symbol in (("moved", "|u_n - u_0|"), ("loss", "Φ(u_n)")):
        data[name] = ((*dims[:2], dims[3]), np.reshape(found[name], (*shape[:2], -1)), {"symbol": symbol})
    largest = np.reshape(found["curvature"], shape[:2])
    data["curvature"] = (dims[:2], largest, {"symbol": "k, the larger of start and end"})
    return xr.Dataset(
        data,
        {
            "optimizer": list(quadratic.METHODS),
            "h": ("h", list(rates), {"symbol": "h"}),
            "model": models,
            "iteration": ("iteration", np.arange(0, config.steps + 1, config.every), {"symbol": "n"}),
        },
        {
            "dataset": config.dataset,
            "params": size,
            "momentum": lam,
        },
    )


def _worst(data: xr.Dataset, name: str, h: float, model: str) -> float:
    """max_n |u_n - u(t_n)| over max_n |u_n - u_0|; infinite for a flow that blew up."""
    cell = data.sel(optimizer=name, h=h)
    distance = cell["distance"].sel(model=model).values
    return float(np.where(np.isfinite(distance), distance, np.inf).max() / cell["moved"].max())


def checks(data: xr.Dataset) -> list[Check]:
    """Inertial and phase flows follow throughout; slow flows fail, the second order more than the first, beyond x₋."""
    found = []
    for name in data["optimizer"].values:
        limit = float(data["x_minus"].sel(optimizer=name))
        for h in data["h"].values:
            x = h * float(data["curvature"].sel(optimizer=name, h=h))
            where = f"{name}, h = 2^{int(np.log2(h))}, hk = {x:.2g}"
            for model in _UNIFORM:
                text, source = (
                    f"{where}: {model}, distance / path",
                    "a claim of O(h²) from rest, transient included",
                )
                found.append(Check(text, _worst(data, name, h, model), 0.1, 0, "at most", source))
            first, second = (_worst(data, name, h, f"slow flow, order {p}") for p in (1, 2))
            if x > 4 * limit:
                source = "the slow series converges for hk < x₋ only"
                found += [
                    Check(
                        f"{where}: slow flow of order 1, distance / path", first, 0.1, 0, "at least", source
                    ),
                    Check(f"{where}: slow flow of order 2, the same", second, first, 0, "at least", source),
                ]
            elif x < limit:
                late = data["distance"].sel(optimizer=name, h=h).isel(iteration=-1)
                ratio = float(late.sel(model="slow flow, order 2") / late.sel(model="slow flow, order 1"))
                text = f"{where}: slow flow at the end, order 2 over order 1"
                found.append(Check(text, ratio, 0.5, 0, "at most", "below x₋ the series converges"))
    return found


def plot(data: xr.Dataset) -> Figure:
    """Distances along the run: a row for each method, a column for each learning rate."""
    with _plot.style():
        figure = _plot.figure(8.6, 5.4)
        axes = figure.subplots(data.sizes["optimizer"], data.sizes["h"], sharex=True, sharey=True)
        for row, name in zip(axes, data["optimizer"].values, strict=True):
            for ax, h in zip(row, data["h"].values, strict=True):
                _panel(ax, data, str(name), float(h))
            row[0].set_ylabel(r"$|u_n-u(t_n)|$")
        for ax in axes[-1]:
            ax.set_xlabel("iteration $n$")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _panel(ax: Axes, data: xr.Dataset, name: str, h: float) -> None:
    cell = data.sel(optimizer=name, h=h)
    n = data["iteration"].values
    ax.plot(n[1:], cell["moved"][1:], color="0.75", lw=4, label=r"$|u_n-u_0|$")
    for i, model in enumerate(data["model"].values):
        values = cell["distance"].sel(model=model).values
        style, line = (model.split(",")[0], "-") if model in _UNIFORM else ("slow flow (20)", _LINES[i])
        ax.plot(
            n,
            np.where(np.isfinite(values) & (values > 0), values, np.nan),
            **_plot.of(style).line(linestyle=line),
            label=model,
        )
    x, limit = h * float(cell["curvature"]), float(data["x_minus"].sel(optimizer=name))
    ax.set(yscale="log", title=f"{name}, $h=2^{{{int(np.log2(h))}}}$: $hk={x:.2g}={x / limit:.3g}\\,x_-$")
