"""Variance and regularisation of momentum on random mini-batches.

Ghosh et al. (ICLR 2023), "Remarks", with λ for the slides' β: batch losses E_k are drawn independently, their
gradients at one point have mean g and covariance Σ, and G_k = Σ_{r≤k} λ^{k-r}E_r. Obs-1, Cov(G_k) = (1-λ)/(1+λ)Σ,
is right for the average (1-λ)∇G_k; the sum ∇G_k itself has Σ/(1-λ²). Obs-2 is E[IGRM-S] = E[IGR-S]/(1-λ). Exactly,
E[|∇G_k|² + 2Σ_{r<k} λ^{k-r}|∇G_r|²] = (1+λ)/(1-λ)³|g|² + tr Σ/(1-λ)² for k → ∞; times 1-λ, which scales G to E,
that is 1/(1-λ) times |g|² + tr Σ only where g = 0, and (1+λ)/(1-λ)² times it where Σ = 0.
Here E_k is least squares on a batch drawn with replacement, so that g and Σ are known.
"""

import itertools
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, ArrayLike, Float, Key
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from .checks import Check

_NOISE, _MIXED, _FULL = "at the minimum, g = 0", "away from it", "away, full batch, Σ = 0"
_COLORS = {_NOISE: "#0072b2", _MIXED: "#d55e00", _FULL: "#777777"}
_CHECKED = (0.5, 0.7, 0.9)
_SLIDES = "Ghosh et al. (ICLR 2023), Remarks"


@dataclass(frozen=True)
class Config:
    """λs; numbers of independent runs, iterations, data, data in a batch; distance from the minimum; seed."""

    momenta: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    runs: int = 10_000
    steps: int = 200
    data: int = 32
    batch: int = 4
    distance: float = 0.5
    seed: int = 0


PRESETS = {"quick": Config(), "full": Config(runs=100_000)}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """∇G_k and the regulariser after the last iteration: means over the runs, with standard errors."""
    gradients = _gradients(config)
    keys = jax.random.split(jax.random.key(config.seed), len(gradients))
    rows = []
    for done, (name, population) in enumerate(gradients.items()):
        progress.update(done, len(gradients), label=name)
        rows.append(_moments(config, population, keys[done]))
    return xr.Dataset(
        {
            name: (("case", *dims), np.stack([row[name] for row in rows]), attrs)
            for name, (dims, attrs) in _ARRAYS.items()
        },
        {"case": list(gradients), "momentum": ("momentum", list(config.momenta), {"symbol": "λ"})},
        {"runs": config.runs, "steps": config.steps, "batch": config.batch},
    )


_ARRAYS = {
    "mean_square": ((), {"symbol": "|g|²"}),
    "covariance": (("row", "column"), {"symbol": "Σ"}),
    "sampled_covariance": (("momentum", "row", "column"), {"symbol": "Cov((1-λ)∇G_k)"}),
    "trace": (("momentum",), {"symbol": "tr Cov((1-λ)∇G_k)"}),
    "trace_error": (("momentum",), {"symbol": "standard error"}),
    "regulariser": (("momentum",), {"symbol": "E[|∇G_k|² + 2Σλ^{k-r}|∇G_r|²]"}),
    "regulariser_error": (("momentum",), {"symbol": "standard error"}),
}


def _gradients(config: Config) -> dict[str, Float[Array, "data 2"]]:
    """The gradient of ½(a·x - b)² on every datum, at the minimum of their mean and away from it."""
    inputs_key, targets_key = jax.random.split(jax.random.key(config.seed + 1))
    inputs = jax.random.normal(inputs_key, (config.data, 2)) * jnp.array([1.0, 1.5])
    targets = jax.random.normal(targets_key, (config.data,))
    minimum = jnp.linalg.lstsq(inputs, targets)[0]
    away = minimum + config.distance * jnp.array([0.6, 0.8])

    def loss(x: Float[Array, "2"], a: Float[Array, "2"], b: Float[Array, ""]) -> Float[Array, ""]:
        return (a @ x - b) ** 2 / 2

    gradient = jax.vmap(jax.grad(loss), (None, 0, 0))
    at = {_NOISE: gradient(minimum, inputs, targets), _MIXED: gradient(away, inputs, targets)}
    return at | {_FULL: jnp.broadcast_to(at[_MIXED].mean(0), (config.data, 2))}


