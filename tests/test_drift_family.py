"""The family of O(h²) flows: its conditions, members of one's own, and what misses them. Claims: test_claims.py."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import momentumflow as mf
from momentumflow.flows.model import AFTER_LAYER, EVERYWHERE, Claim

LAM, PACE = 0.6, 2.5
START, RATES = jnp.array([0.9, -0.4]), [2.0**-k for k in (8, 9, 10)]


def loss(u):
    return jnp.sum(jnp.log(jnp.cosh(u))) + 0.3 * jnp.sin(u[0] * u[1])


def bend(a):
    """λ̄²(λ̄ - a - ½)."""
    return PACE**2 * (PACE - a - 0.5)


def slopes(make, from_time=0.0, lookahead=0.0):
    def method(h):
        return mf.momentum_method(h, LAM, lookahead)

    return mf.convergence_study(method, make, loss, START, RATES, 1.0, from_time=from_time).last_orders(2)


@pytest.mark.parametrize("name", ["transient", "lagged", "waiting"])
@pytest.mark.parametrize("lam", [0.0, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("nesterov", [False, True])
def test_named_members_meet_the_conditions(name, lam, nesterov):
    flow = mf.FamilyFlow(mf.momentum_method(0.1, lam, lam if nesterov else 0.0), name)
    assert np.allclose(flow.defects, 0, atol=1e-10 / (1 - lam) ** 3)
    at_once = name == "transient" or lam == 0
    assert flow.claims == (Claim(2, "rest", EVERYWHERE if at_once else AFTER_LAYER),)


@pytest.mark.parametrize("lam", [0.0, 0.6, 0.9, 0.99, 0.999])
def test_claims_in_float32(lam):
    """Named members claim what they do in float64, and so does one whose numbers were computed in float32."""
    with jax.enable_x64(False):
        method = mf.heavy_ball(0.1, lam)
        pace = 1 / (1 - jnp.float32(lam))
        flows = [mf.FamilyFlow(method, name) for name in ("transient", "lagged", "waiting")]
        flows.append(
            mf.FamilyFlow(method, drift=pace[None], bend=(pace**3 - pace**2 / 2)[None], shift=lam * pace**2)
        )
        regions = [claim.region for flow in flows for claim in flow.claims if claim.order == 2]
        missed = mf.FamilyFlow(method, drift=pace[None], bend=(pace**2 / 2)[None], shift=1.01 * lam * pace**2)
    assert regions == [EVERYWHERE, *[EVERYWHERE if lam == 0 else AFTER_LAYER] * 3]
    assert lam == 0 or missed.claims == (Claim(1, "rest"),)


def test_the_example_runs_in_float32():
    """That of the class, in a session of its own; its 1e-3 is far above float32's rounding."""
    code = "import doctest, jax, momentumflow as mf; from momentumflow.flows import drift_family as module\n"
    code += "assert not jax.config.jax_enable_x64\n"
    code += "test, = doctest.DocTestFinder(recurse=False).find(mf.FamilyFlow, module=module)\n"
    code += "assert test.examples and not doctest.DocTestRunner().run(test).failed"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_waiting_member_waits_for_the_lag():
    """λ/(1-λ) = 1.5 iterations at λ = 0.6: one and a half of nothing."""
    h = 1e-3
    flow = mf.FamilyFlow(mf.heavy_ball(h, LAM), "waiting")
    assert flow.drift.tolist() == pytest.approx([0, PACE / 2, PACE])
    path = mf.solve(flow, loss, START, jnp.array([0.0, h, 2 * h])).params
    assert np.array_equal(path[0], START)
    slope = jax.grad(loss)(START)
    bent = jax.jvp(jax.grad(loss), (START,), (slope,))[1]
    assert np.allclose(path[1] - START, -(h**2) * bend(0) * bent, atol=50 * h**3)
    assert np.allclose(path[2] - START, -h * PACE / 2 * slope, atol=50 * h**2)


