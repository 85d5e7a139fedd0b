"""Gradient series, the modified loss and the curl, each by an independent route."""

from fractions import Fraction
from functools import cache
from math import factorial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from jax.flatten_util import ravel_pytree

import momentumflow as mf
from momentumflow.expansion.differentials import combine, derivative
from momentumflow.expansion.free_trees import free_symmetry, free_trees, rootings
from momentumflow.expansion.potential import contract
from momentumflow.expansion.trees import order, symmetry, trees, up_to

LAM, A = sp.symbols("lambda a")
P3 = ((((),),), ((), ()))
"""f'[f'[f]] and f''[f,f], the path of three nodes from its end and from its middle."""

HB, NAG = mf.heavy_ball(0.02, 0.5), mf.nesterov(0.02, 0.5)


def loss(u):
    """On a pytree, without symmetry."""
    return jnp.sum(jnp.exp(0.7 * u["a"] * u["b"][0])) + 0.3 * jnp.sum(jnp.sin(u["b"]) * u["a"])


U = {"a": jnp.array([0.3, -0.8]), "b": jnp.array([1.1, 0.4])}


def force(u):
    return jax.tree.map(jnp.negative, jax.grad(loss)(u))


def close(a, b, rtol=1e-11):
    return np.allclose(ravel_pytree(a)[0], ravel_pytree(b)[0], rtol=rtol, atol=1e-13)


# --- free trees -------------------------------------------------------------------------------------------------------


def test_number_of_free_trees():
    """OEIS A000055; the rootings of all of them are all rooted trees."""
    assert [len(free_trees(n)) for n in range(1, 10)] == [1, 1, 1, 2, 3, 6, 11, 23, 47]
    for n in range(1, 9):
        assert sorted(t for free in free_trees(n) for t in rootings(free)) == sorted(trees(n))


def test_symmetries_of_free_trees_sum_to_labelled_trees():
    """Σ n!/σ(t) = n^(n-2), Cayley's formula."""
    for n in range(2, 9):
        assert sum(Fraction(factorial(n), free_symmetry(t)) for t in free_trees(n)) == n ** (n - 2)
    assert free_symmetry(((),)) == 2


# --- E(t) and its gradient --------------------------------------------------------------------------------------------


FREE = [t for n in range(2, 6) for t in free_trees(n)]


def quartic(u):
    """Every derivative up to the fourth is there, none beyond."""
    return u["a"][0] * u["b"] ** 2 + 0.3 * jnp.sum(u["a"]) ** 4 + 0.5 * u["a"][1] * u["b"] ** 3


V = {"a": jnp.array([0.3, -0.8]), "b": jnp.array(0.7)}


def down(u):
    return jax.tree.map(jnp.negative, jax.grad(quartic)(u))


def test_contraction_is_the_same_from_every_root():
    """E(t) = (-Φ)^(k)[F(τ_1), …, F(τ_k)] by nested derivatives of the scalar itself, whichever node is the root."""

    @jax.jit
    def both(u):
        vectors = {t: combine(down, u, {t: 1.0}) for t in up_to(4)}
        return [
            [contract(down, u, {free: 1.0})]
            + [derivative(lambda x: -quartic(x), u, [vectors[child] for child in t]) for t in rootings(free)]
            for free in FREE
        ]

    for found, *expected in both(V):
        assert np.allclose(found, expected, rtol=1e-11)


def test_gradient_of_a_contraction_is_the_sum_over_its_rootings():
    """∇E(t)/σ(t) = Σ F(τ)/σ(τ), all trees at once under weights of their own."""
    weights = {t: 1.0 + 0.1 * i for i, t in enumerate(FREE)}
    numbers = {t: w / free_symmetry(t) for t, w in weights.items()}
    vectors = {t: w / symmetry(t) for free, w in weights.items() for t in rootings(free)}
    gradient = jax.jit(jax.grad(lambda u: contract(down, u, numbers)))(V)
    assert close(gradient, jax.jit(lambda u: combine(down, u, vectors))(V))