@eqx.filter_jit
def _sample(
    config: Config, momenta: Float[Array, " m"], population: Float[Array, "data 2"], key: Key[Array, ""]
) -> tuple[Float[Array, "m runs 2"], Float[Array, "m runs"]]:
    """∇G_k and |∇G_k|² + 2Σ_{r<k} λ^{k-r}|∇G_r|² at the last k; every λ sees the same batches."""
    decay = momenta[:, None]

    def step(carry: tuple, key: Key[Array, ""]) -> tuple[tuple, None]:
        total, past = carry
        past = decay * (past + jnp.sum(total**2, -1))
        batch = jax.random.randint(key, (config.runs, config.batch), 0, config.data)
        return (decay[..., None] * total + population[batch].mean(1), past), None

    shape = (len(config.momenta), config.runs)
    start = (jnp.zeros((*shape, 2)), jnp.zeros(shape))
    (total, past), _ = jax.lax.scan(step, start, jax.random.split(key, config.steps))
    return total, jnp.sum(total**2, -1) + 2 * past


def _moments(config: Config, population: Float[Array, "data 2"], key: Key[Array, ""]) -> dict[str, ArrayLike]:
    momenta = jnp.array(config.momenta)
    total, regulariser = map(np.asarray, _sample(config, momenta, population, key))
    average = (1 - np.array(config.momenta))[:, None, None] * total
    deviation = average - average.mean(1, keepdims=True)
    square, root = np.sum(deviation**2, -1), np.sqrt(config.runs)
    return {
        "mean_square": np.sum(np.asarray(population).mean(0) ** 2),
        "covariance": np.cov(population, rowvar=False, bias=True) / config.batch,
        "sampled_covariance": np.einsum("mri,mrj->mij", deviation, deviation) / config.runs,
        "trace": square.mean(1),
        "trace_error": square.std(1) / root,
        "regulariser": regulariser.mean(1),
        "regulariser_error": regulariser.std(1) / root,
    }


def _trace(data: xr.Dataset) -> xr.DataArray:
    """tr Σ."""
    return data["covariance"].isel(row=0, column=0) + data["covariance"].isel(row=1, column=1)


def _expected(case: xr.Dataset, lam: float | np.ndarray) -> np.ndarray:
    """(1+λ)/(1-λ)³|g|² + tr Σ/(1-λ)²."""
    return np.asarray(mf.expected_regularizer(lam, float(case["mean_square"]), float(_trace(case))).total)


def checks(data: xr.Dataset) -> list[Check]:
    """Both closed forms against the sample, within three standard errors; the slides' forms are refuted."""
    return [*_covariance_checks(data), *_regulariser_checks(data)]


def _covariance_checks(data: xr.Dataset) -> list[Check]:
    # of a sample covariance S of n normal vectors in the plane: E‖S - Σ‖² = (tr²Σ + ‖Σ‖²)/n ≤ 3‖Σ‖²/n
    spread = 3 * np.sqrt(3 / data.attrs["runs"])
    found = []
    for case, lam in itertools.product((_NOISE, _MIXED), _CHECKED):
        here, factor = data.sel(case=case, momentum=lam), float(mf.gradient_variance(lam))
        trace, covariance = _trace(here), here["covariance"].values
        distance = np.linalg.norm(here["sampled_covariance"] / factor - covariance) / np.linalg.norm(
            covariance
        )
        ratio, error = here["trace"] / trace, 3 * here["trace_error"] / trace
        where = f"{case}, λ = {lam:g}"
        name, source = f"{where}: tr Cov((1-λ)∇G_k)/tr Σ", f"{_SLIDES}, Obs-1: (1-λ)/(1+λ)"
        found.append(Check(name, ratio, factor, error, "within", source))
        name, source = (
            f"{where}: |Cov - (1-λ)/(1+λ)Σ| over its norm",
            "spread of a sample covariance, 3 times",
        )
        found.append(Check(name, distance, 0.0, spread, "within", source))
        name, source = f"{where}: tr Cov(∇G_k)/tr Σ", f"{_SLIDES}, Obs-1 as printed, for G_k itself"
        raw = (1 - lam) ** -2
        found.append(Check(name, raw * ratio, factor, raw * error, "within", source, refutes=True))
    return found


