"""Random reshuffling with momentum: where the mean of the iterates ends.

Smith, Dherin, Barrett & De (ICLR 2021): with a fresh permutation of m mini-batches each epoch, the mean path of SGD
descends C + (h/4m)Σ|∇C_i|². With momentum, derived in this library, it descends C + ½hc|∇C|² +
(hλ̄/4)κ(1/m)Σ|∇C_i - ∇C|², κ = 1 - 2(λ - a(1-λ))[m(1-λ) - 1 + λ^m]/(m(m-1)(1-λ)²). On least squares an epoch is an
affine map of (u, v), so that the stationary mean is that of the map averaged over all m! permutations, without any
sampling; the minimum of the modified loss is O(h²) from it with κ, and O(h) with κ = 1 or without the term.
Batches drawn independently are the control: their stationary mean is the minimum of C itself.
"""

import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from . import _quadratic as quadratic
from .checks import Check

_METHODS = ("HB", "NAG")
_TARGETS = {"minimum of C": 1.0, "with κ = 1": 1.0, "with κ(m, λ)": 2.0}
_SMALL, _LARGE = (2, 3, 4, 5, 6), (10, 30, 100)
_DERIVED = "mean over permutations of Σ_{r<n}(1 - λ^(n-r))H_n d_r"
_SMITH = "Smith et al. (2021) with the effective learning rate"


@dataclass(frozen=True)
class Config:
    """λ and m of the stationary mean, finest k of hλ̄ = 2^-3 … 2^-k; λs of κ; permutations, runs, epochs, seed."""

    momentum: float = 0.5
    batches: int = 4
    finest: int = 9
    momenta: tuple[float, ...] = (0.5, 0.8, 0.9, 0.97)
    permutations: int = 20_000
    runs: int = 1000
    epochs: int = 100
    seed: int = 0


PRESETS = {"quick": Config(), "full": Config(batches=6, permutations=200_000, runs=20_000)}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """κ by its definition, and the distances of the stationary mean from the minima."""
    progress.update(0, 3, label="κ")
    constants = _constants(config)
    progress.update(1, 3, label="stationary means")
    means = _means(config)
    progress.update(2, 3, label="runs")
    return xr.merge([constants, means, _simulated(config)]).assign_attrs(
        momentum=config.momentum, batches=config.batches
    )


def _constants(config: Config) -> xr.Dataset:
    """κ of small m over all permutations, of large m over some, with standard errors."""
    rng, sizes = np.random.default_rng(config.seed), (*_SMALL, *_LARGE)
    values = np.zeros((2, len(config.momenta), len(sizes)))
    for column, m in enumerate(sizes):
        orders = _permutations(m) if m in _SMALL else _drawn(rng, m, config.permutations)
        d = rng.normal(size=m)
        d = (d - d.mean())[orders]
        for row, lam in enumerate(config.momenta):
            n = np.arange(m)
            weights = np.tril(1 - lam ** np.abs(n[:, None] - n), -1)
            sample = -2 * np.einsum("pn,pn->p", d @ weights.T, d) / np.sum(d[0] ** 2)
            error = 0.0 if m in _SMALL else sample.std() / np.sqrt(len(sample))
            values[:, row, column] = sample.mean(), error
    return xr.Dataset(
        {
            "kappa": (("lam", "m"), values[0], {"symbol": "κ"}),
            "kappa_error": (("lam", "m"), values[1], {"symbol": "standard error"}),
        },
        {"lam": ("lam", list(config.momenta), {"symbol": "λ"}), "m": ("m", list(sizes), {"symbol": "m"})},
    )


def _permutations(m: int) -> Int[np.ndarray, "p m"]:
    return np.array(list(itertools.permutations(range(m))))


def _drawn(rng: np.random.Generator, m: int, count: int) -> Int[np.ndarray, "p m"]:
    return rng.permuted(np.tile(np.arange(m), (count, 1)), axis=1)


Batch = tuple[Float[Array, "*m 3 2"], Float[Array, "*m 3"]]


def _data(config: Config) -> Batch:
    """m batches of three rows of a least-squares problem with two unknowns, well conditioned."""
    rng = np.random.default_rng(config.seed + 1)
    inputs = rng.normal(size=(config.batches, 3, 2))
    return jnp.asarray(inputs), jnp.asarray(inputs @ [1.0, -0.5] + rng.normal(size=(config.batches, 3)))


def _loss(u: Float[Array, "2"], datum: Batch) -> Float[Array, ""]:
    return jnp.mean((datum[0] @ u - datum[1]) ** 2) / 2


def _method(config: Config, name: str, effective: float) -> mf.MomentumMethod:
    return quadratic.method(name, effective * (1 - config.momentum), config.momentum)