# --- where a series is a gradient -------------------------------------------------------------------------------------


def test_slow_flow_is_a_gradient_at_third_order_for_one_lookahead():
    """MATH B.3: the difference is ((1-λ)-6a)/(6(1-λ)⁴)."""
    defect = mf.gradient_defect(mf.modified_equation(3, None, None))
    assert defect.keys() == {P3}
    assert sp.cancel(defect[P3] - ((1 - LAM) - 6 * A) / (6 * (1 - LAM) ** 4)) == 0
    lam = Fraction(3, 7)
    assert mf.gradient_defect(mf.modified_equation(3, lam, (1 - lam) / 6)) == {}
    assert mf.gradient_defect(mf.modified_equation(3, 0.3, 0.7 / 6)) == {}
    assert len(mf.gradient_defect(mf.modified_equation(4, lam, (1 - lam) / 6))) == 2  # and at no higher order


def test_a_rooting_that_is_left_out_counts_as_zero():
    assert mf.gradient_defect({P3[0]: 3}) == {P3: 3}
    assert mf.gradient_defect({P3[1]: 3}) == {P3: -6}  # σ(f''[f,f]) = 2
    assert mf.gradient_defect({P3[0]: 2, P3[1]: 1}) == {}


@pytest.mark.parametrize("expansion", [mf.manifold_expansion, mf.step_expansion])
def test_manifold_and_steps_are_gradients_without_lookahead_only(expansion):
    """MATH B.3: -a/(1-λ)⁴ for g_2; the step differs from λ times the graph by f(u + hav)."""
    assert sp.cancel(mf.gradient_defect(expansion(3, None, None))[P3] + A / (1 - LAM) ** 4) == 0


@pytest.mark.parametrize("expansion", [mf.manifold_expansion, mf.step_expansion])
def test_heavy_ball_is_a_gradient_to_every_order(expansion):
    """Cattaneo & Shigida (2025); symbolic in λ to h⁵, and at a fraction to h⁷."""
    assert mf.gradient_defect(expansion(6)) == {}
    assert mf.gradient_defect(expansion(8, Fraction(9, 10))) == {}
    assert mf.gradient_defect(expansion(8, 0.9)) == {}
    slow = mf.gradient_defect(mf.modified_equation(6, 0.9))
    assert len(slow) == sum(
        len(rootings(t)) - 1 for n in range(1, 7) for t in free_trees(n)
    )  # its flow nowhere


def test_steps_are_what_the_method_does_on_the_manifold():
    """z = λw + f for heavy ball."""
    graph, steps = mf.manifold_expansion(5, Fraction(2, 5)), mf.step_expansion(5, Fraction(2, 5))
    assert all(steps[t] == Fraction(2, 5) * graph[t] + (t == ()) for t in up_to(5))


# --- the modified loss ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "p"),
    [
        (HB, 1),
        (HB, 2),
        (NAG, 2),
        (mf.momentum_method(0.02, 0.5, 0.5 / 6), 3),
        (mf.rescaled_gradient_descent(0.02, 0.5), 2),
        (mf.heavy_ball_strongly_convex(0.02, 3.0), 2),
        (
            mf.LinearMemory(
                [[1, 0.04, 0.02], [0, 0.5, 0.1], [0, 0, 0.3]], [0.07, 1, 0.5], [1, 0.03, 0.01], 0.1
            ),
            2,
        ),
    ],
    ids=lambda x: getattr(type(x), "__name__", str(x)),
)
def test_slow_flow_descends_the_modified_loss(method, p):
    """u̇ = -λ̄∇Φ~, λ̄ the coefficient of f."""
    rate = mf.modified_equation_of(method, 1)[()]
    gradient = jax.grad(mf.modified_loss(method, p)(loss))(U)
    (field,) = mf.SlowFlow(method, order=p).field(loss)(0.0, (U,))
    assert close(field, jax.tree.map(lambda g: -rate * g, gradient))


