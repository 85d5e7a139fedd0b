"""Momentum from rest lags its slow flow by λ/(1-λ) iterations.

p_n = u_n + hλλ̄v_n moves by hλ̄f(u_n + hav_n) a step, as the slow flow does. So a run from (u₀, v₀) falls, within a
layer of about 1/(1-λ) iterations, onto the slow flow that starts at ũ₀ = u₀ + hλλ̄(v₀ - λ̄f(u₀)), to second order in h:
from rest at u₀ + hλ/(1-λ)²∇Φ(u₀), which the flow through u₀ left λ/(1-λ) iterations ago, for every a. With
v₀ = σλ̄f(u₀) the lag is (1-σ)λ/(1-λ), n iterations after the start (1-σ)(1-λⁿ)λ/(1-λ); another v₀ also shifts the run
across the flow, which no shift in time makes good.

Kovachki & Stuart (2021), Theorem 6, is stated for a start on the manifold, σ = 1 to leading order. Measured on
log cosh u₁ + log cosh 2u₂ for heavy ball, Nesterov and a = 1: the shift in time by which the slow flow of order 2
through u₀ comes nearest to the iterates, t from T/2 on; the point from which the run's end came along the flow,
integrated backwards; and the distances of the iterates to the flow through u₀, through ũ₀, and shifted in time. The
rescaled gradient flow (8), order 1, is O(h) off its own course, and the shift to it is another number.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from . import _lag as lag
from . import _lag_panels as panels
from .checks import Check

_LOOKAHEADS: Mapping[str, Callable[[float], float]] = {
    "HB": lambda lam: 0.0,
    "NAG": lambda lam: lam,
    "a = 1": lambda lam: 1.0,
}
_ALONG = {"from rest": 0.0, "v₀ = ½λ̄f(u₀)": 0.5, "v₀ = 2λ̄f(u₀)": 2.0}
_ACROSS = "v₀ = λ̄f(u₀) turned by 90°"
_STARTS = (*_ALONG, _ACROSS)
_SAMPLES = 128
_SCALES = (1.0, 2.0)


@dataclass(frozen=True)
class Config:
    """λ; effective learning rates hλ̄ = 2^-coarsest … 2^-finest; λ̄T; u₀; in the layer λ and hλ̄, the largest drawn."""

    momenta: tuple[float, ...] = (0.3, 0.5, 0.7, 0.8, 0.9)
    coarsest: int = 7
    finest: int = 12
    effective_time: float = 2.0
    start: tuple[float, float] = (1.2, -0.8)
    layer_momenta: tuple[float, ...] = (0.5, 0.8, 0.9)
    layer_rates: tuple[float, ...] = (2.0**-7, 2.0**-13, 2.0**-14)


PRESETS = {
    "quick": Config(),
    "full": Config((0.2, 0.4, 0.6, 0.8, 0.9), finest=15),
}
_DIMS = ("start", "optimizer", "momentum", "rate")
_LAYER = ("case", "layer_rate")


class _Rows(NamedTuple):
    """Index of start and of method, λ, hλ̄, and the number of iterations of each run."""

    start: np.ndarray
    method: np.ndarray
    momentum: np.ndarray
    rate: np.ndarray
    steps: np.ndarray

    @property
    def learning_rate(self) -> np.ndarray:
        return self.rate * (1 - self.momentum)


class _Found(NamedTuple):
    """The iterates; the slow flow through u₀ and through ũ₀; the flow (8) through u₀; ũ₀ - u₀ over h, measured by
    sending u_N back along the flow, and expected."""

    run: np.ndarray
    through: np.ndarray
    lagged: np.ndarray
    rescaled: np.ndarray
    shift: np.ndarray
    expected: np.ndarray


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Lags and distances along the ladder for every start, method and λ; the layer of a few runs."""
    progress.update(0, 2, label="runs and flows")
    ladder, layer = _ladder_rows(config), _layer_rows(config)
    both = _Rows(*(np.concatenate(pair) for pair in zip(ladder, layer, strict=True)))
    found, count = _measure(config, both), len(ladder.start)
    progress.update(1, 2, label="shifts in time")
    first = _ladder(config, ladder, _Found(*(x[:count] for x in found)))
    second = _layer(config, layer, _Found(*(x[count:] for x in found)))
    return first.merge(second).assign_attrs(effective_time=config.effective_time)


