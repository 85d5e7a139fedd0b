"""Every model's claims, measured: local slopes at the finest h, and controls that must fail.

Source of each expected order: the model's docstring. Independent of the models: the iterates.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import momentumflow as mf
from momentumflow.flows.model import AFTER_LAYER, EVERYWHERE, Claim

START = {"w": jnp.array([1.2, -0.7]), "b": jnp.array(0.4)}
LAM, MU, FINAL = 0.5, 0.5, 2.0
FINE = [2.0**-k for k in range(6, 11)]
HALF = [2.0**-k for k in range(6, 13)]


def loss(p):
    """A non-quadratic, non-separable loss on a pytree."""
    x = jnp.concatenate([p["w"], p["b"][None]])
    coupled = x @ jnp.array([[1.0, 0.3, 0.1], [0.0, 1.0, -0.2], [0.2, 0.0, 1.0]])
    return jnp.sum(jax.nn.softplus(2 * coupled) - coupled) + 0.1 * jnp.sum(jnp.sin(x)) + 0.25 * x @ x


def family(lookahead):
    return lambda h: mf.momentum_method(h, LAM, lookahead)


def three_rows(h):
    """A linear-memory method outside the family (7): two averages of the gradient."""
    matrix = [[1, 0.4 * h, 0.2 * h], [0, 0.5, 0.1], [0, 0.0, 0.3]]
    return mf.LinearMemory(matrix, [0.7 * h, 1.0, 0.5], [1.0, 0.3 * h, 0.1 * h], h)


FAMILY = {"HB": family(0.0), "NAG": family(LAM), "a=1/4": family(0.25)}
SLOW = {
    **FAMILY,
    "GF (35)": lambda h: mf.rescaled_gradient_descent(h, LAM),
    "three rows": three_rows,
}
STRONG = {
    "HB-mu": lambda h: mf.heavy_ball_strongly_convex(h, MU),
    "NAG-mu": lambda h: mf.nesterov_strongly_convex(h, MU),
    "Wilson": lambda h: mf.wilson_splitting(h, MU),
}
MODELS = {
    "gradient flow": (lambda m: mf.GradientFlow(), {"GD": lambda h: mf.gradient_descent(h)}, FINE),
    "rescaled": (mf.RescaledGradientFlow, SLOW, FINE),
    "momentum, slow": (mf.MomentumODE, FAMILY, FINE),
    "momentum, taylor": (lambda m: mf.MomentumODE(m, "taylor"), FAMILY, FINE),
    "momentum, printed": (lambda m: mf.MomentumODE(m, "printed"), FAMILY, FINE),
    "momentum, tree": (lambda m: mf.MomentumODE(m, START), FAMILY, FINE),
    "slow flow 1": (lambda m: mf.SlowFlow(m, order=1), SLOW, FINE),
    "slow flow 2": (mf.SlowFlow, SLOW, FINE),
    "principal flow": (mf.PrincipalFlow, FAMILY, FINE),
    "principal, first order": (lambda m: mf.PrincipalFlow(m, phase=False), FAMILY, FINE),
    "slow flow, printed": (lambda m: mf.SlowFlow(m, printed=True), FAMILY, FINE),
    "family, transient": (lambda m: mf.FamilyFlow(m, "transient"), FAMILY, FINE),
    "family, lagged": (lambda m: mf.FamilyFlow(m, "lagged"), FAMILY, FINE),
    "family, waiting": (lambda m: mf.FamilyFlow(m, "waiting"), FAMILY, FINE),
    "strongly convex": (lambda m: mf.StronglyConvexODE(MU), STRONG, HALF),
    "Su-Boyd-Candès": (
        lambda m: mf.SuBoydCandesODE(),
        {"sequence": lambda h: mf.nesterov_sequence(h)},
        HALF,
    ),
}
CASES = [
    pytest.param(flow, make, rates, claim, id=f"{name}-{method}-{claim.order:g}-{claim.start}-{claim.region}")
    for name, (flow, methods, rates) in MODELS.items()
    for method, make in methods.items()
    for claim in flow(make(rates[-1])).claims
    if not (claim.start == "manifold" and make(rates[-1]).rows < 2)
]


def measure(flow, make, rates, claim):
    from_time = FINAL / 2 if claim.region == AFTER_LAYER else 0.0
    return mf.convergence_study(make, flow, loss, START, rates, FINAL, claim.start, from_time)


def judge(study, order):
    """The last two slopes above the rounding floor lie within 0.1 of the order."""
    slopes = study.last_orders(2)
    assert len(slopes) == 2, str(study)
    assert np.all(np.abs(slopes - order) <= 0.1), f"claimed {order}\n{study}"
    assert study.order == pytest.approx(order, abs=0.1), str(study)


@pytest.mark.parametrize(("flow", "make", "rates", "claim"), CASES)
def test_every_claim_is_measured(flow, make, rates, claim):
    study = measure(flow, make, rates, claim)
    judge(study, claim.order)
    for wrong in (claim.order - 0.5, claim.order + 0.5):
        with pytest.raises(AssertionError):
            judge(study, wrong)


@pytest.mark.parametrize(
    ("flow", "make", "rates", "claim"),
    [
        pytest.param(
            mf.RescaledGradientFlow, FAMILY["HB"], FINE, Claim(2, "rest"), id="(8) is not of order 2"
        ),
        pytest.param(
            mf.MomentumODE, FAMILY["HB"], FINE, Claim(2, "rest", EVERYWHERE), id="(11) in the layer"
        ),
        pytest.param(
            lambda m: mf.MomentumODE(m, "taylor"),
            FAMILY["HB"],
            FINE,
            Claim(2, "rest", AFTER_LAYER),
            id="taylor",
        ),
        pytest.param(
            lambda m: mf.SlowFlow(m, printed=True),
            FAMILY["NAG"],
            FINE,
            Claim(2, "manifold"),
            id="printed (19)",
        ),
        pytest.param(
            lambda m: mf.RescaledGradientFlow(mf.heavy_ball(m.learning_rate, 0.4)),
            FAMILY["HB"],
            FINE,
            Claim(1, "rest"),
            id="another momentum",
        ),
        pytest.param(
            mf.SlowFlow, FAMILY["HB"], FINE, Claim(2, "rest", EVERYWHERE), id="slow flow in the layer"
        ),
        pytest.param(
            lambda m: mf.StronglyConvexODE(MU),
            lambda h: mf.wilson_splitting(h, MU, printed=True),
            HALF,
            Claim(0.5, "rest"),
            id="printed (36)",
        ),
    ],
)
def test_wrong_claims_fail(flow, make, rates, claim):
    """Negative controls: what the test above must be able to tell apart."""
    with pytest.raises(AssertionError):
        judge(measure(flow, make, rates, claim), claim.order)


def test_unlagged_slow_flow_from_rest_is_of_order_one():
    """A run at rest lags its slow flow by λ/(1-λ) iterations: without the lag the order is 1."""

    def unlagged(loss, params, rates):
        errors = []
        for h in rates:
            method = family(0.0)(h)
            run = mf.iterate(method, loss, params, round(FINAL / h))
            flow = mf.solve(mf.SlowFlow(method), loss, params, run.times, start="manifold")
            late = np.asarray(run.times >= FINAL / 2)
            gap = jax.tree.map(lambda a, b, late=late: np.abs(a - b)[late].max(), run.params, flow.params)
            errors.append(max(float(g) for g in jax.tree.leaves(gap)))
        return np.diff(np.log2(errors[::-1]))

    assert unlagged(loss, START, [2.0**-8, 2.0**-9])[0] == pytest.approx(1, abs=0.1)
