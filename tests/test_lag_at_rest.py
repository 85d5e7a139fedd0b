"""The lag from rest: time shifts that are known, the closed form of a quadratic, and checks that see an error."""

import jax.numpy as jnp
import numpy as np
import pytest

import momentumflow as mf
from momentumflow._progress import SILENT
from momentumflow.experiments import _lag as lag
from momentumflow.experiments import lag_at_rest as experiment


@pytest.fixture(scope="module")
def measured():
    return experiment.run(experiment.PRESETS["quick"], SILENT)


def test_it_holds(measured):
    assert {check.name for check in experiment.checks(measured) if not check.held} == set()


def test_a_known_shift_is_found():
    """A curve, and the same 0.03 of its time later; then 0.01(1 + s) later."""
    s = np.linspace(0, 1, 129)

    def curve(s):
        return np.stack([np.exp(-2 * s), np.sin(s)], axis=1)

    found, left = lag.shift(curve(s - 0.03), curve(s))
    assert found == pytest.approx(0.03, abs=1e-12)
    assert left < 1e-12
    each = lag.shifts(curve(s - 0.01 * (1 + s)), curve(s))
    assert np.allclose(each[3:], (0.01 * (1 + s))[3:], atol=1e-11)


@pytest.mark.parametrize(("momentum", "lookahead"), [(0.5, 0.0), (0.8, 0.8), (0.7, 1.0)])
def test_the_lag_on_a_quadratic_is_that_of_the_slow_root(momentum, lookahead):
    """u_n = Aρ₁ⁿ + Bρ₂ⁿ with u₀ = 1, u₁ = 1 - x from rest: late, u_n = ρ₁^(n-L), L = -log A/log ρ₁ = λ/(1-λ) + O(x)."""
    errors = []
    for x in (2.0**-14, 2.0**-15):
        fast, slow = np.sort(np.roots([1.0, -(1 + momentum - x * (1 + lookahead)), momentum - x * lookahead]))
        amplitude = (1 - x - fast) / (slow - fast)
        errors.append(-np.log(amplitude) / np.log(slow) - momentum / (1 - momentum))
    assert abs(errors[1]) < 0.01
    assert 2 * errors[1] - errors[0] == pytest.approx(0, abs=2e-5)


def test_runs_side_by_side_are_those_of_iterate():
    loss, u = mf.LogCosh([1.0, 2.0]), jnp.array([1.2, -0.8])
    constants = ((0.01, 0.9, 0.0), (0.05, 0.5, 0.5))
    counts = np.array([[0, 3, 7, 20], [0, 1, 2, 30]])
    velocity = jnp.array([[0.0, 0.0], [0.3, -0.1]])
    methods = mf.momentum_method(*map(jnp.array, zip(*constants, strict=True)))
    found = lag.iterates(loss, u, lag.Ensemble(methods, velocity, counts))
    for row, case, v, n in zip(found, constants, velocity, counts, strict=True):
        run = mf.iterate(mf.momentum_method(*case), loss, u, 30, start=v)
        assert np.allclose(row, run.params[n], rtol=1e-14)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: {"lag": data["lag"] * 1.002},
        lambda data: {"lag": data["lag"] + 0.01},
        lambda data: {"lag": data["lag"] + data["rate"] ** 0.5},
        lambda data: {"rescaled_lag": data["lag"]},
        lambda data: {"layer_lag": data["layer_lag"] * 1.01},
        lambda data: {"through": data["lagged"]},
        lambda data: {"lagged": data["through"]},
        lambda data: {"aligned": data["through"]},
        lambda data: {"aligned": data["lagged"]},
        lambda data: {"shift": data["shift"] * 1.01},
    ],
)
def test_the_checks_see_an_error(measured, change):
    assert not all(check.held for check in experiment.checks(measured.assign(change(measured))))


def test_it_is_drawn_in_a_readable_size(measured):
    figure = experiment.plot(measured)
    assert len(figure.axes) == 6
    assert min(text.get_fontsize() for text in figure.findobj(lambda a: hasattr(a, "get_fontsize"))) >= 8
