"""The implicit regulariser: its size, its gradient, and training with it added and cancelled."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import momentumflow as mf

START = {"w": jnp.array([0.9, -0.6]), "b": jnp.array(0.4)}
LAM, FINAL = 0.5, 1.0
RATES = [2.0**-11, 2.0**-12]


def loss(p):
    """Neither quadratic nor separable."""
    return (
        jnp.sum(jnp.log(jnp.cosh(p["w"] * 1.3 + p["b"])))
        + 0.2 * jnp.sin(p["w"][0] * p["w"][1])
        + 0.3 * p["b"] ** 2
    )


def flat(tree):
    return ravel_pytree(tree)[0]


CONSTANTS = {  # Kovachki & Stuart (2021), (19) corrected; Barrett & Dherin (2021); Ghosh et al. (2023), IGR-M
    "GD": (mf.gradient_descent(0.02), 0.02 / 2),
    "HB": (mf.heavy_ball(0.02, 0.6), 0.02 * 1.6 / (2 * 0.4**2)),
    "NAG": (mf.nesterov(0.02, 0.6), 0.02 * (1 - 0.6 + 2 * 0.6**2) / (2 * 0.4**2)),
    "general": (mf.momentum_method(0.02, 0.6, 0.3), 0.02 * 2.5 * (2.5 - 0.3 - 0.5)),
}


@eqx.filter_jit
def measured(penalty):
    return penalty(START), flat(penalty.gradient(START)), penalty.ratio(START)


@jax.jit
def written_out(strength):
    """½κ|∇Φ|², its gradient in reverse, its ratio to Φ."""

    def plain(p):
        return 0.5 * strength * sum(jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(loss)(p)))

    return plain(START), flat(jax.grad(plain)(START)), plain(START) / loss(START)


@pytest.mark.parametrize(("method", "strength"), CONSTANTS.values(), ids=CONSTANTS)
def test_value_gradient_and_ratio(method, strength):
    """Against the printed constants, and against the modified loss."""
    found = measured(mf.implicit_regularizer(method)(loss))
    for x, expected in zip(found, written_out(strength), strict=True):
        assert np.allclose(x, expected, rtol=1e-12, atol=0)
    assert float(found[0]) == pytest.approx(
        float(mf.modified_loss(method)(loss).regularizer(START)), rel=1e-13
    )


def test_of_the_steps():
    """Cattaneo & Shigida (2024): hλ/(2(1-λ)²) |∇Φ|² for heavy ball's steps, nothing for gradient descent's."""
    heavy_ball = mf.implicit_regularizer(mf.heavy_ball(0.02, 0.6), steps=True)(loss)
    assert float(heavy_ball.strength) == pytest.approx(2 * 0.02 * 0.6 / (2 * 0.4**2))
    assert float(mf.implicit_regularizer(mf.gradient_descent(0.02), steps=True)(loss).strength) == 0


def test_a_linear_memory_method():
    """The same heavy ball by its matrix."""
    h = 0.02
    matrix = mf.LinearMemory([[1, h * LAM], [0, LAM]], [h, 1.0], [1.0, 0.0], h)
    same = mf.implicit_regularizer(mf.heavy_ball(h, LAM))(loss).strength
    assert float(mf.implicit_regularizer(matrix)(loss).strength) == pytest.approx(float(same))


@pytest.mark.parametrize("scale", [-1.0, 0.3, 1.0])
def test_gradient_of_the_regularised_loss(scale):
    """One Hessian-vector product against reverse over reverse."""
    regularised = mf.implicit_regularizer(mf.nesterov(0.1, 0.6))(loss).added(scale)
    expected = flat(jax.grad(regularised)(START))
    assert np.allclose(flat(regularised.gradient(START)), expected, rtol=1e-12)
    assert np.allclose(flat(regularised.descent(START)), -expected, rtol=1e-12)


def distance(lookahead, rate, scale, target):
    """Largest distance of the method on Φ + sR, on its manifold, to the rescaled gradient flow of Φ + target R."""
    method, times = mf.momentum_method(rate, LAM, lookahead), jnp.linspace(0, FINAL, 9)
    penalty = mf.implicit_regularizer(method)(loss)
    steps = round(FINAL / rate)
    run = mf.iterate(method, penalty.added(scale).descent, START, steps, "manifold", save_every=steps // 8)
    follow = mf.RescaledGradientFlow(mf.heavy_ball(1.0, LAM))
    flow = mf.solve(follow, penalty.added(target).descent, START, times)
    return float(jnp.max(jax.vmap(lambda a, b: jnp.max(jnp.abs(flat(a) - flat(b))))(run.params, flow.params)))


@pytest.mark.parametrize("lookahead", [0.0, LAM], ids=["HB", "NAG"])
@pytest.mark.parametrize(
    ("scale", "target", "order"),
    [
        (-1.0, 0.0, 2),
        (0.0, 1.0, 2),
        (1.0, 2.0, 2),
        (0.0, 0.0, 1),
        (1.0, 1.0, 1),
        (-0.5, 0.0, 1),
        (-0.5, 0.5, 2),
    ],
)
def test_added_or_cancelled(lookahead, scale, target, order):
    """The method on Φ + sR follows λ̄ times the flow of Φ + (1+s)R to order 2; another multiple of R to order 1."""
    errors = [distance(lookahead, h, scale, target) for h in RATES]
    assert np.allclose(np.log2(np.divide(errors[:-1], errors[1:])), order, atol=0.1), errors


def test_bad_input():
    with pytest.raises(TypeError, match="VectorField"):
        mf.implicit_regularizer(mf.heavy_ball(0.1, 0.5))(mf.VectorField(lambda u: -u))
    with pytest.raises(ValueError, match="varies"):
        mf.implicit_regularizer(mf.nesterov_sequence(0.1))
    with pytest.raises(ValueError, match="scale must be finite"):
        mf.implicit_regularizer(mf.heavy_ball(0.1, 0.5))(loss).added(np.inf)
