"""What `iterate` promises: starts, savings, one gradient a step, no retrace, transformations, dtypes, divergence."""

from contextlib import contextmanager

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import textbook
from hypothesis import given
from hypothesis import strategies as st

import momentumflow as mf

STEPS = 12
U0 = jnp.asarray(textbook.START)
V0 = jnp.array([0.4, 1.3])
METHOD = mf.nesterov(0.1, 0.8)
CONSTRUCTORS = {
    "gradient descent": lambda h: mf.gradient_descent(h),
    "heavy ball": lambda h: mf.heavy_ball(h, 0.5 + h),
    "nesterov": lambda h: mf.nesterov(h, 0.5 + h),
    "momentum method": lambda h: mf.momentum_method(h, 0.5 + h, 2 * h),
    "rescaled": lambda h: mf.rescaled_gradient_descent(h, 0.5 + h),
    "sequence": lambda h: mf.nesterov_sequence(h),
    "heavy ball mu": lambda h: mf.heavy_ball_strongly_convex(h, 1 + h),
    "nesterov mu": lambda h: mf.nesterov_strongly_convex(h, 1 + h),
    "wilson": lambda h: mf.wilson_splitting(h, 1 + h),
    "linear memory": lambda h: mf.LinearMemory([[1, h / 2], [0, 0.5]], [h, 1.0], [1, 0.0], h),
}
EVERY = pytest.mark.parametrize("name", CONSTRUCTORS)
KINDS = pytest.mark.parametrize("name", ["nesterov", "rescaled", "sequence", "linear memory"])


def run(method=METHOD, loss=textbook.loss, params=U0, steps=STEPS, **options):
    return mf.iterate(method, loss, params, steps, **options)


@contextmanager
def without_type_checker():
    """The library as users have it: annotations are enforced in the test session only."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def close(actual, expected, rtol=1e-12):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


# --- starts -----------------------------------------------------------------------------------------------


def test_every_way_to_give_a_start():
    manifold = mf.manifold_velocity(METHOD, textbook.loss, U0)
    close(run(start="rest"), run(start=jnp.zeros(2)))
    close(run(start="manifold"), run(start=manifold))
    close(run(start=mf.manifold_velocity), run(start=manifold))
    close(run(start=lambda method, loss, u: method.momentum * u), run(start=0.8 * U0))


def test_a_start_rule_sees_the_arguments_of_the_run():
    seen = []

    def rule(*arguments):
        seen.append(arguments)
        return V0

    run(start=rule)
    assert seen[0][:2] == (METHOD, textbook.loss)
    assert (seen[0][2] == U0).all()


def test_a_velocity_tree_that_is_callable_is_a_velocity():
    """The arrays of an eqx.nn.MLP are an MLP themselves, and so callable."""
    params, loss = perceptron()
    velocity = jax.tree.map(jnp.ones_like, params)
    for start in (velocity, lambda method, loss, u: velocity):
        trajectory = run(loss=loss, params=params, start=start)
        assert all(jnp.all(leaf[0] == 1) for leaf in jax.tree.leaves(trajectory.velocity))


# --- what is kept -----------------------------------------------------------------------------------------


@KINDS
def test_save_every_agrees(name):
    method = CONSTRUCTORS[name](0.1)
    every, third, last = (run(method, save_every=k) for k in (1, 3, None))
    for kept, chosen in ((third, slice(None, None, 3)), (last, slice(-1, None))):
        expected = jax.tree.map(lambda x: x[chosen], (every.times, every.params, every.velocity))  # noqa: B023
        close((kept.times, kept.params, kept.velocity), expected, rtol=1e-14)
        assert kept.outcome == every.outcome == "completed"
    close(every.times, np.arange(STEPS + 1) * float(method.time_step))
    assert every.params.shape == (STEPS + 1, 2)
    assert third.params.shape == (STEPS // 3 + 1, 2)
    assert last.params.shape == (1, 2)


# --- cost -------------------------------------------------------------------------------------------------


class Counted(eqx.Module):
    """The loss with a constant, which counts how often Python runs it: once per trace."""

    strength: jax.Array
    traces: list = eqx.field(static=True)

    def __call__(self, u):
        self.traces.append(u)
        return self.strength * textbook.loss(u)


class Tally(list):
    """A list that is hashable, hence static."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


def test_one_evaluation_of_the_field_a_step():
    calls = []

    def field(u):
        jax.debug.callback(lambda: calls.append(1))
        return -u

    run(loss=mf.VectorField(field))
    jax.effects_barrier()
    assert len(calls) == STEPS