def _rates(config: Config) -> np.ndarray:
    return 2.0 ** -np.arange(config.coarsest, config.finest + 1)


def _ladder_rows(config: Config) -> _Rows:
    """Every start, method, λ and hλ̄, in the order of `_DIMS`."""
    axes = (np.arange(len(_STARTS)), np.arange(len(_LOOKAHEADS)), np.array(config.momenta), _rates(config))
    start, method, momentum, rate = (x.ravel() for x in np.meshgrid(*axes, indexing="ij"))
    return _Rows(start, method, momentum, rate, np.rint(config.effective_time / rate).astype(int))


def _layer_cases(config: Config) -> list[tuple[int, int, float]]:
    """Start, method and λ: every method from rest, and heavy ball at the largest λ from the start across."""
    rest = [(0, method, lam) for method in range(len(_LOOKAHEADS)) for lam in config.layer_momenta]
    return [*rest, (len(_STARTS) - 1, 0, config.layer_momenta[-1])]


def _layer_rows(config: Config) -> _Rows:
    cases = [(*case, rate) for case in _layer_cases(config) for rate in config.layer_rates]
    start, method, momentum, rate = (np.array(x) for x in zip(*cases, strict=True))
    return _Rows(start, method, momentum, rate, np.full(len(cases), _SAMPLES))


def _measure(config: Config, rows: _Rows) -> _Found:
    loss, u = mf.LogCosh(_SCALES), jnp.array(config.start)
    force = -np.asarray(jax.jit(jax.grad(loss))(u))
    directions = np.stack([*(sigma * force for sigma in _ALONG.values()), np.array([-force[1], force[0]])])
    h, bar = rows.learning_rate[:, None], 1 / (1 - rows.momentum)[:, None]
    velocity = bar * directions[rows.start]
    expected = rows.momentum[:, None] * bar * (velocity - bar * force)
    lookaheads = list(_LOOKAHEADS.values())
    a = np.array([lookaheads[i](lam) for i, lam in zip(rows.method, rows.momentum, strict=True)])
    methods = mf.momentum_method(*map(jnp.asarray, (rows.learning_rate, rows.momentum, a)))
    counts = rows.steps[:, None] * np.arange(_SAMPLES + 1) // _SAMPLES
    ensemble = lag.Ensemble(methods, jnp.asarray(velocity), counts)
    run = np.asarray(lag.iterates(loss, u, ensemble))

    def flow(starts: np.ndarray, order: float = 2.0, sign: float = 1.0) -> np.ndarray:
        numbers = map(jnp.asarray, (np.broadcast_to(starts, expected.shape), order, sign))
        return np.asarray(lag.flow(loss, ensemble, *numbers))

    u0 = np.array(config.start)
    shift = (flow(run[:, -1], sign=-1.0)[:, -1] - u0) / h
    return _Found(run, flow(u0), flow(u0 + h * expected), flow(u0, order=1.0), shift, expected)