@pytest.mark.parametrize(
    ("method", "steps", "weight"),
    [
        (HB, False, 1.5 / 0.5**2 / 4),  # hc/2, c = (1+λ)/(2(1-λ)²): Ghosh et al. (2023)
        (NAG, False, (0.5 + 0.5) / 0.5**2 / 4),  # c = (1-λ+2λ²)/(2(1-λ)²)
        (mf.gradient_descent(0.02), False, 1 / 4),  # Barrett & Dherin (2021)
        (HB, True, 0.5 / (2 * 0.5**2)),  # λ/(2(1-λ)²): Cattaneo, Klusowski & Shigida (2024)
        (NAG, True, 0.25 / (2 * 0.5**2)),  # λ²/(2(1-λ)²)
        (mf.gradient_descent(0.02), True, 0),
    ],
)
def test_second_order_is_a_multiple_of_the_squared_gradient(method, steps, weight):
    modified = mf.modified_loss(method, 2, steps)(loss)
    squared = sum(jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(loss)(U)))
    assert float(modified.regularizer(U)) == pytest.approx(0.02 * weight * float(squared), rel=1e-12)
    assert float(modified(U)) == pytest.approx(float(loss(U) + modified.regularizer(U)), rel=1e-15)


def flat_loss(u):
    return jnp.sum(jnp.log(jnp.cosh(jnp.array([1.0, 1.5]) * u))) + 0.2 * jnp.sin(u[0] * u[1])


RATES = 2.0 ** -jnp.arange(6.0, 9.0)
U0 = jnp.array([1.2, -0.8])


@cache
def slopes(lookahead):
    """Orders in h of max |u_n - ũ_n|, nh ≤ 1: the method on its manifold, and gradient descent on modified losses.

    The start is on the manifold to O(h⁴), which leaves O(h⁵) in u.
    """
    graph = mf.manifold_expansion(4, 0.5, lookahead)
    highest = 4 if lookahead == 0 else 2
    transforms = {p: lambda m, p=p: mf.modified_loss(m, p, steps=True) for p in range(1, highest + 1)} | {
        "flow": mf.modified_loss,
        "other": lambda m: mf.modified_loss(
            mf.momentum_method(m.learning_rate, 0.5, 0.5 - lookahead), 2, True
        ),
    }

    @jax.jit
    @jax.vmap
    def distances(h):
        method = mf.momentum_method(h, 0.5, lookahead)
        v0 = combine(
            lambda u: -jax.grad(flat_loss)(u), U0, {t: c * h ** (order(t) - 1) for t, c in graph.items()}
        )
        run = mf.iterate(method, flat_loss, U0, 256, start=v0)

        def distance(transform):
            plain = mf.iterate(mf.gradient_descent(2 * h), transform(method)(flat_loss), U0, 256)
            gap = jnp.linalg.norm(run.params - plain.params, axis=1)
            return jnp.max(jnp.where(run.times <= 1 + 1e-9, gap, 0))

        return [distance(transform) for transform in transforms.values()]

    errors = dict(zip(transforms, map(np.asarray, distances(RATES)), strict=True))
    return {what: np.log2(e[-2] / e[-1]) for what, e in errors.items()}


@pytest.mark.parametrize(("lookahead", "p"), [(0.0, 1), (0.0, 2), (0.0, 3), (0.0, 4), (0.5, 1), (0.5, 2)])
def test_the_method_is_gradient_descent_on_the_modified_loss(lookahead, p):
    """Order p, step against step: heavy ball to any order, Nesterov to order 2 (±0.1, ±0.2 for p ≥ 4)."""
    assert slopes(lookahead)[p] == pytest.approx(p, abs=0.2 if p >= 4 else 0.1)


@pytest.mark.parametrize(("lookahead", "wrong"), [(0.0, "flow"), (0.0, "other"), (0.5, "other")])
def test_other_coefficients_leave_order_1(lookahead, wrong):
    """Negative control: the coefficient of the flow, and that of the other method's steps (at λ = ½ of Nesterov's
    flow, too)."""
    assert slopes(lookahead)[wrong] == pytest.approx(1, abs=0.1)


