"""Test accuracy with SGD and momentum, against h and against λ.

Ghosh et al. (ICLR 2023), "Some prevalent observations in deep learning", with λ for the slides' β: (1) test accuracy
of SGD improves with h; (2) with momentum its variation over the epochs falls as λ rises; (3) it rises with λ. A larger
λ at the same h is also a larger effective learning rate h/(1-λ): a claim about momentum itself is one at a fixed
h/(1-λ). So three series start from the smallest h: SGD with h doubled; heavy ball at that h with 1/(1-λ) doubled;
heavy ball at a fixed h/(1-λ) with 1/(1-λ) doubled. The training loss stands beside, and the test accuracy where all
runs had the same training loss: better is not always better than "trained further".
A network of strided convolutions without normalisation, reshuffled mini-batches, every seed with the same start and the
same batches in all settings. An error bar is a standard error over the seeds, on one fixed set of test images. An
observation is confirmed where its trend is beyond 3 standard errors, and "not confirmed" where it is not, which large
errors bring about as well: where there is said to be no effect, another check bounds its size, errors included.

Quick: scikit-learn's digits, seconds, beside a study of CIFAR-10 that was computed beforehand and is kept with the
package: the JPEG copy, 10 000 images, a small network, made by
`python -m momentumflow.experiments._classification_runs --data DIR`.
Full: all of CIFAR-10, six convolutions, 60 runs of 60 epochs, for a GPU. Every run is kept in the cache of the data
sets when it ends, so that what is broken off goes on at the next call. It takes 1.4 million steps: two weeks
on two CPU cores, where a step was measured at 0.84 s, and by estimate, as none was at hand, about an hour on a GPU that
does the 13 GFLOP of a step in 2 ms.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from .. import _plot
from .._progress import Progress
from . import _classification_runs as runs
from . import _classification_statistics as statistics
from ._classification_statistics import FIXED_EFFECTIVE, FIXED_RATE, PLAIN, SERIES
from .checks import Check

Config = runs.Config
STORED = runs.STORED

PRESETS = {
    "quick": Config(),
    "full": Config(
        "cifar10",
        channels=(32, 32, 64, 64, 128, 128),
        strides=(1, 2, 1, 2, 1, 2),
        batch_size=128,
        epochs=60,
        smallest=2.0**-7,
        seeds=5,
        together=1,
        kept=True,
        last=20,
    ),
}

_SMALL_CIFAR = "CIFAR-10 (JPEG copy), 10000 images"
# Quantity, series, sign; then for each study whether it is confirmed, a trend of that sign beyond 3 standard errors:
# a record of what was seen, no prediction. What is left out is too near that border to be the same on every machine.
_CLAIMS: dict[str, tuple[str, str, int, dict[str, bool]]] = {
    "Obs-1, accuracy rises with h": ("accuracy", PLAIN, 1, {"digits": True, _SMALL_CIFAR: False}),
    "Obs-1 at equal training loss": ("equal", PLAIN, 1, {"digits": False, _SMALL_CIFAR: False}),
    "Obs-2, variation falls with λ, fixed h": ("variation", FIXED_RATE, -1, {_SMALL_CIFAR: False}),
    "Obs-2, fixed h/(1-λ)": ("variation", FIXED_EFFECTIVE, -1, {_SMALL_CIFAR: False}),
    "Obs-3, accuracy rises with λ, fixed h": (
        "accuracy",
        FIXED_RATE,
        1,
        {"digits": True, _SMALL_CIFAR: False},
    ),
    "Obs-3, best epoch, fixed h": ("best", FIXED_RATE, 1, {"digits": True, _SMALL_CIFAR: True}),
    "Obs-3, fixed h/(1-λ)": ("accuracy", FIXED_EFFECTIVE, 1, {"digits": False, _SMALL_CIFAR: False}),
    "Obs-3, best epoch, fixed h/(1-λ)": ("best", FIXED_EFFECTIVE, 1, {"digits": False, _SMALL_CIFAR: False}),
}
# Quantity, series; then for each study what the size of its slope a doubling stays below, 3 standard errors included.
# The bounds were written after a first look at the data, below what h does: 0.015 a doubling on the digits, 0.006 up to
# 4h₀ on CIFAR-10.
_NULLS: dict[str, tuple[str, str, dict[str, float]]] = {
    "accuracy at equal training loss, SGD": ("equal", PLAIN, {"digits": 0.012, _SMALL_CIFAR: 0.004}),
    "accuracy, fixed h/(1-λ)": ("accuracy", FIXED_EFFECTIVE, {"digits": 0.003, _SMALL_CIFAR: 0.004}),
    "best epoch, fixed h/(1-λ)": ("best", FIXED_EFFECTIVE, {"digits": 0.003, _SMALL_CIFAR: 0.004}),
}
_SAME_ACCURACY = 0.01
_SLIDES = "Ghosh et al. (ICLR 2023), Some prevalent observations"
_THEOREM_2 = "Kovachki & Stuart (2021), Theorem 2: to O(h) only h/(1-λ) matters"


def run(config: Config, progress: Progress) -> xr.Dataset:
    """The curves of every run, and those of the study that is kept with the package."""
    measured = runs.measure(config, progress)
    kept = runs.stored()
    parts = [measured] if kept is None or kept["study"] == measured["study"] else [measured, kept]
    return xr.concat(
        parts, "study", data_vars="all", coords="minimal", join="outer", combine_attrs="override"
    )


def checks(data: xr.Dataset) -> list[Check]:
    """The slides' observations, each confirmed or not, where there is nothing how large it could be, and that momentum
    does what its effective rate does."""
    return [
        check
        for name, study in statistics.studies(data).items()
        for check in [
            *_observations(name, study),
            *_bends(name, study),
            *_nulls(name, study),
            *_effective_rate(name, study),
        ]
    ]


def _observations(name: str, study: xr.Dataset) -> list[Check]:
    """A trend per doubling is confirmed beyond 3 standard errors, which are the expected number."""
    found = []
    for claim, (quantity, series, sign, confirmed) in _CLAIMS.items():
        if name in confirmed:
            trend = statistics.trend(study, series, quantity)
            relation, verdict = ("at least", "") if confirmed[name] else ("at most", "not confirmed, ")
            where = f"{name}: {claim}, {verdict}{'' if sign > 0 else 'minus '}slope per doubling"
            found.append(_beyond(where, statistics.Estimate(sign * trend.value, trend.error), relation))
    return found


def _bends(name: str, study: xr.Dataset) -> list[Check]:
    """Where a straight line over all h hides a rise and a fall; the bend was seen in these same means."""
    if name != _SMALL_CIFAR:
        return []
    rise, fall = (statistics.change(study, PLAIN, "accuracy", *ends) for ends in ((0, 2), (4, 2)))
    return [
        _beyond(f"{name}: accuracy of SGD with 4h₀ less that with h₀", rise, "at least"),
        _beyond(f"{name}: accuracy of SGD with 4h₀ less that with 16h₀", fall, "at least"),
    ]


def _beyond(where: str, found: statistics.Estimate, relation: str) -> Check:
    limit = statistics.SIGNIFICANT * found.error
    return Check(where, found.value, limit, 0, relation, f"{_SLIDES}; 3 standard errors")


def _nulls(name: str, study: xr.Dataset) -> list[Check]:
    """Slopes that are no larger than a bound: what is not confirmed may still be large, this may not."""
    source = "bound below what h does, which leaves 3 standard errors room"
    return [
        Check(
            f"{name}: {what}, |slope per doubling| + 3 standard errors",
            *(statistics.trend(study, series, quantity).reach, bounds[name], 0, "at most", source),
        )
        for what, (quantity, series, bounds) in _NULLS.items()
        if name in bounds
    ]


def _effective_rate(name: str, study: xr.Dataset) -> list[Check]:
    """Differences at equal h/(1-λ) beside what a change of h/(1-λ) does."""
    (_, loss), (_, accuracy) = (statistics.points(study, PLAIN, q) for q in ("loss", "accuracy"))
    means = [point.value for point in accuracy]
    first = np.log(loss[1].value / loss[0].value)
    apart = max(abs(e.value) for e in statistics.matched(study, "accuracy")) / (max(means) - min(means))
    at_first = abs(statistics.matched(study, "loss")[0].value / first)
    return [
        Check(
            f"{name}: log loss of (h₀, λ = ½) less that of SGD with 2h₀, over its change from h₀ to 2h₀",
            *(at_first, 0, 0.1, "within", _THEOREM_2),
        ),
        Check(
            f"{name}: largest difference of accuracy at equal h/(1-λ) over its range with h",
            *(apart, 0, 0.25, "within", _THEOREM_2),
        ),
        Check(
            f"{name}: accuracy at equal h/(1-λ), |momentum less SGD, mean over λ| + 3 standard errors",
            *(statistics.matched_mean(study, "accuracy").reach, _SAME_ACCURACY, 0, "at most", _THEOREM_2),
        ),
    ]


_LOOK = {
    PLAIN: ("#000000", "o", "SGD: $h = 2^jh_0$"),
    FIXED_RATE: ("#0072b2", "s", r"momentum, $h = h_0$: $1-\lambda = 2^{-j}$"),
    FIXED_EFFECTIVE: ("#d55e00", "D", r"momentum, fixed $h/(1-\lambda)$: $1-\lambda = 2^{-j}$"),
}
_SHIFT = {PLAIN: -0.07, FIXED_RATE: 0.07, FIXED_EFFECTIVE: 0.0}


def plot(data: xr.Dataset) -> Figure:
    """A row for each data set, a column for each quantity, against the number j of doublings."""
    found = statistics.studies(data)
    with _plot.style():
        figure = _plot.figure(11.5, 0.8 + 2.9 * len(found))
        rows = figure.subplots(len(found), len(statistics.QUANTITIES), squeeze=False)
        for axes, (name, study) in zip(rows, found.items(), strict=True):
            for ax, quantity in zip(axes, statistics.QUANTITIES, strict=True):
                _panel(ax, study, quantity)
            axes[0].set_ylabel(_caption(name, study))
        handles, labels = rows[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _caption(name: str, study: xr.Dataset) -> str:
    exponent, effective = np.log2(float(study["h"][0])), float(study["effective"])
    where = name.replace(", ", "\n")
    return f"{where}\n$h_0 = 2^{{{exponent:.0f}}}$, fixed $h/(1-\\lambda) = {effective:g}$"


def _panel(ax: Axes, study: xr.Dataset, quantity: str) -> None:
    for name in SERIES:
        color, marker, label = _LOOK[name]
        j, found = statistics.points(study, name, quantity)
        values, errors = np.transpose(found)
        ax.errorbar(
            j + _SHIFT[name], values, errors, color=color, marker=marker, ms=4, lw=1.1, capsize=2, label=label
        )
    title = statistics.QUANTITIES[quantity]
    if quantity == "loss":
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
    if quantity == "equal":
        title = f"accuracy at training loss {statistics.common_loss(study):.2g}"
    ax.set_title(title, fontsize=9.5)
    ax.set_xticks(range(len(j)))
    ax.set_xlabel("doublings $j$")