def _ladder(config: Config, rows: _Rows, found: _Found) -> xr.Dataset:
    """Shifts in time, in iterations, and distances late."""
    nearest = np.array([lag.shift(*pair) for pair in zip(found.run, found.through, strict=True)])
    rescaled = np.array([lag.shift(*pair)[0] for pair in zip(found.run, found.rescaled, strict=True)])
    shape = (len(_STARTS), len(_LOOKAHEADS), len(config.momenta), -1)
    distances = {
        "through": lag.late_distance(found.run, found.through),
        "lagged": lag.late_distance(found.run, found.lagged),
        "aligned": nearest[:, 1],
    }
    return xr.Dataset(
        {
            "lag": (_DIMS, (nearest[:, 0] * rows.steps).reshape(shape), {"unit": "iterations"}),
            "rescaled_lag": (_DIMS, (rescaled * rows.steps).reshape(shape), {"unit": "iterations"}),
            **{
                key: (_DIMS, value.reshape(shape), {"symbol": "max |u_n - u(t)|"})
                for key, value in distances.items()
            },
            "shift": ((*_DIMS, "component"), found.shift.reshape(*shape, 2), {"symbol": "(ũ₀ - u₀)/h"}),
            "expected_shift": (
                (*_DIMS, "component"),
                found.expected.reshape(*shape, 2),
                {"symbol": "λλ̄(v₀-λ̄f)"},
            ),
        },
        {
            "start": list(_STARTS),
            "optimizer": list(_LOOKAHEADS),
            "momentum": ("momentum", list(config.momenta), {"symbol": "λ"}),
            "rate": ("rate", _rates(config), {"symbol": "hλ̄"}),
        },
    )


def _layer(config: Config, rows: _Rows, found: _Found) -> xr.Dataset:
    """The first iterations, and how far each is behind the flow through u₀."""
    behind = np.array([lag.shifts(*pair) for pair in zip(found.run, found.through, strict=True)]) * _SAMPLES
    cases, names = _layer_cases(config), list(_LOOKAHEADS)

    def shaped(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(cases), -1, *x.shape[1:])

    return xr.Dataset(
        {
            "layer_lag": ((*_LAYER, "n"), shaped(behind), {"unit": "iterations"}),
            **{
                f"layer_{key}": ((*_LAYER, "n", "component"), shaped(getattr(found, key)))
                for key in ("run", "through", "lagged")
            },
            "case_start": ("case", [_STARTS[start] for start, _, _ in cases]),
            "case_optimizer": ("case", [names[method] for _, method, _ in cases]),
            "case_momentum": ("case", [lam for _, _, lam in cases], {"symbol": "λ"}),
        },
        {
            "layer_rate": ("layer_rate", list(config.layer_rates), {"symbol": "hλ̄"}),
            "n": ("n", np.arange(_SAMPLES + 1), {"symbol": "n"}),
        },
    )


def expected_lag(data: xr.Dataset) -> xr.DataArray:
    """(1-σ)λ/(1-λ) for the starts along the flow."""
    sigma = xr.DataArray(list(_ALONG.values()), {"start": list(_ALONG)}, "start")
    return (1 - sigma) * data["momentum"] / (1 - data["momentum"])


def _layer_error(data: xr.Dataset) -> xr.DataArray:
    """max over n of |lag - (1-λⁿ)λ/(1-λ)|, from rest."""
    rest = data.isel(case=data["case_start"].values == _STARTS[0])
    lam = rest["case_momentum"]
    return abs(rest["layer_lag"] - lam / (1 - lam) * (1 - lam ** rest["n"])).max("n")


def _order(errors: xr.DataArray, along: str = "rate") -> xr.DataArray:
    """The slope between the two finest."""
    h = errors[along].values
    return np.log(errors.isel({along: -2}) / errors.isel({along: -1})) / np.log(h[-2] / h[-1])


def _extrapolated(values: xr.DataArray) -> xr.DataArray:
    """The limit h → 0 of what is linear in h."""
    return 2 * values.isel(rate=-1) - values.isel(rate=-2)


def _farthest(values: xr.DataArray, expected: float) -> float:
    found = values.values.ravel()
    return float(found[np.argmax(np.abs(found - expected))])


def checks(data: xr.Dataset) -> list[Check]:
    """The lag is (1-σ)λ/(1-λ) to O(h); the shift of the start is hλλ̄(v₀-λ̄f) to O(h²), in time only along the flow."""
    return [*_checks_lag(data), *_checks_distance(data)]