def test_a_traced_method_gives_nan_where_a_known_one_raises():
    def value(lam, a, **how):
        return mf.modified_loss(mf.momentum_method(0.02, lam, a), **how)(loss)(U)

    lams = jnp.array([0.5, 0.8])
    nesterov = jax.jit(jax.vmap(lambda lam: value(lam, lam, order=3, steps=True)))
    assert np.isnan(nesterov(lams)).all()
    heavy_ball = jax.jit(jax.vmap(lambda lam: value(lam, 0, order=3, steps=True)))
    assert np.allclose(
        heavy_ball(lams), [value(lam, 0, order=3, steps=True) for lam in (0.5, 0.8)], rtol=1e-12
    )


def test_a_second_call_does_not_trace_again():
    traces = []

    def counted(u):
        traces.append(1)
        return flat_loss(u)

    seen = []
    for h in (0.1, 0.2):
        mf.iterate(mf.gradient_descent(0.1), mf.modified_loss(mf.heavy_ball(h, 0.5), 3, True)(counted), U0, 4)
        seen.append(len(traces))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: mf.modified_loss(HB, 3),
            ValueError,
            r"f'\[f'\[f\]\] and f''\[f,f\].*differ by 1\.33333.*SlowFlow",
        ),
        (
            lambda: mf.modified_loss(NAG, 3, steps=True),
            ValueError,
            r"steps of order 3.*differ by -8:.*order=2",
        ),
        (lambda: mf.modified_loss(HB, 0), ValueError, "order must be an integer >= 1, got 0"),
        (lambda: mf.modified_loss(mf.nesterov_sequence(0.1)), ValueError, "momentum that varies"),
        (lambda: mf.modified_loss(mf.heavy_ball(jnp.ones(2), 0.5)), ValueError, "must be scalars"),
        (lambda: mf.modified_loss(HB)(mf.VectorField(jnp.sin)), TypeError, "got a VectorField: use SlowFlow"),
        (
            lambda: mf.modified_loss(HB)(flat_loss)(jnp.ones(2, int)),
            TypeError,
            "params must be real floating",
        ),
        (lambda: mf.modified_loss(HB, 1)(jnp.sin)(U0), ValueError, "loss must return one scalar"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


# --- the numeric curl -------------------------------------------------------------------------------------------------


def of_third_order(weights, u):
    return combine(down, u, dict(zip(P3, weights, strict=True)))


def third_order(lam, a):
    """F_3 of the slow flow, on a pytree."""
    equation = mf.modified_equation(3, lam, a)
    return mf.VectorField(eqx.Partial(of_third_order, jnp.array([equation[t] for t in P3])))


def test_curl_tells_where_the_slow_flow_is_a_gradient():
    """MATH B.3: none for a = (1-λ)/6, some for a = 0 and a = λ."""
    key = jax.random.key(0)
    assert mf.curl(third_order(0.5, 0.5 / 6), V, key) < 1e-13
    assert mf.curl(third_order(0.5, 0.0), V, key) > 1e-3
    assert mf.curl(third_order(0.5, 0.5), V, key) > 1e-3
    assert mf.curl(quartic, V, key) < 1e-13


def test_curl_is_the_antisymmetric_share_of_the_jacobian():
    J = np.random.default_rng(0).normal(size=(6, 6))
    expected = np.linalg.norm(J - J.T) / (2 * np.linalg.norm(J))
    found = mf.curl(mf.VectorField(lambda u: J @ u), jnp.ones(6), jax.random.key(1), directions=4000)
    assert float(found) == pytest.approx(expected, rel=0.05)
    assert mf.curl(mf.VectorField(jnp.zeros_like), jnp.ones(6), jax.random.key(1)) == 0


def test_curl_refuses_what_is_no_field():
    with pytest.raises(ValueError, match="directions must be an integer >= 1, got 0"):
        mf.curl(flat_loss, U0, jax.random.key(0), directions=0)
    with pytest.raises(ValueError, match="one scalar"):
        mf.curl(jnp.sin, U0, jax.random.key(0))