@EVERY
def test_one_gradient_in_the_program(name):
    """The loss has a cosine, its gradient a sine: one sine in the whole program is one gradient in the scan."""
    program = str(jax.make_jaxpr(lambda u: run(CONSTRUCTORS[name](0.1), params=u).params)(U0))
    assert program.count("= sin ") == 1


@EVERY
def test_no_retrace_for_other_numbers(name):
    tally = Tally()
    for k, h in enumerate((0.1, 0.2, 0.05)):
        run(CONSTRUCTORS[name](h), Counted(jnp.array(1.0 + k), tally), U0 + k)
        if k == 0:
            first = len(tally)
    assert first >= 1
    assert len(tally) == first


def test_no_retrace_for_another_start_velocity_or_the_same_rule():
    for starts in ((V0, 2 * V0), ("manifold", "manifold")):
        tally = Tally()
        run(loss=Counted(jnp.array(1.0), tally), start=starts[0])
        first = len(tally)
        run(loss=Counted(jnp.array(2.0), tally), start=starts[1])
        assert len(tally) == first


# --- transformations --------------------------------------------------------------------------------------


@KINDS
def test_jit_of_abstract_constants_is_the_same_run(name):
    def end(h, u):
        return run(CONSTRUCTORS[name](h), params=u).params

    close(jax.jit(end)(0.1, U0), end(0.1, U0))


@EVERY
def test_an_abstract_value_is_never_judged(name):
    program = jax.make_jaxpr(lambda h, u: run(CONSTRUCTORS[name](h), params=u).params)(-1.0, U0)
    assert program.out_avals[0].shape == (STEPS + 1, 2)


@pytest.mark.parametrize("start", ["manifold", "tree", "rule"])
def test_starts_under_jit(start):
    start = {"manifold": "manifold", "tree": V0, "rule": mf.manifold_velocity}[start]
    close(jax.jit(lambda u: run(params=u, start=start).params)(U0), run(start=start).params)


def test_an_ensemble_built_inside_vmap():
    rates, momenta = jnp.array([0.05, 0.1, 0.2]), jnp.array([0.9, 0.5, 0.0])
    together = eqx.filter_vmap(lambda h, lam: run(mf.nesterov(h, lam)))(rates, momenta)
    assert together.times.shape == (3, STEPS + 1)
    assert together.outcome == "3 of 3 completed"
    for k, (h, lam) in enumerate(zip(rates, momenta, strict=True)):
        alone = run(mf.nesterov(h, lam))
        close(jax.tree.map(lambda x: x[k], eqx.filter(together, eqx.is_array)), alone)  # noqa: B023


@KINDS
def test_an_ensemble_of_stacked_methods(name):
    rates = jnp.array([0.05, 0.1, 0.2])
    stack = eqx.filter_vmap(CONSTRUCTORS[name])(rates)
    together = eqx.filter_vmap(lambda method: run(method))(stack)
    close(together.params, jnp.stack([run(CONSTRUCTORS[name](h)).params for h in rates]))


def test_an_ensemble_by_stacking_leaves():
    methods = [mf.heavy_ball(0.05, 0.9), mf.heavy_ball(0.1, 0.5)]
    stack = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(x) for x in leaves]), *methods)
    together = eqx.filter_vmap(lambda method: run(method).params)(stack)
    close(together, jnp.stack([run(method).params for method in methods]))


def test_an_ensemble_made_of_arrays_of_constants():
    rates = jnp.array([0.05, 0.1])
    together = eqx.filter_vmap(lambda method: run(method).params)(mf.nesterov(rates, jnp.array([0.9, 0.5])))
    close(together[1], run(mf.nesterov(0.1, 0.5)).params)


def test_vmap_over_the_params():
    points = jnp.stack([U0, 2 * U0, -U0])
    together = jax.vmap(lambda u: run(params=u).params)(points)
    close(together, jnp.stack([run(params=u).params for u in points]))


def test_vmap_over_the_losss_constant():
    strengths = jnp.array([0.5, 1.0, 2.0])

    def end(strength):
        return run(loss=lambda u: strength * textbook.loss(u)).params[-1]

    close(jax.vmap(end)(strengths), jnp.stack([end(s) for s in strengths]))


def final_loss(h, lam, a, strength, params):
    trajectory = run(mf.momentum_method(h, lam, a), lambda u: strength * textbook.loss(u), params)
    return textbook.loss(trajectory.params[-1])


