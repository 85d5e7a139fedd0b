r"""Full-batch training climbs to the edge of stability and stays there.

Cohen, Kaur, Li, Kolter & Talwalkar (2021): the sharpness, the largest eigenvalue of the Hessian, rises in full-batch
training until it meets the limit of the quadratic theory, then hovers at it: 2/h for gradient descent, 2(1+λ)/h for
heavy ball, 2(1+λ)/((1+2λ)h) for Nesterov. Here a tanh network 64-32-32-10 learns some of scikit-learn's digits, squared
error on one-hot labels, from one initialisation for all runs. Each method trains with learning rates that put its
limit at the same few sharpnesses; with the highest limit, which is out of reach, the sharpness goes past the others: it
is the limit that stops it, not the loss. No method hovers at the limit of another at its own h.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PyTree
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import momentumflow as mf

from .. import _krylov, _plot, _tree, training
from .._progress import Progress
from .._types import descent_field
from .checks import Check


@dataclass(frozen=True)
class Config:
    """Images; widths of the hidden layers; limits of sharpness, the last one out of reach; momentum; steps, and those
    between measurements of the sharpness; Krylov vectors of each; seed of the initial weights."""

    images: int = 200
    hidden: tuple[int, ...] = (32, 32)
    limits: tuple[float, ...] = (6.0, 7.0, 10.0)
    momentum: float = 0.9
    steps: int = 4_000
    every: int = 100
    depth: int = 20
    seed: int = 0


PRESETS = {"quick": Config(), "full": Config(limits=(6.0, 7.0, 8.0, 14.0), steps=30_000, every=250)}

_METHODS = ("GD", "HB", "NAG")
_FORMULAS = {"GD": "2/h", "HB": "2(1+λ)/h", "NAG": "2(1+λ)/((1+2λ)h)"}
_CLASSES = 10
_SOURCE = "Cohen et al. (2021), §§2-3 and Appendix B"
_NEAR = 0.1


def _share(name: str, momentum: float) -> float:
    """h times the limit of sharpness, written out: not the library's."""
    return {"GD": 2.0, "HB": 2 * (1 + momentum), "NAG": 2 * (1 + momentum) / (1 + 2 * momentum)}[name]


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Loss and sharpness along every run, and the learning rates."""
    loss, params = _problem(config)
    lam, limits = config.momentum, np.array(config.limits)
    rates = np.stack([_share(name, lam) / limits for name in _METHODS])
    constants = np.array([(0.0, 0.0), (lam, 0.0), (lam, lam)])
    progress.update(0, 1, label="training")
    h, momentum, lookahead = (jnp.asarray(x) for x in np.broadcast_arrays(rates.T, *constants.T))
    shape = (config.steps // config.every, config.every, config.depth)
    seen = (np.asarray(x).transpose(1, 0, 2) for x in _train(loss, params, h, momentum, lookahead, shape))
    losses, sharpnesses = seen
    step = np.arange(config.steps // config.every) * config.every
    dims = ("optimizer", "limit", "step")
    return xr.Dataset(
        {
            "loss": (dims, losses, {"symbol": "Φ"}),
            "sharpness": (dims, sharpnesses, {"symbol": "max k"}),
            "learning_rate": (("optimizer", "limit"), rates, {"symbol": "h"}),
        },
        {
            "optimizer": list(_METHODS),
            "limit": ("limit", limits, {"symbol": "K"}),
            "step": ("step", step, {"symbol": "n"}),
        },
        {"momentum": config.momentum},
    )


def _problem(config: Config) -> tuple[Callable[[PyTree], Array], PyTree]:
    """½ mean |network(x) - one-hot label|², images centred, in float32."""
    digits = training.load("digits")
    images = jnp.asarray(digits.images[: config.images])
    images = images - images.mean(axis=0)
    targets = jax.nn.one_hot(digits.labels[: config.images], _CLASSES, dtype=images.dtype)
    sizes = (images.shape[1], *config.hidden, _CLASSES)
    weight, keys = (
        jax.nn.initializers.lecun_normal(),
        jax.random.split(jax.random.key(config.seed), len(sizes)),
    )
    params = [
        (weight(k, shape, images.dtype), jnp.zeros(shape[1], images.dtype))
        for k, shape in zip(keys, pairwise(sizes), strict=False)
    ]

    def loss(params: PyTree) -> Array:
        *hidden, (last, shift) = params
        x = images
        for matrix, bias in hidden:
            x = jnp.tanh(x @ matrix + bias)
        return jnp.mean(jnp.sum(jnp.square(x @ last + shift - targets), axis=1)) / 2

    return loss, params


@eqx.filter_jit
def _train(
    loss: Callable[[PyTree], Array],
    params: PyTree,
    learning_rate: Float[Array, "limits methods"],
    momentum: Float[Array, "limits methods"],
    lookahead: Float[Array, "limits methods"],
    shape: tuple[int, int, int],
) -> tuple[Float[Array, "limits methods steps"], Float[Array, "limits methods steps"]]:
    """Loss and sharpness at every so many steps, from rest: one program for all runs."""
    count, every, depth = shape
    field = descent_field(loss)
    start = _tree.normal(jax.random.key(1), params)

    def sharpness(u: PyTree) -> Array:
        _, slope = jax.linearize(field, u)
        space = _krylov.lanczos(lambda v: _tree.linear((-1.0,), (slope(v),)), start, depth)
        return _krylov.eigenvalues(space)[-1]

    def one(h: Array, lam: Array, a: Array) -> tuple[Array, Array]:
        stepper = mf.momentum_method(h, lam, a)

        def advance(state: tuple, _: None) -> tuple[tuple, None]:
            return stepper.step(field, state, 0), None

        def chunk(state: tuple, _: None) -> tuple[tuple, tuple[Array, Array]]:
            seen = loss(state[0]), sharpness(state[0])
            return jax.lax.scan(advance, state, None, length=every)[0], seen

        return jax.lax.scan(chunk, stepper.initial_state(params), None, length=count)[1]

    return jax.vmap(jax.vmap(one))(learning_rate, momentum, lookahead)


def checks(data: xr.Dataset) -> list[Check]:
    """The mean sharpness of the last quarter against the limit of each method, and against those of the others."""
    momentum, found = data.attrs["momentum"], []
    *reached, out_of_reach = data["limit"].values
    late = data["sharpness"].isel(step=slice(-(data.sizes["step"] // 4), None)).mean("step")
    for name in data["optimizer"].values:
        for limit in reached:
            ratio = float(late.sel(optimizer=name, limit=limit)) / limit
            h = float(data["learning_rate"].sel(optimizer=name, limit=limit))
            text = f"{name}, h = {h:.3g}: late sharpness over"
            found.append(Check(f"{text} {_FORMULAS[name]}", ratio, 1, _NEAR, "within", _SOURCE))
            for other in _METHODS:
                if other != name:
                    wrong = ratio * _share(name, momentum) / _share(other, momentum)
                    source = f"the limit of {other}: a control"
                    found.append(
                        Check(f"{text} {_FORMULAS[other]}", wrong, 1, _NEAR, "within", source, refutes=True)
                    )
        free = float(late.sel(optimizer=name, limit=out_of_reach)) / max(reached)
        found.append(
            Check(
                f"{name}, limit {out_of_reach:g}: late sharpness over the largest limit reached",
                free,
                1.05,
                0,
                "at least",
                "the limit stops the sharpness, not the loss: a control",
            )
        )
        falls = data["loss"].sel(optimizer=name).isel(step=-1) / data["loss"].sel(optimizer=name).isel(step=0)
        found.append(
            Check(f"{name}: largest last loss over the first", falls.max(), 0.1, 0, "at most", _SOURCE)
        )
    return found


def plot(data: xr.Dataset) -> Figure:
    """Sharpness, and below it the loss, against the iteration; a panel for each method."""
    with _plot.style():
        figure = _plot.figure(10.0, 5.4)
        axes = figure.subplots(2, data.sizes["optimizer"], sharex=True, sharey="row", height_ratios=(1.7, 1))
        colors = _plot.sequence(data.sizes["limit"])
        for name, (above, below) in zip(data["optimizer"].values, axes.T, strict=True):
            cell = data.sel(optimizer=name)
            _draw(above, cell, colors)
            for color, limit in zip(colors, cell["limit"].values, strict=True):
                below.plot(cell["step"], cell["loss"].sel(limit=limit), color=color, lw=1.3)
            below.set(yscale="log", xlabel="iteration $n$")
            above.set_title({"GD": "gradient descent", "HB": "heavy ball", "NAG": "Nesterov"}[name])
        axes[0, 0].set_ylabel(r"sharpness $\max k$")
        axes[1, 0].set_ylabel(r"loss $\Phi$")
        lines = [
            Line2D([], [], color=color, label=f"limit {limit:g}")
            for color, limit in zip(colors, data["limit"].values, strict=True)
        ]
        dashed = Line2D([], [], color="black", ls="--", lw=1, label=r"$2(1+\lambda)/((1+2a)h)$")
        figure.legend(handles=[*lines, dashed], loc="outside lower center", ncols=len(lines) + 1)
    return figure


def _draw(ax: Axes, cell: xr.Dataset, colors: list) -> None:
    for color, limit in zip(colors, cell["limit"].values, strict=True):
        ax.axhline(limit, color=color, ls="--", lw=1)
        ax.plot(cell["step"], cell["sharpness"].sel(limit=limit), color=color, lw=1.3)
        h = float(cell["learning_rate"].sel(limit=limit))
        ax.annotate(
            f"$h$ = {h:.3g}", (1, limit), xycoords=("axes fraction", "data"), xytext=(-2, -3),
            textcoords="offset points", ha="right", va="top", fontsize=8, color=color,
        )  # fmt: skip
    ax.set_ylim(0.65 * float(cell["limit"].min()), 1.05 * float(cell["limit"].max()))