def _regulariser_checks(data: xr.Dataset) -> list[Check]:
    exact = "E|∇G_r|² = |g|²/(1-λ)² + tr Σ/(1-λ²), summed"
    slides = f"{_SLIDES}, Obs-2: 1/(1-λ)"
    found = []
    for case, lam in itertools.product(data["case"].values, _CHECKED):
        here, where = data.sel(case=case, momentum=lam), f"{case}, λ = {lam:g}"
        sampled, expected = float(here["regulariser"]), float(_expected(here, lam))
        error = 3 * float(here["regulariser_error"]) + 1e-6 * expected  # the second is what λ^k leaves
        scale = (1 - lam) / float(here["mean_square"] + _trace(here))
        name = f"{where}: E[|∇G_k|² + 2Σλ^(k-r)|∇G_r|²]"
        found.append(Check(name, sampled, expected, error, "within", exact))
        name, known = (
            f"{where}: (1-λ) times that over |g|² + tr Σ",
            (1 / (1 - lam), scale * error, "within", slides),
        )
        found.append(Check(name, scale * sampled, *known, refutes=case != _NOISE))
    return found


def plot(data: xr.Dataset) -> Figure:
    """Left: the variance of the average and of the sum. Right: how much the regulariser grows."""
    with _plot.style():
        figure = _plot.figure(8.0, 3.9)
        left, right = figure.subplots(1, 2)
        _draw_variance(left, data)
        _draw_regulariser(right, data)
    return figure


def _draw_variance(ax: Axes, data: xr.Dataset) -> None:
    lam, fine = data["momentum"].values, np.linspace(0, 0.95, 200)
    here = data.sel(case=_MIXED)
    ratio, error = (here[name] / _trace(data).sel(case=_MIXED) for name in ("trace", "trace_error"))
    for scale, color, curve, label in (
        (
            1,
            "#0072b2",
            mf.gradient_variance(fine),
            r"average $(1-\lambda)\nabla G_k$: $(1-\lambda)/(1+\lambda)$",
        ),
        (
            (1 - lam) ** -2.0,
            "#d55e00",
            mf.gradient_variance(fine, averaged=False),
            r"sum $\nabla G_k$: $1/(1-\lambda^2)$",
        ),
    ):
        ax.plot(fine, curve, color=color, lw=1.2, label=label)
        ax.errorbar(lam, scale * ratio, 3 * scale * error, color=color, fmt="o", ms=4, capsize=2)
    ax.set(yscale="log", xlabel="momentum λ", ylabel=r"$\mathrm{tr}\,\mathrm{Cov}\,/\,\mathrm{tr}\,\Sigma$")
    ax.set_title("Variance of a gradient with memory")
    ax.legend(loc="lower left")


def _draw_regulariser(ax: Axes, data: xr.Dataset) -> None:
    lam, fine = data["momentum"].values, np.linspace(0, 0.92, 200)
    for case, color in _COLORS.items():
        here = data.sel(case=case)
        normal = float(here["mean_square"] + _trace(here))
        ax.plot(fine, (1 - fine) * _expected(here, fine) / normal, color=color, lw=1.2)
        sampled, error = ((1 - lam) * here[f"regulariser{x}"] / normal for x in ("", "_error"))
        ax.errorbar(lam, sampled, 3 * error, color=color, fmt="o", ms=4, capsize=2, label=case)
    ax.plot(fine, 1 / (1 - fine), "k", ls=(0, (1, 1.5)), lw=2, zorder=3, label=r"slides: $1/(1-\lambda)$")
    ax.set(yscale="log", xlabel="momentum λ", ylabel=r"factor to $|g|^2 + \mathrm{tr}\,\Sigma$")
    ax.set_title("Expected regulariser, scaled to $E$")
    ax.legend(loc="upper left")