def _checks_lag(data: xr.Dataset) -> list[Check]:
    expected, rest = expected_lag(data), _STARTS[0]
    lags = data["lag"].sel(start=list(_ALONG))
    limit, source = _extrapolated(lags) / expected, "p_{n+1} = p_n + hλ̄f(u_n + hav_n), p_n = u_n + hλλ̄v_n"
    found = []
    for start in _ALONG:
        for name in data["optimizer"].values:
            worst = _farthest(limit.sel(start=start, optimizer=name), 1.0)
            what = f"{name}, {start}: lag over (1-σ)λ/(1-λ), h → 0, every λ"
            found.append(Check(what, worst, 1, 1e-3, "within", source))
    error = abs(lags - expected).max(("start", "optimizer"))
    for lam in data["momentum"].values:
        order = _order(error.sel(momentum=lam))
        found.append(
            Check(f"λ = {lam:g}: order in h of lag - (1-σ)λ/(1-λ)", order, 1, 0.06, "within", source)
        )
    other = _extrapolated(data["rescaled_lag"].sel(start=rest)) / expected.sel(start=rest)
    nearest = float(np.ravel(other)[np.argmin(np.abs(np.ravel(other) - 1))])
    return [
        *found,
        Check(
            f"{rest}: shift to the flow (8) over λ/(1-λ), h → 0: nearest to 1",
            nearest,
            1,
            0.05,
            "within",
            "(8) in place of the slow flow",
            True,
        ),
        Check(
            "from rest: order in h of lag_n - (1-λⁿ)λ/(1-λ), every n",
            _farthest(_order(_layer_error(data), "layer_rate"), 1.0),
            1,
            0.1,
            "within",
            source,
        ),
    ]


_ORDERS = {"through": 1.0, "lagged": 2.0, "aligned": 2.0}
_WORDS = {"through": "through u₀", "lagged": "through ũ₀", "aligned": "through u₀, shifted in time"}


def _checks_distance(data: xr.Dataset) -> list[Check]:
    found, shifted = [], "ũ₀ = u₀ + hλλ̄(v₀ - λ̄f(u₀))"
    miss, expected = (
        (x**2).sum("component") for x in (data["shift"] - data["expected_shift"], data["expected_shift"])
    )
    relative = (miss / expected) ** 0.5
    for start in _STARTS:
        orders = {key: _order(data[key].sel(start=start)) for key in _ORDERS}
        for key, order in _ORDERS.items():
            across = (start, key) == (_ACROSS, "aligned")
            what = f"{start}, t ≥ T/2: order, flow {_WORDS[key]}"
            if across:
                found.append(Check(what, orders[key].max(), 2, 0.1, "within", "a lag would be all", True))
            right = 1.0 if across else order
            found.append(Check(what, _farthest(orders[key], right), right, 0.1, "within", shifted))
        order = _farthest(_order(relative.sel(start=start)), 1.0)
        found.append(Check(f"{start}: order in h of (ũ₀ - u₀)/h", order, 1, 0.06, "within", shifted))
    return found


def plot(data: xr.Dataset) -> Figure:
    """The layer in the plane and iteration by iteration; the lag against λ and its error; distances against h."""
    with _plot.style():
        figure = _plot.figure(11.0, 7.2)
        (line, across, layer), (lags, errors, distances) = figure.subplots(2, 3)
        largest = data["case_momentum"].values.max()
        shown = (data["case_optimizer"] == "HB") & (data["case_momentum"] == largest)
        rest, other = (
            data.isel(case=int(np.flatnonzero(shown & (data["case_start"] == start))[0]))
            for start in (_STARTS[0], _ACROSS)
        )
        panels.component(line, rest, largest / (1 - largest))
        panels.plane(across, other, "HB, $v_0$ turned by 90°")
        panels.layer(layer, data.isel(case=data["case_start"].values == _STARTS[0]))
        panels.lags(lags, data, expected_lag(data))
        panels.errors(errors, data.sel(start=_STARTS[0]), expected_lag(data).sel(start=_STARTS[0]))
        panels.distances(
            distances, data.sel(start=[_STARTS[0], _ACROSS], optimizer="HB", momentum=largest), _WORDS
        )
    return figure
