"""The convergence study itself: known errors, regimes, one compile, pictures, bad input."""

import jax.numpy as jnp
import numpy as np
import pytest

import momentumflow as mf
from momentumflow.study.orders import ASYMPTOTIC, FAILED, FLOOR, PRE

RATES = [2.0**-k for k in range(3, 8)]


def quadratic(u):
    return 0.5 * jnp.sum(u**2)


def test_errors_equal_those_of_the_closed_forms():
    """Gradient descent against gradient flow on ½u²: max_n |(1-h)^n - e^{-nh}|, by plain numpy."""
    study = mf.convergence_study(
        lambda h: mf.gradient_descent(h), lambda m: mf.GradientFlow(), quadratic, jnp.ones(1), RATES, 2.0
    )
    for h, error in zip(study.learning_rates, study.errors, strict=True):
        n = np.arange(round(2 / h) + 1)
        assert error == pytest.approx(np.abs((1 - h) ** n - np.exp(-n * h)).max(), rel=1e-7)
    late = mf.convergence_study(
        lambda h: mf.gradient_descent(h),
        lambda m: mf.GradientFlow(),
        quadratic,
        jnp.ones(1),
        RATES,
        2.0,
        from_time=1.5,
    )
    n = np.arange(round(1.5 / RATES[-1]), round(2 / RATES[-1]) + 1)
    assert late.errors[-1] == pytest.approx(
        np.abs((1 - RATES[-1]) ** n - np.exp(-n * RATES[-1])).max(), rel=1e-6
    )


def test_agrees_with_iterate_and_solve():
    """The loop of unknown length against the two public functions."""
    method = mf.nesterov(RATES[-1], 0.5)
    study = mf.convergence_study(
        lambda h: mf.nesterov(h, 0.5), mf.MomentumODE, quadratic, jnp.array([1.0, 0.2]), RATES, 1.0
    )
    run = mf.iterate(method, quadratic, jnp.array([1.0, 0.2]), round(1 / RATES[-1]))
    flow = mf.solve(mf.MomentumODE(method), quadratic, jnp.array([1.0, 0.2]), run.times)
    gap = np.linalg.norm(run.params - flow.params, axis=1).max()
    assert study.errors[-1] == pytest.approx(gap, rel=1e-6)


def test_one_compile_for_the_ladder_and_none_for_the_next():
    traces = 0

    def counted(u):
        nonlocal traces
        traces += 1
        return jnp.sum(jnp.cosh(u))

    def study(rates, lam, final):
        return mf.convergence_study(
            lambda h: mf.heavy_ball(h, lam), mf.RescaledGradientFlow, counted, jnp.ones(2), rates, final
        )

    study(RATES[:2], 0.5, 1.0)
    first = traces
    study(RATES, 0.6, 1.5)
    shape_checks = 1  # check_loss looks at the loss's shape once a call, without compiling
    assert traces - first <= shape_checks


def synthetic(errors, floor=1e-12):
    rates = 2.0 ** -np.arange(3, 3 + len(errors))
    return mf.ConvergenceStudy(rates, np.asarray(errors), np.full(len(errors), floor))


def test_regimes_of_synthetic_ladders():
    h = 2.0 ** -np.arange(3, 11)
    clean = synthetic(h**2)
    assert set(clean.regimes) == {ASYMPTOTIC}
    assert clean.order == pytest.approx(2)
    bent = synthetic(h + 50 * h**3)  # slopes fall from near 3 to 1
    assert bent.regimes[0] == PRE
    assert bent.regimes[-1] == ASYMPTOTIC
    assert bent.order == pytest.approx(1, abs=0.1)
    floored = synthetic(np.maximum(h**4, 1e-9), floor=2e-9)
    assert floored.regimes[-1] == FLOOR
    assert floored.order == pytest.approx(4)
    assert len(floored.last_orders(2)) == 2
    failed = synthetic(np.where(h > 0.1, np.inf, h))
    assert failed.regimes[0] == FAILED
    assert failed.order == pytest.approx(1)
    assert np.isnan(synthetic([1.0, 0.5]).order)  # two points prove nothing
    assert np.isnan(synthetic([1, 0.5, 0.1, 0.07, 0.01]).order)  # slopes that wander


def test_floor_is_recognised_in_a_real_run():
    """SlowFlow's O(h²) error sinks below the solver's tolerance when that is coarse."""
    study = mf.convergence_study(
        lambda h: mf.heavy_ball(h, 0.5), mf.SlowFlow, quadratic, jnp.ones(1), [2.0**-k for k in range(4, 13)], 1.0,
        start="manifold", tolerance=1e-7)  # fmt: skip
    assert study.regimes[-1] == FLOOR
    assert ASYMPTOTIC in study.regimes
    assert study.order == pytest.approx(2, abs=0.1)


def test_divergence_is_recorded_and_the_rest_is_judged():
    study = mf.convergence_study(
        lambda h: mf.gradient_descent(h), lambda m: mf.GradientFlow(), lambda u: jnp.sum(u**4), jnp.array([3.0]),
        [0.5, 2.0**-7, 2.0**-8, 2.0**-9, 2.0**-10], 4.0)  # fmt: skip
    assert study.regimes[0] == FAILED
    assert study.order == pytest.approx(1, abs=0.15)
    assert "diverged" in str(study)


def test_plot_returns_its_axes():
    import matplotlib.pyplot as plt

    study = synthetic(2.0 ** -np.arange(3, 9))
    fig, ax = plt.subplots()
    assert study.plot(ax, color="k") is ax
    assert "h" in ax.get_xlabel()
    plt.close(fig)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rates": [0.1]}, "at least two"),
        ({"learning_rates": [0.1, 0.1]}, "at least two different"),
        ({"learning_rates": [0.1, -0.1]}, "learning_rates must be finite and > 0"),
        ({"final_time": 0.0}, "final_time must be finite and > 0"),
        ({"from_time": 3.0}, "from_time must be below final_time"),
        ({"from_time": -1.0}, "from_time must be finite and >= 0"),
        ({"tolerance": -1.0}, "tolerance must be finite and > 0"),
        ({"max_steps": 0}, "max_steps must be an integer >= 1"),
    ],
)
def test_bad_input(changes, words):
    call = {"learning_rates": RATES, "final_time": 1.0, **changes}
    with pytest.raises(ValueError, match=words):
        mf.convergence_study(
            lambda h: mf.gradient_descent(h), lambda m: mf.GradientFlow(), quadratic, jnp.ones(1), **call
        )