def _means(config: Config) -> xr.Dataset:
    """|mean - minimum| for every method, hλ̄ and modified loss; of independent batches from the minimum of C."""
    data, rates = _data(config), quadratic.ladder(config.finest, 3)
    distances = np.zeros((len(_METHODS), len(_TARGETS), len(rates)))
    independent = np.zeros(len(_METHODS))
    shuffled = _permutations(config.batches)
    free = np.array(list(itertools.product(range(config.batches), repeat=min(config.batches, 4))))
    for i, name in enumerate(_METHODS):
        for j, rate in enumerate(rates):
            method = _method(config, name, rate)
            mean, targets = _stationary_mean(method, data, shuffled), _targets(method, data)
            distances[i, :, j] = np.linalg.norm(np.asarray(targets) - mean, axis=1)
        largest = _method(config, name, rates[0])
        independent[i] = np.linalg.norm(_stationary_mean(largest, data, free) - _targets(largest, data)[0])
    return xr.Dataset(
        {
            "distance": (("optimizer", "target", "h"), distances, {"symbol": "|E u - argmin|"}),
            "independent": ("optimizer", independent, {"symbol": "|E u - argmin C|, independent batches"}),
        },
        {"optimizer": list(_METHODS), "target": list(_TARGETS), "h": ("h", rates, {"symbol": "hλ̄"})},
    )


def _stationary_mean(
    method: mf.MomentumMethod, data: Batch, orders: Int[np.ndarray, "p n"]
) -> Float[np.ndarray, "2"]:
    """Mean of u over an epoch in the end, exactly: each batch is an affine map of (u, v), each order a product."""
    inputs, outputs = map(np.asarray, data)
    h, lam, a = (float(x) for x in (method.learning_rate, method.momentum, method.lookahead))
    one, zero = np.eye(2), np.zeros((2, 2))
    maps = []
    for x, y in zip(inputs, outputs, strict=True):
        hessian, pull = x.T @ x / len(y), x.T @ y / len(y)
        velocity = np.hstack([-hessian, lam * one - h * a * hessian, pull[:, None]])
        place = np.hstack([one, zero, np.zeros((2, 1))]) + h * velocity
        maps.append(np.vstack([place, velocity, np.eye(5)[-1]]))
    product = np.broadcast_to(np.eye(5), (len(orders), 5, 5))
    passed = np.zeros((5, 5))
    for batch in orders.T:
        passed = passed + product.mean(0) / orders.shape[1]
        product = np.array(maps)[batch] @ product
    epoch = product.mean(0)
    begin = np.linalg.solve(np.eye(4) - epoch[:4, :4], epoch[:4, 4])
    return (passed @ np.append(begin, 1.0))[:2]


@jax.jit
def _targets(method: mf.MomentumMethod, data: Batch) -> Float[Array, "3 2"]:
    """Minima of C and of the modified loss with κ = 1 and with κ: one Newton step, the loss being quadratic."""

    def minimum(loss: mf.ReshuffledLoss) -> Float[Array, "2"]:
        zero = jnp.zeros(2)
        return -jnp.linalg.solve(jax.hessian(loss)(zero), jax.grad(loss)(zero))

    kappa = mf.reshuffled_loss(method, data)(_loss)
    unit = mf.reshuffled_loss(method, data, constant=1.0)(_loss)
    plain = mf.ReshuffledLoss(_loss, data, jnp.zeros(()), jnp.zeros(()))
    return jnp.stack([minimum(plain), minimum(unit), minimum(kappa)])


