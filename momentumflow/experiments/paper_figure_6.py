"""Six methods train an autoencoder, at seven learning rates.

Kovachki & Stuart (2021), Figure 6 and §5: final training errors of a deep autoencoder (mean-squared error, batches in
file order) for GF (35), HB (9) and NAG (10) with λ = 0.9, and Wilson (36), HB-μ and NAG-μ (5) with μ = 1,
h = 2⁰ … 2⁻⁶. As h falls the first three come together, being discretisations of one flow; NAG is the best at the
largest h. Shown is the squared error of an image, summed over its pixels. "n/a": the run diverged, or its error is
not below the initial one. In the paper that is GF at h = 1; here it depends on the initial params (n/a for one of five
seeds of the quick preset) and is never forced.

The quick preset trains on scikit-learn's digits (8 × 8 pixels, no download), the full one as the paper on MNIST.
At h = 1 and μ = 1, (5) gives λ = 0: HB-μ and NAG-μ are gradient descent with step 1. The paper's table has two
different numbers there.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot, _progress
from ..training import METHOD_NAMES, Comparison, load, run_methods
from .checks import Check

# Kovachki & Stuart (2021), Figure 6, columns h = 2^0, 2^-2, 2^-4, 2^-6; NaN is n/a.
PUBLISHED = {
    "GF": (float("nan"), 4.5954, 7.0049, 10.6548),
    "HB": (3.6775, 4.5429, 7.0720, 10.6848),
    "NAG": (3.2808, 4.4579, 7.0557, 10.6814),
    "Wilson": (6.7395, 8.3491, 10.2761, 12.4123),
    "HB-mu": (5.7099, 7.6202, 9.7838, 12.1743),
    "NAG-mu": (5.6867, 7.6131, 9.7783, 12.1738),
}
_PUBLISHED_EXPONENTS = (0, 2, 4, 6)
_FIXED_MOMENTUM, _STRONGLY_CONVEX = METHOD_NAMES[:3], METHOD_NAMES[3:]


@dataclass(frozen=True)
class Config:
    """The data set, its network and training, λ and μ, and h = 2^-k for the exponents k; `batch_size` 0 is its own."""

    dataset: str = "digits"
    epochs: int = 20
    batch_size: int = 0
    exponents: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    momentum: float = 0.9
    strong_convexity: float = 1.0
    hidden: str = "relu"
    code: str = "linear"
    output: str = "linear"
    initializer: str = "glorot_uniform"
    dtype: str = "float64"
    seed: int = 0


PRESETS = {"quick": Config(), "full": Config("mnist", epochs=500, dtype="float32")}


def run(config: Config, progress: _progress.Progress) -> xr.Dataset:
    """Final errors of every method at every h, and of gradient descent with step 1."""
    ladder = [2.0**-k for k in config.exponents]
    total = (len(ladder) + 1) * len(METHOD_NAMES) * config.epochs
    results = []
    for i, h in enumerate(ladder):
        before = i * len(METHOD_NAMES) * config.epochs
        part = _progress.Part(progress, before, total, f"h = 2^-{config.exponents[i]}")
        results.append(_train(config, h, config.momentum, METHOD_NAMES, part))
    plain = _train(config, 1.0, 0.0, ("GF",), _progress.SILENT)

    def table(field: str) -> tuple[tuple[str, str], list[list]]:
        rows = [[getattr(r.runs[name], field) for r in results] for name in METHOD_NAMES]
        return ("optimizer", "h"), rows

    initial = results[0].runs["GF"].initial_error
    return xr.Dataset(
        {
            "error": (*table("final_error"), {"symbol": "mean-squared error per pixel"}),
            "status": table("status"),
            "succeeded": table("succeeded"),
        },
        {"optimizer": list(METHOD_NAMES), "h": ("h", ladder, {"symbol": "h"})},
        {
            "initial_error": initial,
            "gradient_descent_error": plain.runs["GF"].final_error,
            "pixels": results[0].pixels,
            "images": results[0].images,
            "batch_size": results[0].batch_size,
            "dataset": config.dataset,
            "epochs": config.epochs,
            "momentum": config.momentum,
            "strong_convexity": config.strong_convexity,
        },
    )


def _train(
    config: Config, h: float, momentum: float, names: tuple[str, ...], progress: _progress.Progress
) -> Comparison:
    dataset = load(config.dataset)
    network = mf.Autoencoder(dataset.sizes, config.hidden, config.code, config.output, config.initializer)
    return run_methods(
        dataset,
        config.epochs,
        h,
        names,
        config.batch_size or None,
        config.seed,
        progress,
        momentum,
        config.strong_convexity,
        network,
        config.dtype,
    )


def checks(data: xr.Dataset) -> list[Check]:
    """The order of the methods, the common limit of the first three, λ = 0; on all of MNIST the published table."""
    error = _summed(data)
    large = error.sel(h=data["h"] >= 0.5)
    lead = large.sel(optimizer="NAG") / large.drop_sel(optimizer="NAG").min("optimizer")
    momentum = error.sel(optimizer=["HB", "NAG"]).max("optimizer")
    gap = error.sel(optimizer=list(_STRONGLY_CONVEX)).min("optimizer") / momentum
    spread = _spread(error)
    figure_6 = "Kovachki & Stuart (2021), Figure 6"
    found = [
        Check(
            "NAG's error over the smallest of the others, h = 2^0, 2^-1",
            lead.max(),
            1,
            0,
            "at most",
            "Kovachki & Stuart (2021), §5: NAG is the best at relatively large h",
        ),
        Check(
            "smallest error of Wilson, HB-μ, NAG-μ over the larger of HB, NAG, any h",
            gap.min(),
            1,
            0,
            "at least",
            f"{figure_6}: so in every column",
        ),
        Check(
            "spread of GF, HB, NAG at the smallest h over that at 2^-1",
            spread.isel(h=-1) / spread.sel(h=0.5),
            0.25,
            0,
            "at most",
            f"§5: the errors become closer; {figure_6}: 0.003 at 2^-6, 0.031 at 2^-2",
        ),
    ]
    return [*found, *_zero_momentum(data, error), *_published(data, error)]


def _summed(data: xr.Dataset) -> xr.DataArray:
    """The error of an image, summed over its pixels; NaN where n/a."""
    return data.attrs["pixels"] * data["error"].where(data["succeeded"])


def _spread(error: xr.DataArray) -> xr.DataArray:
    """Range of the errors of GF, HB and NAG, over their mean."""
    three = error.sel(optimizer=list(_FIXED_MOMENTUM))
    return (three.max("optimizer") - three.min("optimizer")) / three.mean("optimizer")


def _zero_momentum(data: xr.Dataset, error: xr.DataArray) -> list[Check]:
    """What μh = 1 means: λ = 0."""
    if data.attrs["strong_convexity"] != 1:
        return []
    plain = data.attrs["pixels"] * data.attrs["gradient_descent_error"]
    at_one = error.sel(h=1.0)
    published = PUBLISHED["HB-mu"][0] - PUBLISHED["NAG-mu"][0]
    difference = at_one.sel(optimizer="HB-mu") - at_one.sel(optimizer="NAG-mu")
    return [
        *(
            Check(
                f"{name} at h = μ = 1",
                at_one.sel(optimizer=name),
                plain,
                1e-9,
                "within",
                "gradient descent, step 1",
            )
            for name in ("HB-mu", "NAG-mu")
        ),
        Check(
            "HB-μ less NAG-μ at h = μ = 1",
            difference,
            published,
            0.01,
            "within",
            "Kovachki & Stuart (2021), Figure 6, printed numbers; (5) gives λ = 0 for both",
            refutes=True,
        ),
    ]


def _published(data: xr.Dataset, error: xr.DataArray) -> list[Check]:
    """The four columns, for a run that is the paper's."""
    if (data.attrs["dataset"], data.attrs["epochs"], data.attrs["images"]) != ("mnist", 500, 60_000):
        return []
    return [
        Check(
            f"{name}, h = 2^-{k}: final error",
            error.sel(optimizer=name, h=2.0**-k),
            number,
            0.1 * number,
            "within",
            "Kovachki & Stuart (2021), Figure 6",
        )
        for name, row in PUBLISHED.items()
        for k, number in zip(_PUBLISHED_EXPONENTS, row, strict=True)
        if not np.isnan(number) and 2.0**-k in data["h"].values
    ]


