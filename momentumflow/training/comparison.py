"""The methods side by side on one data set, from the same initial params."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from .. import _progress
from ..problems.networks import Autoencoder
from .datasets import Dataset
from .loop import TrainingRun, train
from .methods import six_methods
from .run import finite

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Comparison:
    """Runs by method name, and what they have in common.

    **Fields:** `dataset`, `images` (used), `pixels`, `batch_size`, `epochs`, `learning_rate`, `momentum`,
    `strong_convexity`, `seed`, `dtype`, `runs`.
    """

    dataset: str
    images: int
    pixels: int
    batch_size: int
    epochs: int
    learning_rate: float
    momentum: float
    strong_convexity: float
    seed: int
    dtype: str
    runs: dict[str, TrainingRun]


def run_methods(
    dataset: Dataset,
    epochs: int,
    learning_rate: float,
    methods: Sequence[str] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: _progress.Progress = _progress.SILENT,
    momentum: float = 0.9,
    strong_convexity: float = 1.0,
    network: Autoencoder | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Comparison:
    """Train an autoencoder with each method, every one from the same initial params.

    **Arguments:**

    - `dataset`: from `load`.
    - `epochs`: at least 1.
    - `learning_rate`: $h > 0$ of every method.
    - `methods`: names from `METHOD_NAMES`; `None` for the six of Figure 6.
    - `batch_size`: `None` is the data set's own, 200 for MNIST and 100 for the digits.
    - `seed`: of the initialisation, the only random thing here.
    - `progress`: told of every epoch, counted over all methods.
    - `momentum`: λ in [0, 1) of GF, HB and NAG; `strong_convexity`: μ > 0 of the others.
    - `network`: an `Autoencoder`; `None` is the data set's with ReLU and a linear code and output.
    - `dtype`: of the params.

    **Returns:** a `Comparison`.

    **Raises:** `ValueError` that names the requirement, before work starts.

    Kovachki & Stuart (2021), §5 and Figure 6.

    !!! example

        >>> from momentumflow.training import load, run_methods
        >>> result = run_methods(load("digits"), epochs=1, learning_rate=0.125, methods=["HB", "NAG"])
        >>> {name: run.status for name, run in result.runs.items()}
        {'HB': 'completed', 'NAG': 'completed'}
    """
    chosen = six_methods(learning_rate, momentum, strong_convexity, methods)
    network = Autoencoder(dataset.sizes) if network is None else network
    batches = jnp.asarray(dataset.batches(batch_size))
    params = network.init(jax.random.key(seed), dtype)
    runs = {}
    for i, (name, method) in enumerate(chosen.items()):
        part = _progress.Part(progress, i * epochs, len(chosen) * epochs, name)
        runs[name] = train(method, network.loss, params, batches, epochs, part)
    number, size = batches.shape[:2]
    return Comparison(
        dataset.name,
        number * size,
        dataset.pixels,
        size,
        epochs,
        float(learning_rate),
        float(momentum),
        float(strong_convexity),
        seed,
        str(jnp.dtype(dtype)),
        runs,
    )


def table(result: Comparison) -> "Table":
    """The errors over the whole training set as a table of rich: the mean over the pixels, and the sum."""
    from rich.table import Table

    steps = result.epochs * result.images // result.batch_size
    shown = Table(
        "method",
        "status",
        title=f"{result.dataset}: {result.images} images, h = {result.learning_rate:g}, {result.epochs} epoch(s) = "
        f"{steps} steps of batch {result.batch_size}, λ = {result.momentum:g}, μ = {result.strong_convexity:g}, "
        f"seed {result.seed}, {result.dtype}",
        caption="mean-squared error over the whole training set",
    )
    for heading in (
        "initial error [per pixel]",
        "final error [per pixel]",
        f"final error [sum of {result.pixels} pixels]",
    ):
        shown.add_column(heading.replace("[", r"\["), justify="right")
    for name, run in result.runs.items():
        errors = (run.initial_error, run.final_error, run.final_error * result.pixels)
        shown.add_row(name, run.status, *("–" if math.isnan(e) else f"{e:.6g}" for e in errors))
    return shown


def table_of_losses(result: Comparison, most: int = 20) -> "Table":
    """Mean loss over the batches of an epoch, an epoch a row (at most `most` of them, the last one always)."""
    from rich.table import Table

    shown = Table(
        "epoch", title="mean training loss of each epoch, per pixel, where the gradients were taken"
    )
    for name in result.runs:
        shown.add_column(name, justify="right")
    step = -(-result.epochs // most)
    for epoch in range(result.epochs, 0, -step)[::-1]:
        losses = [
            run.losses[epoch - 1] if epoch <= len(run.losses) else math.nan for run in result.runs.values()
        ]
        shown.add_row(str(epoch), *(f"{loss:.5g}" if math.isfinite(loss) else "n/a" for loss in losses))
    return shown


def to_dict(result: Comparison) -> dict[str, Any]:
    """The same as plain numbers and text, ready for JSON; `None` stands for what is not finite."""
    common = {key: value for key, value in vars(result).items() if key != "runs"}
    return {**common, "runs": {name: _run(run, result.pixels) for name, run in result.runs.items()}}


def _run(run: TrainingRun, pixels: int) -> dict[str, Any]:
    return {
        "status": run.status,
        "diverged_at_step": run.diverged_at if run.diverged_at >= 0 else None,
        "initial_error_per_pixel": finite(run.initial_error),
        "final_error_per_pixel": finite(run.final_error),
        "final_error_summed_over_pixels": finite(run.final_error * pixels),
        "epoch_losses_per_pixel": [finite(float(x)) for x in run.losses],
    }