def _simulated(config: Config) -> xr.Dataset:
    """The same mean by running heavy ball, at the largest rate: over the last half of the epochs."""
    data, m = _data(config), config.batches
    method = _method(config, "HB", 2.0**-3)
    keys = jax.random.split(jax.random.key(config.seed), (config.runs, config.epochs))
    orders = jax.vmap(jax.vmap(lambda key: jax.random.permutation(key, m)))(keys).reshape(config.runs, -1)

    @jax.jit
    def mean(order: Int[Array, " steps"]) -> Float[Array, "2"]:
        run = mf.iterate(method, _loss, jnp.zeros(2), order.size, data=data, order_of_use=order)
        return run.params[order.size // 2 // m * m : -1].mean(0)

    means = np.asarray(jax.lax.map(mean, orders, batch_size=250))
    expected = _stationary_mean(method, data, _permutations(m))
    return xr.Dataset(
        {
            "simulated": ("axis", means.mean(0), {"symbol": "u, mean over runs"}),
            "simulated_error": ("axis", means.std(0) / np.sqrt(config.runs), {"symbol": "standard error"}),
            "enumerated": ("axis", expected, {"symbol": "u, mean over permutations"}),
        }
    )


def _study(data: xr.Dataset, name: str, target: str) -> mf.ConvergenceStudy:
    errors = data["distance"].sel(optimizer=name, target=target).values
    return mf.ConvergenceStudy(data["h"].values, errors, np.full(len(errors), 1e-13))


def checks(data: xr.Dataset) -> list[Check]:
    """κ by enumeration and by sampling; order 2 with κ, 1 with κ = 1; no bias for independent batches."""
    return [*_constant_checks(data), *_mean_checks(data)]


def _constant_checks(data: xr.Dataset) -> list[Check]:
    found = []
    for lam, m in itertools.product(data["lam"].values, data["m"].values):
        cell = data.sel(lam=lam, m=m)
        error = 1e-12 if m in _SMALL else 3 * float(cell["kappa_error"])
        expected = mf.reshuffling_constant(int(m), float(lam))
        found.append(Check(f"κ, m = {m}, λ = {lam:g}", expected, cell["kappa"], error, "within", _DERIVED))
    return found


def _mean_checks(data: xr.Dataset) -> list[Check]:
    found = []
    for name, (target, order) in itertools.product(_METHODS, _TARGETS.items()):
        slopes = _study(data, name, target).last_orders(2)
        worst = slopes[np.argmax(np.abs(slopes - order))] if len(slopes) == 2 else np.nan
        text = f"{name}: order in h of the mean's distance from the minimum, {target}"
        if target == "with κ = 1":
            found.append(Check(text, worst, 2.0, 0.1, "within", _SMITH, refutes=True))
        found.append(Check(text, worst, order, 0.1, "within", "the modified loss holds to O(h²)"))
    for name in _METHODS:
        text = f"{name}: distance of the mean from the minimum of C, independent batches"
        found.append(
            Check(text, data["independent"].sel(optimizer=name), 0.0, 1e-10, "within", "E∇E_n(u) = ∇C(E u)")
        )
    for axis in range(2):
        cell = data.isel(axis=axis)
        error, source = 3 * float(cell["simulated_error"]), "mean over all permutations"
        text = f"HB, hλ̄ = 2^-3: u_{axis + 1} over the runs"
        found.append(Check(text, cell["simulated"], cell["enumerated"], error, "within", source))
    return found


def plot(data: xr.Dataset) -> Figure:
    """Left: κ against m. Middle and right: distances of the stationary mean against hλ̄, for HB and NAG."""
    with _plot.style():
        figure = _plot.figure(9.2, 3.9)
        left, *others = figure.subplots(1, 3)
        _draw_constant(left, data)
        for ax, name in zip(others, _METHODS, strict=True):
            _draw_distances(ax, data, name)
        others[1].sharey(others[0])
        others[1].set_ylabel("")
        handles, labels = others[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower right", ncols=3)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=4, columnspacing=1.0)
    return figure


def _draw_constant(ax: Axes, data: xr.Dataset) -> None:
    fine = np.unique(np.geomspace(2, 200, 60).astype(int))
    for color, lam in zip(_plot.sequence(data.sizes["lam"]), data["lam"].values, strict=True):
        here = data.sel(lam=lam)
        ax.plot(fine, mf.reshuffling_constant(fine, float(lam)), color=color, lw=1.2, label=f"λ = {lam:g}")
        ax.errorbar(data["m"], here["kappa"], 3 * here["kappa_error"], color=color, fmt="o", ms=4, capsize=2)
    ax.set(xscale="log", xlabel="mini-batches in an epoch $m$", ylabel=r"$\kappa(m,\lambda)$", ylim=(0, 1.1))
    ax.set_title("The constant of heavy ball")


def _draw_distances(ax: Axes, data: xr.Dataset, name: str) -> None:
    h = data["h"].values
    for target, color, marker in zip(_TARGETS, ("#777777", "#d55e00", "#0072b2"), "^so", strict=True):
        study = _study(data, name, target)
        ax.plot(h, study.errors, color=color, marker=marker, ms=4, lw=1.2, label=target)
    _plot.reference_slope(ax, h, 0.3 * _study(data, name, "with κ(m, λ)").errors[0], 2)
    _plot.reference_slope(ax, h, 5 * _study(data, name, "minimum of C").errors[0], 1)
    ax.set_yscale("log")
    _plot.log2_axis(ax, h, most=5)
    ax.set(xlabel=r"effective learning rate $h\bar\lambda$", ylabel=r"$|\mathbb{E}\,u-\mathrm{argmin}|$")
    ax.set_title(
        f"Stationary mean, {name}, m = {data.attrs['batches']}, λ = {data.attrs['momentum']:g}", fontsize=9
    )