def plot(data: xr.Dataset) -> Figure:
    """The table of final errors, dark where small; on MNIST the published number below the computed one."""
    with _plot.style():
        figure = _plot.figure(8.0, 4.2)
        ax = figure.subplots()
        error = _summed(data)
        ax.imshow(np.log(error), cmap="viridis", aspect="auto", alpha=0.6)
        for i, name in enumerate(data["optimizer"].values):
            for j, h in enumerate(data["h"].values):
                _write(
                    ax, (j, i), error[i, j].item(), str(data["status"].values[i, j]), _beside(data, name, h)
                )
        exponents = np.round(np.log2(data["h"].values)).astype(int)
        ax.set_xticks(range(len(exponents)), [f"$2^{{{k}}}$" for k in exponents])
        ax.set_yticks(
            range(len(data["optimizer"])), [str(n).replace("mu", "μ") for n in data["optimizer"].values]
        )
        ax.grid(False)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        steps = data.attrs["epochs"] * data.attrs["images"] // data.attrs["batch_size"]
        ax.set(
            xlabel="learning rate $h$",
            title=f"Squared error of an image, {data.attrs['dataset']}: {data.attrs['epochs']} epochs = {steps} steps, "
            f"λ = {data.attrs['momentum']:g}, μ = {data.attrs['strong_convexity']:g}; "
            f"{data.attrs['pixels'] * data.attrs['initial_error']:.4g} at the start",
        )
        ax.title.set_fontsize(9.5)
    return figure


def _beside(data: xr.Dataset, name: str, h: float) -> str:
    """The published number, for MNIST."""
    k = round(-np.log2(h))
    if data.attrs["dataset"] != "mnist" or k not in _PUBLISHED_EXPONENTS:
        return ""
    number = PUBLISHED[name][_PUBLISHED_EXPONENTS.index(k)]
    return "paper: n/a" if np.isnan(number) else f"paper: {number:.4f}"


def _write(ax: Axes, cell: tuple[int, int], error: float, status: str, beside: str) -> None:
    reason = status.removeprefix("n/a: ").replace("error not below the initial one", "not below\nthe initial")
    text = (
        f"{error:.3f}"
        if np.isfinite(error)
        else f"n/a\n{reason.replace('diverged at', 'diverged at' + chr(10))}"
    )
    size = 10 if np.isfinite(error) and not beside else 8.5
    ax.text(*cell, f"{text}\n{beside}".strip(), ha="center", va="center", fontsize=size)