@pytest.mark.parametrize("lookahead", [0.0, LAM], ids=["HB", "NAG"])
def test_a_member_of_ones_own(lookahead):
    """Random first drifts and bends, and the shift that the condition asks for."""
    rng = np.random.default_rng(0)
    drift, bends = np.append(rng.uniform(0, 4, 5), PACE), np.append(rng.uniform(-9, 9, 3), bend(lookahead))
    shift = LAM * PACE**2 - np.sum(PACE - drift)

    def make(method):
        return mf.FamilyFlow(method, drift=drift, bend=bends, shift=shift)

    flow = make(mf.momentum_method(0.1, LAM, lookahead))
    assert flow.claims == (Claim(2, "rest", AFTER_LAYER),)
    assert slopes(make, 0.25, lookahead) == pytest.approx(2, abs=0.1)
    assert slopes(make, 0.0, lookahead) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(
    "changes",
    [{"shift": 0.0}, {"bend": [PACE**2 / 2]}, {"drift": [PACE / 2, PACE]}],
    ids=["(i)", "(ii)", "(i) again"],
)
def test_what_misses_a_condition_is_of_order_1(changes):
    given = {"drift": [PACE], "bend": [bend(0)], "shift": LAM * PACE**2} | changes

    def make(method):
        return mf.FamilyFlow(method, **given)

    assert make(mf.heavy_ball(0.1, LAM)).claims == (Claim(1, "rest"),)
    assert slopes(make, 0.25) == pytest.approx(1, abs=0.1)


def test_another_limit_claims_nothing():
    flow = mf.FamilyFlow(mf.heavy_ball(0.1, LAM), drift=[1.0], bend=[0.0])
    assert flow.claims == ()
    assert flow.defects.limit == pytest.approx(-1.5)


METHOD = mf.heavy_ball(0.1, LAM)


@pytest.mark.parametrize(
    ("arguments", "given", "error", "words"),
    [
        ((METHOD, "transiant"), {}, ValueError, "transient"),
        ((METHOD,), {}, ValueError, "by a name or by its drift and bend"),
        (
            (METHOD, "lagged"),
            {"drift": [1.0], "bend": [1.0]},
            ValueError,
            "by a name or by its drift and bend",
        ),
        ((METHOD,), {"drift": [1.0]}, ValueError, "by a name or by its drift and bend"),
        ((METHOD,), {"drift": [], "bend": [1.0]}, ValueError, "drift must be a vector of at least one"),
        ((METHOD,), {"drift": [1.0], "bend": 1.0}, ValueError, "bend must be a vector of at least one"),
        ((METHOD,), {"drift": [np.nan], "bend": [1.0]}, ValueError, "drift must be finite"),
        ((METHOD,), {"drift": [1.0], "bend": [1.0], "shift": np.inf}, ValueError, "shift must be finite"),
        (
            (METHOD,),
            {"drift": [1.0], "bend": [1.0], "shift": np.ones(1)},
            ValueError,
            r"a number, got shape \(1,\)",
        ),
        (
            (METHOD, "waiting"),
            {"shift": 3.0},
            ValueError,
            "shift must be left out where the member has a name",
        ),
        ((mf.nesterov_sequence(0.1), "lagged"), {}, TypeError, "family"),
    ],
)
def test_bad_members(arguments, given, error, words):
    with pytest.raises(error, match=words):
        mf.FamilyFlow(*arguments, **given)


def test_bad_runs():
    with pytest.raises(ValueError, match="stated from rest, got a start velocity"):
        mf.solve(mf.FamilyFlow(METHOD, "lagged"), loss, START, jnp.array([0.1]), jnp.ones(2))
    with pytest.raises(ValueError, match="one scalar"):
        mf.solve(mf.FamilyFlow(METHOD, "lagged"), lambda u: u, START, jnp.array([0.1]))
    with pytest.raises(TypeError, match="outside jit"):
        jax.jit(lambda lam: mf.FamilyFlow(mf.heavy_ball(0.1, lam), "lagged").drift)(0.5)
    with pytest.raises(ValueError, match="which takes their data"):
        mf.convergence_study(
            lambda h: mf.heavy_ball(h, LAM),
            lambda m: mf.StochasticLaggedFlow(m, jnp.zeros(2), [0, 1]),
            loss, START, RATES, 1.0,
        )  # fmt: skip
