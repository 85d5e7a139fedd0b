"""Inertial and phase-space flows: uniform orders from rest, transient included, and the numbers of a table."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import momentumflow as mf
from momentumflow.expansion.interpolation import weights


def loss(u):
    """Non-quadratic and coupled, on a pytree."""
    x = jnp.stack([u["a"][0], u["b"]])
    return jnp.sum(jnp.logaddexp(x, -x)) + 0.2 * jnp.sin(x[0] * x[1])


START = {"a": jnp.array([1.2]), "b": jnp.array(-0.8)}
FLOWS = {
    "inertial 2": (lambda m: mf.InertialFlow(m), 2, range(5, 9)),
    "inertial 3": (lambda m: mf.InertialFlow(m, 3), 3, range(5, 9)),
    "phase 1": (lambda m: mf.PhaseFlow(m, 1), 1, range(5, 9)),
    "phase 2": (lambda m: mf.PhaseFlow(m, 2), 2, range(6, 10)),
    "phase 3": (lambda m: mf.PhaseFlow(m, 3), 3, range(7, 11)),
}


def slope(flow, lookahead, exponents):
    study = mf.convergence_study(
        lambda h: mf.momentum_method(h, 0.5, lookahead), flow, loss, START, [2.0**-k for k in exponents], 1.0,
        tolerance=1e-12)  # fmt: skip
    assert study.errors[-1] > study.floors[-1], str(study)
    return study.orders[-1]


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("lookahead", [0.0, 0.5, 0.25])
def test_uniform_order_from_rest(name, lookahead):
    flow, order, exponents = FLOWS[name]
    assert flow(mf.heavy_ball(0.1, 0.5)).claims[0] == (order, "rest", "t >= 0")
    assert slope(flow, lookahead, exponents) == pytest.approx(order, abs=0.1)


def test_momentum_ode_is_not_of_order_two_in_the_transient():
    """Negative control: what the flows above improve on."""
    assert slope(mf.MomentumODE, 0.5, range(5, 9)) == pytest.approx(1, abs=0.1)


TABLE = {  # κ = 20, λ = 0.9, T = 2, h = 2^-4 … 2^-9: an independent float64 computation, two digits
    ("HB", "inertial 2"): (1.2e-1, 1.7e-2, 2.9e-3, 5.0e-4, 9.1e-5, 1.6e-5),
    ("HB", "inertial 3"): (2.7e-2, 2.0e-3, 1.6e-4, 1.4e-5, 1.3e-6, 1.1e-7),
    ("NAG", "inertial 2"): (6.1e-1, 1.2e-1, 5.0e-2, 1.9e-2, 6.6e-3, 2.2e-3),
    ("NAG", "inertial 3"): (4.6e-1, 4.6e-2, 9.9e-3, 1.9e-3, 3.4e-4, 5.5e-5),
    ("HB", "phase 2"): (1.5e4, 3.9e-1, 4.3e-2, 5.6e-3, 7.5e-4, 1.1e-4),
    ("NAG", "phase 3"): (3.9e-1, 1.0e-2, 5.7e-4, 3.4e-5, 2.1e-6, 1.2e-7),
}


@pytest.mark.parametrize(("method", "name"), TABLE)
def test_errors_on_the_ravine(method, name):
    lookahead = 0.0 if method == "HB" else 0.9
    study = mf.convergence_study(
        lambda h: mf.momentum_method(h, 0.9, lookahead), FLOWS[name][0], mf.Quadratic([1.0, 20.0]), jnp.ones(2),
        [2.0**-k for k in range(4, 10)], 2.0, tolerance=1e-12)  # fmt: skip
    assert np.allclose(study.errors, TABLE[method, name], rtol=0.05)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_weights_interpolate_the_logarithm(order):
    """q(μ) = log μ with derivatives at 1, λ, …, λ^p: by evaluating q itself at 40 digits."""
    import mpmath

    lam = 0.7
    with mpmath.workdps(40):
        q = [mpmath.mpf(w) for w in weights(lam, order)]
        for m in range(order + 1):
            x = mpmath.mpf(lam) ** m
            for k in range(order + 1 - m):
                value = sum(w * mpmath.ff(j, k) * x ** (j - k) for j, w in enumerate(q) if j >= k)
                assert abs(value - mpmath.diff(mpmath.log, x, k)) < 1e-10 * sum(map(abs, q))


@pytest.mark.parametrize("lam", [0.999, 0.9999])
def test_constants_near_one_keep_their_digits(lam):
    """Continuity in λ: the closed forms, which cancel like (1-λ)⁴, against the errors of a run they describe."""
    method = mf.nesterov(0.2, lam)
    run = mf.iterate(method, mf.LogCosh([1.0]), jnp.ones(1), 200)
    errors = [
        float(
            jnp.abs(
                mf.solve(mf.InertialFlow(method, p), mf.LogCosh([1.0]), jnp.ones(1), run.times).params
                - run.params
            ).max()
        )
        for p in (2, 3)
    ]
    assert errors[1] < errors[0] < 0.05


def test_fixed_points_stay():
    flow = mf.PhaseFlow(mf.nesterov(0.1, 0.9), 3)
    rates = flow.field(mf.Quadratic([1.0, 3.0]))(jnp.array(0.0), (jnp.zeros(2), jnp.zeros(2)))
    assert all(jnp.all(x == 0) for x in jax.tree.leaves(rates))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mf.PhaseFlow(mf.gradient_descent(0.1)), "momentum must be > 0 for a phase flow"),
        (lambda: mf.PhaseFlow(mf.heavy_ball(0.1, 0.1), 3), "use series=True or a lower order"),
        (lambda: mf.PhaseFlow(mf.heavy_ball(0.1, 0.2), 2), r"λ\^p must be >= 0.05"),
        (
            lambda: mf.PhaseFlow(mf.heavy_ball(0.1, jnp.array([0.5, 0.9]))),
            "momentum must be a scalar, got shape",
        ),
        (lambda: mf.PhaseFlow(mf.heavy_ball(0.1, 0.5), 5), "order must be <= 4, got 5"),
        (lambda: mf.PhaseFlow(mf.heavy_ball(0.1, 0.5), 0), "order must be an integer >= 1, got 0"),
        (lambda: mf.InertialFlow(mf.gradient_descent(0.1)), "momentum must be > 0 for an inertial flow"),
        (lambda: mf.InertialFlow(mf.heavy_ball(0.1, 0.5), 4), "order must be 2 or 3, got 4: PhaseFlow"),
        (lambda: jax.jit(lambda lam: mf.PhaseFlow(mf.heavy_ball(0.1, lam)).order)(0.5), "outside jit"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_phase_flow_keeps_its_digits_in_float32_at_small_h():
    """By increments: iterates times weights over h would leave ε |u| Σ|w|/h, here 5e-3 |u|, in u̇."""
    problem, start = mf.LogCosh([1.0, 2.0]), jnp.array([30.0, -20.0], jnp.float32)
    method = mf.heavy_ball(2.0**-12, 0.9)
    run = mf.iterate(method, problem, start, 400)
    path = float(jnp.abs(run.params[-1] - run.params[0]).max())
    flow = mf.solve(mf.PhaseFlow(method), problem, start, run.times)
    assert float(jnp.abs(flow.params - run.params).max()) < 2e-5 * 30 < 1e-3 * path


def test_weights_are_judged_in_the_precision_of_the_params():
    flow = mf.PhaseFlow(mf.heavy_ball(2.0**-8, 0.5), 4)
    with pytest.raises(ValueError, match="must not cancel"):
        mf.solve(flow, mf.LogCosh([1.0]), jnp.ones(1, jnp.float32), jnp.array([0.0, 0.1]))


@pytest.mark.parametrize(
    "model", [lambda m: mf.SlowFlow(m, 3), lambda m: mf.PhaseFlow(m, 2), lambda m: mf.InertialFlow(m, 3)]
)
def test_a_replaced_method_takes_its_own_constants(model):
    """`dataclasses.replace` builds anew: no constants of the old λ stay."""
    old, new = mf.heavy_ball(0.02, 0.5), mf.heavy_ball(0.02, 0.8)
    replaced, built = dataclasses.replace(model(old), method=new), model(new)
    assert all(map(np.array_equal, jax.tree.leaves(replaced), jax.tree.leaves(built)))
