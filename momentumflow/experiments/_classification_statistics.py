"""What the curves of `slides-classification` say: numbers of each run, means over seeds with standard errors, trends.

Runs of one seed share their initial weights and their batches, so that trends and differences are taken within a seed
and averaged afterwards.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

PLAIN, FIXED_RATE, FIXED_EFFECTIVE = "SGD, h", "λ at fixed h", "λ at fixed h/(1-λ)"
SIGNIFICANT = 3
SERIES = (PLAIN, FIXED_RATE, FIXED_EFFECTIVE)
QUANTITIES = {
    "accuracy": "test accuracy",
    "variation": "epoch-to-epoch variation",
    "loss": "training loss",
    "equal": "test accuracy at equal training loss",
}


_CURVES = ("train_loss", "test_accuracy")


class Estimate(NamedTuple):
    """A mean over seeds and its standard error."""

    value: float
    error: float

    @property
    def reach(self) -> float:
        """The largest size that 3 standard errors leave: a null is shown to within this, however large they are."""
        return abs(self.value) + SIGNIFICANT * self.error


def estimate(samples: Float[np.ndarray, " seeds"]) -> Estimate:
    """Mean and standard error of independent numbers."""
    return Estimate(float(np.mean(samples)), float(np.std(samples, ddof=1) / np.sqrt(len(samples))))


def studies(data: xr.Dataset) -> dict[str, xr.Dataset]:
    """Each study by its name, without what pads it to the size of the others."""
    return {str(name): _unpadded(data.sel(study=name)) for name in data["study"].values}


def _unpadded(study: xr.Dataset) -> xr.Dataset:
    there = study.dropna("setting", subset=["h"])
    return there.dropna("epoch", how="all", subset=_CURVES).dropna("seed", how="all", subset=_CURVES)


def numbers(study: xr.Dataset) -> xr.Dataset:
    """The quantities of every run, dims (setting, seed), all over the last epochs but for the last two.

    - accuracy: mean test accuracy.
    - variation: standard deviation of the test accuracy about its own straight line.
    - loss: training loss of the last epoch.
    - best: the largest test accuracy of any epoch, as early stopping on the test set would find it.
    - equal: test accuracy at the training loss that every run reaches, interpolated in log loss.
    """
    tail = study["test_accuracy"].isel(epoch=slice(-int(study["last"]), None))
    line = (
        xr.zeros_like(tail.transpose(..., "epoch"))
        + np.arange(tail.sizes["epoch"])
        - (tail.sizes["epoch"] - 1) / 2
    )
    slope = (tail * line).sum("epoch", skipna=False) / (line**2).sum("epoch")
    residual = tail - tail.mean("epoch", skipna=False) - slope * line
    freedom = tail.sizes["epoch"] - 2
    return xr.Dataset(
        {
            "accuracy": tail.mean("epoch", skipna=False),
            "variation": np.sqrt((residual**2).sum("epoch", skipna=False) / freedom),
            "loss": study["train_loss"].isel(epoch=-1, drop=True),
            "best": study["test_accuracy"].max("epoch", skipna=False),
            "equal": _at_equal_loss(study),
        }
    )


def common_loss(study: xr.Dataset) -> float:
    """The smallest training loss that every run reaches, but for those that diverged; NaN where all did."""
    losses = study["train_loss"].transpose(..., "epoch").values
    whole = losses[np.isfinite(losses).all(-1)]
    return float(whole.min(-1).max()) if whole.size else np.nan


def _at_equal_loss(study: xr.Dataset) -> xr.DataArray:
    level = _log(common_loss(study))

    def cross(loss: np.ndarray, accuracy: np.ndarray) -> float:
        if not np.isfinite(loss).all():
            return np.nan
        k = int(np.argmax(_log(loss) <= level + 1e-12))
        if k == 0:
            return float(accuracy[0])
        before, after = _log(loss[k - 1 : k + 1])
        share = (before - level) / (before - after)
        return float((1 - share) * accuracy[k - 1] + share * accuracy[k])

    curves = (study["train_loss"], study["test_accuracy"])
    return xr.apply_ufunc(cross, *curves, input_core_dims=[["epoch"]] * 2, vectorize=True)


def _log(loss: float | np.ndarray) -> float | np.ndarray:
    """Of a loss that was rounded to 0, that of the smallest float32: between two epochs any such number does."""
    return np.log(np.maximum(loss, float(np.finfo(np.float32).tiny)))


def series(study: xr.Dataset, name: str) -> tuple[Float[np.ndarray, " n"], list[int]]:
    """Doublings j of h or of 1/(1-λ) along a series, and its settings: in all three, j rises by one at a time."""
    h, lam = study["h"].values, study["momentum"].values
    chosen = {
        PLAIN: lam == 0,
        FIXED_RATE: np.isclose(h, h[0]),
        FIXED_EFFECTIVE: np.isclose(h / (1 - lam), float(study["effective"])),
    }[name]
    j = np.log2(h / h[0]) if name == PLAIN else -np.log2(1 - lam)
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(j[rows])]
    return j[rows], rows.tolist()


def points(study: xr.Dataset, name: str, quantity: str) -> tuple[Float[np.ndarray, " n"], list[Estimate]]:
    """j and the means of a quantity along a series."""
    j, rows = series(study, name)
    values = numbers(study)[quantity].transpose("setting", "seed").values
    return j, [estimate(values[row]) for row in rows]


def trend(study: xr.Dataset, name: str, quantity: str) -> Estimate:
    """Slope of a quantity per doubling, of a loss in its natural logarithm: least squares, seed by seed.

    NaN with a run that diverged, and of a loss that was rounded to 0, which has no logarithm.
    """
    j, rows = series(study, name)
    x = j - j.mean()
    return estimate(x @ _scaled(study, quantity)[rows] / np.sum(x**2))


def matched(study: xr.Dataset, quantity: str) -> list[Estimate]:
    """Momentum with (h, λ) less SGD with h/(1-λ), seed by seed, for each λ > 0 at the fixed h; a loss in logarithms."""
    values = _scaled(study, quantity)
    (_, plain), (_, momentum) = series(study, PLAIN), series(study, FIXED_RATE)
    return [estimate(values[b] - values[a]) for a, b in zip(plain[1:], momentum[1:], strict=True)]


def matched_mean(study: xr.Dataset, quantity: str) -> Estimate:
    """`matched`, averaged over the λ > 0 within a seed."""
    values = _scaled(study, quantity)
    (_, plain), (_, momentum) = series(study, PLAIN), series(study, FIXED_RATE)
    return estimate(np.mean(values[momentum[1:]] - values[plain[1:]], axis=0))


def change(study: xr.Dataset, name: str, quantity: str, start: int, end: int) -> Estimate:
    """A quantity after `end` doublings of a series less that after `start`, seed by seed; a loss in logarithms."""
    _, rows = series(study, name)
    values = _scaled(study, quantity)
    return estimate(values[rows[end]] - values[rows[start]])


def _scaled(study: xr.Dataset, quantity: str) -> Float[np.ndarray, "settings seeds"]:
    values = numbers(study)[quantity].transpose("setting", "seed").values
    if quantity != "loss":
        return values
    return np.log(values, where=values > 0, out=np.full_like(values, np.nan))