def test_gradient_through_a_run_against_finite_differences():
    def along_a_line(s):
        return final_loss(0.1 + s, 0.8 - s, 0.4 + 2 * s, 1 - s, U0 + s * V0)

    function, step = jax.jit(along_a_line), 1e-6
    reverse, forward = jax.jit(lambda s: (jax.grad(along_a_line)(s), jax.jacfwd(along_a_line)(s)))(0.0)
    np.testing.assert_allclose(reverse, (function(step) - function(-step)) / (2 * step), rtol=1e-7)
    np.testing.assert_allclose(forward, reverse, rtol=1e-12)


@KINDS
def test_gradient_with_respect_to_the_learning_rate(name):
    slope = jax.jit(jax.grad(lambda h: textbook.loss(run(CONSTRUCTORS[name](h)).params[-1])))(0.1)
    assert slope < 0  # a longer step gets further down


# --- dtypes and trees -------------------------------------------------------------------------------------


@KINDS
def test_float32_params_stay_float32_in_a_float64_session(name):
    method = CONSTRUCTORS[name](0.1)
    trajectory = run(method, params=U0.astype("float32"))
    assert trajectory.params.dtype == "float32"
    assert trajectory.velocity is None or trajectory.velocity.dtype == "float32"
    close(trajectory.params, np.asarray(run(method).params, "float32"), rtol=1e-6)


@given(h=st.floats(0.01, 0.3), lam=st.floats(0, 0.9))
def test_float32_iterates_are_those_of_a_float32_loop(h, lam):
    trajectory = run(mf.momentum_method(h, lam, lam), params=U0.astype("float32"))
    single = np.float32
    expected = textbook.two_step(
        textbook.gradient, textbook.START.astype(single), STEPS, single(h), single(lam), single(lam)
    )
    assert expected.dtype == single
    np.testing.assert_allclose(trajectory.params, expected, rtol=5e-6, atol=5e-6)


def test_a_float32_session():
    with jax.enable_x64(False):
        trajectory = run(mf.nesterov(0.1, 0.8), params=jnp.asarray(textbook.START, "float32"))
        assert {x.dtype.name for x in jax.tree.leaves(trajectory)} == {"float32", "int32"}
        assert trajectory.outcome == "completed"
    close(trajectory.params, np.asarray(run().params, "float32"), rtol=1e-6)


def test_a_tree_of_several_dtypes_keeps_each():
    params = {"a": jnp.ones(2, "float32"), "b": (jnp.ones((2, 1)), jnp.ones((), "bfloat16"))}

    def loss(p):
        return jnp.sum(jnp.cosh(p["a"])) + jnp.sum(jnp.cosh(p["b"][0])) + jnp.cosh(p["b"][1]).astype(float)

    trajectory = run(loss=loss, params=params, start="manifold")
    for tree in (trajectory.params, trajectory.velocity):
        assert jax.tree.map(lambda x: x.dtype, tree) == jax.tree.map(lambda x: x.dtype, params)
    np.testing.assert_allclose(trajectory.params["a"][:, 0], trajectory.params["b"][0][:, 0, 0], rtol=1e-5)


@pytest.mark.parametrize("params", [1.0, np.ones(2), [1.0, 2.0], {"none": None, "x": np.float32(1)}])
def test_params_of_other_kinds_become_arrays(params):
    with without_type_checker():
        trajectory = run(loss=lambda p: sum(jnp.sum(x**2) for x in jax.tree.leaves(p)), params=params)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(trajectory.params))
    assert jax.tree.structure(trajectory.params) == jax.tree.structure(params)


def perceptron():
    model = eqx.nn.MLP(2, 1, 3, 1, key=jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(params):
        return jnp.mean(jax.vmap(eqx.combine(params, static))(jnp.eye(2)) ** 2)

    return params, loss


@pytest.mark.parametrize("start", ["rest", "manifold"])
def test_a_network(start):
    params, loss = perceptron()
    trajectory = run(loss=loss, params=params, start=start, save_every=None)
    assert jax.tree.structure(trajectory.params) == jax.tree.structure(params)
    assert loss(jax.tree.map(lambda x: x[-1], trajectory.params)) < loss(params)


def test_a_vector_field_that_is_no_gradient():
    rotation = mf.VectorField(lambda u: jnp.stack([-u[1], u[0]]))
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    trajectory = run(mf.momentum_method(0.1, 0.8, 0.4), rotation)
    expected = textbook.two_step(lambda u: -turn @ u, textbook.START, STEPS, 0.1, 0.8, 0.4)
    close(trajectory.params, expected)
    manifold = mf.manifold_velocity(mf.heavy_ball(0.1, 0.5), rotation, U0)
    close(manifold, (2 * turn - 0.1 * 8 * turn @ turn) @ textbook.START)  # λ̄ = 2: (31)
