"""Bad input gets an error with the requirement, the value and the remedy, before work starts."""

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
from momentumflow import _validate
from momentumflow._types import NON_FINITE, SOLVER_FAILED, STEP_LIMIT

U0 = jnp.asarray(textbook.START)
HEAVY_BALL = mf.heavy_ball(0.1, 0.9)
NAN = float("nan")
INFINITY = float("inf")


@pytest.fixture(autouse=True)
def _as_users_have_it():
    """Without the test session's type checker, which would speak before the library does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def raises(error, call, *fragments):
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    for fragment in fragments:
        assert fragment in message, message


# --- constants --------------------------------------------------------------------------------------------

LEARNING_RATE = {
    "gradient_descent": lambda h: mf.gradient_descent(h),
    "heavy_ball": lambda h: mf.heavy_ball(h, 0.9),
    "nesterov": lambda h: mf.nesterov(h, 0.9),
    "momentum_method": lambda h: mf.momentum_method(h, 0.9, 0.1),
    "rescaled": lambda h: mf.rescaled_gradient_descent(h, 0.9),
    "heavy_ball_mu": lambda h: mf.heavy_ball_strongly_convex(h, 1.0),
    "nesterov_mu": lambda h: mf.nesterov_strongly_convex(h, 1.0),
    "wilson": lambda h: mf.wilson_splitting(h, 1.0),
    "sequence": lambda h: mf.nesterov_sequence(h),
}
MOMENTUM = {
    "heavy_ball": lambda lam: mf.heavy_ball(0.1, lam),
    "nesterov": lambda lam: mf.nesterov(0.1, lam),
    "momentum_method": lambda lam: mf.momentum_method(0.1, lam, 0.0),
    "rescaled": lambda lam: mf.rescaled_gradient_descent(0.1, lam),
}
STRONG_CONVEXITY = {
    "heavy_ball_mu": lambda mu: mf.heavy_ball_strongly_convex(0.1, mu),
    "nesterov_mu": lambda mu: mf.nesterov_strongly_convex(0.1, mu),
    "wilson": lambda mu: mf.wilson_splitting(0.1, mu),
}
NOT_POSITIVE = [
    0,
    0.0,
    -0.1,
    NAN,
    INFINITY,
    -INFINITY,
    np.float32(-1),
    np.array([0.1, -0.1]),
    jnp.array(-0.1),
]
NOT_A_NUMBER = [
    "0.1",
    None,
    True,
    np.bool_(True),
    0.1j,
    np.complex128(0.1),
    np.array([0.1j]),
    [0.1],
    (0.1,),
    {},
]


@pytest.mark.parametrize("value", NOT_POSITIVE, ids=repr)
@pytest.mark.parametrize("name", LEARNING_RATE)
def test_learning_rate(name, value):
    raises(
        ValueError,
        lambda: LEARNING_RATE[name](value),
        "learning_rate must be finite and > 0",
        f"got {np.asarray(value)}: ",
    )


@given(h=st.floats(max_value=0) | st.just(NAN) | st.just(INFINITY))
def test_any_learning_rate_that_is_not_positive(h):
    for make in LEARNING_RATE.values():
        raises(ValueError, lambda make=make: make(h), "learning_rate must be")


@pytest.mark.parametrize("value", [1, 1.0, -0.1, 1.5, NAN, INFINITY, np.array([0.5, 1.0])], ids=repr)
@pytest.mark.parametrize("name", MOMENTUM)
def test_momentum(name, value):
    requirement, got = "momentum must be in [0, 1)", f"got {np.asarray(value, float)}: "
    raises(ValueError, lambda: MOMENTUM[name](value), requirement, got, "0.9 is the usual choice")


@pytest.mark.parametrize("value", [-0.1, NAN, INFINITY])
def test_lookahead(value):
    requirement, got = "lookahead must be finite and >= 0", f"got {value}: "
    raises(ValueError, lambda: mf.momentum_method(0.1, 0.9, value), requirement, got, "0 is heavy ball")


@pytest.mark.parametrize("value", NOT_POSITIVE, ids=repr)
@pytest.mark.parametrize("name", STRONG_CONVEXITY)
def test_strong_convexity(name, value):
    requirement = "strong_convexity must be finite and > 0"
    raises(ValueError, lambda: STRONG_CONVEXITY[name](value), requirement, "lower bound on the curvature")


@pytest.mark.parametrize("name", ["heavy_ball_mu", "nesterov_mu"])
@pytest.mark.parametrize("value", [10.1, np.array([1.0, 100.0])], ids=repr)
def test_mu_h_beyond_one(name, value):
    got = f"got {0.1 * np.asarray(value)}: "
    requirement = "learning_rate * strong_convexity must be <= 1"
    raises(ValueError, lambda: STRONG_CONVEXITY[name](value), requirement, got, "use a smaller learning rate")


def test_mu_h_up_to_one_and_wilson_beyond():
    assert mf.heavy_ball_strongly_convex(0.1, 10.0).momentum == 0
    assert mf.wilson_splitting(0.1, 100.0).strong_convexity == 100


@pytest.mark.parametrize("value", NOT_A_NUMBER, ids=repr)
def test_a_constant_that_is_no_real_number(value):
    for make in (*LEARNING_RATE.values(), *MOMENTUM.values(), *STRONG_CONVEXITY.values()):
        raises(
            TypeError, lambda make=make: make(value), "must be a real number or array, got", "pass a float"
        )


@pytest.mark.parametrize(
    "value", [1, 1.0, np.float32(1), np.int64(1), np.array(1), np.array(1.0), jnp.array(1.0), jnp.array(1)]
)
def test_numbers_of_every_kind_are_the_same_constant(value):
    rate = mf.heavy_ball(value, 0.9).learning_rate
    assert rate == 1
    assert rate.weak_type  # hence never a retrace, and never a promotion of float32 params


# --- LinearMemory -----------------------------------------------------------------------------------------

MATRIX, GAIN, QUERY = [[1, 0.09], [0, 0.9]], [0.1, 1.0], [1.0, 0.0]


@pytest.mark.parametrize(
    ("matrix", "gain", "query"),
    [
        ([[1, 2, 3]], GAIN, QUERY),
        (MATRIX, [0.1], QUERY),
        (MATRIX, GAIN, [1.0]),
        (MATRIX, [GAIN], QUERY),
        (1.0, 1.0, 1.0),
        (np.zeros((0, 0)), [], []),
        (np.ones((2, 2, 2)), GAIN, QUERY),
    ],
)
def test_linear_memory_of_wrong_shapes(matrix, gain, query):
    raises(
        ValueError,
        lambda: mf.LinearMemory(matrix, gain, query, 0.1),
        "must have shapes (m, m), (m,), (m,)",
        f"got {np.shape(matrix)}, {np.shape(gain)}, {np.shape(query)}",
    )


def test_linear_memory_that_rest_does_not_keep():
    for matrix, query in (
        ([[1, 0.09], [0.5, 0.9]], QUERY),
        ([[0.9, 0], [0, 0.9]], QUERY),
        (MATRIX, [0.5, 0]),
    ):
        raises(
            ValueError,
            lambda matrix=matrix, query=query: mf.LinearMemory(matrix, GAIN, query, 0.1),
            "first column of the matrix must be (1, 0, ...) and query[0] must be 1, got",
            "choose the basis",
        )


def test_linear_memory_of_bad_numbers():
    raises(
        ValueError, lambda: mf.LinearMemory([[1, NAN], [0, 0.9]], GAIN, QUERY, 0.1), "matrix must be finite"
    )
    raises(ValueError, lambda: mf.LinearMemory(MATRIX, [INFINITY, 1], QUERY, 0.1), "gain must be finite")
    raises(ValueError, lambda: mf.LinearMemory(MATRIX, GAIN, QUERY, -1), "step_length must be", "got -1")


# --- iterate ----------------------------------------------------------------------------------------------


class Watched:
    """A loss that knows whether it was looked at."""

    def __init__(self):
        self.calls = 0

    def __call__(self, params):
        self.calls += 1
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(params)) / 2


def iterate(error, *fragments, method=HEAVY_BALL, loss=None, params=U0, steps=4, looks=0, **options):
    """Raises, and the loss was traced no more than `looks` times: nothing was differentiated or compiled."""
    watched = Watched()
    raises(error, lambda: mf.iterate(method, loss or watched, params, steps, **options), *fragments)
    assert watched.calls <= looks


@pytest.mark.parametrize("steps", [0, -1, 2.0, True, "4", None, NAN])
def test_steps(steps):
    iterate(ValueError, "steps must be an integer >= 1", f"got {steps!r}", "pass a Python int", steps=steps)


@pytest.mark.parametrize("save_every", [0, -1, 2.0, True, "1"])
def test_save_every(save_every):
    got = f"got {save_every!r}"
    iterate(ValueError, "save_every must be an integer >= 1", got, "pass", save_every=save_every)


@pytest.mark.parametrize(("save_every", "remedy"), [(3, "use steps=3"), (5, "use steps=5")])
def test_save_every_that_does_not_divide(save_every, remedy):
    got = f"got {save_every} and 4"
    iterate(ValueError, "save_every must divide steps", got, remedy, "save_every=1", save_every=save_every)


@pytest.mark.parametrize(
    ("params", "fragments"),
    [
        (jnp.array([1, 2]), ["params must be real floating point, got int64", ".astype(float)"]),
        (jnp.array([True]), ["params must be real floating point, got bool", ".astype(float)"]),
        (U0 * 1j, ["params must be real floating point, got complex128"]),
        ({"w": [U0, 3]}, ["params['w'][1] must be real floating point, got int64"]),
        ({"w": U0, "name": "net"}, ["params['name'] must be an array, got str", "eqx.partition"]),
        ("weights", ["params must be an array, got str"]),
        ([jnp.sin], ["params[0] must be an array", "eqx.partition(model, eqx.is_inexact_array)"]),
        (jax.random.key(0), ["params must be real floating point, got key"]),
    ],
)
def test_params_of_a_wrong_type(params, fragments):
    iterate(TypeError, *fragments, params=params)


@pytest.mark.parametrize("params", [{}, [], None, {"a": None}])
def test_empty_params(params):
    iterate(ValueError, "params must have at least one array, got an empty pytree", params=params)


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
def test_params_that_are_not_finite(value):
    message = "params['b'] must be finite, got NaN or infinity: check the initial values"
    iterate(ValueError, message, params={"a": U0, "b": U0.at[1].set(value)})


def test_a_whole_network_is_told_to_be_partitioned():
    model = eqx.nn.MLP(2, 1, 3, 1, key=jax.random.key(0))
    iterate(TypeError, "params.activation must be an array", "eqx.partition", params=model)


@pytest.mark.parametrize(
    ("loss", "error", "fragments"),
    [
        (3, TypeError, ["loss must be a function of the params, got int", "pass params -> scalar"]),
        ("mse", TypeError, ["loss must be a function of the params, got str"]),
        (lambda u: u, ValueError, ["loss must return one scalar, got 1 array(s) of shape [(2,)]", "a mean"]),
        (lambda u: u[:1], ValueError, ["loss must return one scalar", "[(1,)]"]),
        (lambda u: (u.sum(), u), ValueError, ["got 2 array(s)", "no auxiliary output"]),
        (lambda u: (u.sum(),), ValueError, ["loss must return one scalar", "no auxiliary output"]),
        (lambda u: None, ValueError, ["loss must return one scalar, got 0 array(s)"]),
        (lambda u: u.sum() * 1j, TypeError, ["real floating-point scalar, got complex128", ".astype(float)"]),
        (lambda u: (u > 0).sum(), TypeError, ["real floating-point scalar, got int64"]),
    ],
)
def test_loss(loss, error, fragments):
    iterate(error, *fragments, loss=loss)


def test_loss_that_is_no_function():
    raises(TypeError, lambda: mf.iterate(HEAVY_BALL, None, U0, 4), "loss must be a function", "got NoneType")
    iterate(TypeError, "loss must be a function", "got int", loss=mf.VectorField(3))


@pytest.mark.parametrize(
    ("field", "error", "fragments"),
    [
        (lambda u: (u,), ValueError, ["the vector field's value must have the tree structure of params"]),
        (lambda u: u[:1], ValueError, ["value must have shape (2,) like params, got (1,)"]),
        (lambda u: u.astype(int), TypeError, ["value must be real floating point, got int64"]),
        (lambda u: u.astype("float32"), TypeError, ["the params' dtype float64, got float32", "cast it"]),
    ],
)
def test_vector_field(field, error, fragments):
    iterate(error, *fragments, loss=mf.VectorField(field))


@pytest.mark.parametrize(
    ("start", "suggestion"), [("manyfold", "manifold"), ("Rest", "rest"), ("resting", "rest")]
)
def test_unknown_start(start, suggestion):
    hint = f"did you mean {suggestion!r}"
    iterate(ValueError, f"unknown start {start!r}", hint, "known: rest, manifold", start=start, looks=1)


def test_start_of_another_structure_shape_or_type():
    wrong_rule = lambda method, loss, params: jnp.ones(3)  # noqa: E731
    structure = "the start velocity must have the tree structure of params"
    iterate(ValueError, structure, "jax.tree.map over params makes one", start=[U0], looks=1)
    iterate(ValueError, structure, start=None, looks=1)
    shape = "the start velocity must have shape (2,) like params, got (3,)"
    iterate(ValueError, shape, "reshape", start=jnp.ones(3), looks=1)
    iterate(ValueError, shape, start=wrong_rule, looks=1)
    path = "the start velocity['b'] must have shape (2,)"
    iterate(ValueError, path, params={"a": U0, "b": U0}, start={"a": U0, "b": 1.0}, looks=1)
    integer = "the start velocity must be real floating point, got int64"
    iterate(TypeError, integer, start=jnp.array([1, 2]), looks=1)


@pytest.mark.parametrize(
    "start", ["manifold", U0, lambda method, loss, params: params], ids=["name", "tree", "rule"]
)
def test_start_velocity_of_a_first_order_method(start):
    first_order = mf.rescaled_gradient_descent(0.1, 0.9)
    message = "RescaledGradientDescent has no velocity: its only start is 'rest'"
    iterate(ValueError, message, method=first_order, start=start, looks=1)


def test_manifold_start_for_momentum_that_varies():
    message = "NesterovSequence has momentum that varies with n and so no fixed invariant manifold"
    remedy = "start it from rest or from a given velocity"
    iterate(ValueError, message, remedy, method=mf.nesterov_sequence(0.1), start="manifold", looks=1)


@pytest.mark.parametrize("method", ["heavy_ball", mf.heavy_ball, None])
def test_a_method_that_is_none(method):
    iterate(
        TypeError, "method must be a linear-memory method, got", "call mf.heavy_ball(h, λ)", method=method
    )


def test_an_ensemble_is_not_a_method():
    for method in (mf.heavy_ball(jnp.array([0.1, 0.2]), 0.9), mf.nesterov(0.1, jnp.array([0.8, 0.9]))):
        iterate(ValueError, "constants must be scalars", "[(2,)]", "eqx.filter_vmap", method=method, steps=1)


# --- conversions ------------------------------------------------------------------------------------------


def test_from_physical():
    raises(ValueError, lambda: mf.from_physical(-1, 1.0, 1.0), "mass must be finite and >= 0, got -1")
    raises(
        ValueError, lambda: mf.from_physical(1.0, 0, 1.0), "friction must be finite and > 0, got 0", "be 1"
    )
    raises(ValueError, lambda: mf.from_physical(1.0, 1.0, NAN), "time_step must be finite and > 0, got nan")
    raises(TypeError, lambda: mf.from_physical("1", 1.0, 1.0), "must be a real number", "got '1'")


def test_to_physical():
    raises(ValueError, lambda: mf.to_physical(mf.nesterov(0.1, 0.9), 0.5), "lookahead 0.9", "use heavy_ball")
    raises(ValueError, lambda: mf.to_physical(HEAVY_BALL, 0.0), "time_step must be finite and > 0, got 0.0")


@pytest.mark.parametrize("convert", [mf.to_sgd, mf.from_sgd])
def test_sgd_of_another_method(convert):
    strange = mf.momentum_method(0.1, 0.9, 0.3)
    message = "lookahead must be 0 or the momentum 0.9, got 0.3"
    raises(ValueError, lambda: convert(strange, U0, U0), message, "nesterov=True")
    other = mf.nesterov_strongly_convex(0.1, 1.0)
    raises(
        TypeError, lambda: convert(other, U0, U0), "fixed momentum, got StronglyConvexMomentum", "heavy_ball"
    )


# --- abstract values --------------------------------------------------------------------------------------


def every_constructor(x):
    """All constructors and conversions at one number, valid or not."""
    for make in (*LEARNING_RATE.values(), *MOMENTUM.values(), *STRONG_CONVEXITY.values()):
        yield make(x)
    yield mf.momentum_method(0.1, 0.9, x)
    yield mf.LinearMemory([[x, 0.09], [0, 0.9]], GAIN, QUERY, x)
    yield mf.from_physical(x, x, x)
    yield mf.to_physical(mf.momentum_method(x, x, x), x)
    yield mf.to_sgd(mf.momentum_method(0.1, 0.9, x), U0, U0)


def test_an_abstract_value_is_never_judged():
    def build(x):
        return [eqx.filter(thing, eqx.is_array) for thing in every_constructor(x)]

    jax.make_jaxpr(build)(-1.0)
    assert all(x.shape == () for x in jax.tree.leaves(jax.eval_shape(build, NAN)[:3]))
    jax.vmap(build)(jnp.array([-1.0, 2.0]))


def test_a_number_written_inside_jit_is_judged():
    for bad in (
        lambda x: mf.heavy_ball(-0.1, x),
        lambda x: mf.nesterov(x, 1.5),
        lambda x: mf.heavy_ball_strongly_convex(10.0, 1.0),
        lambda x: mf.LinearMemory([[1, 0.09], [0.5, 0.9]], GAIN, QUERY, x),
        lambda x: mf.LinearMemory([[1, NAN], [0, 0.9]], GAIN, QUERY, x),
    ):
        with pytest.raises(ValueError, match="must be"):
            jax.make_jaxpr(lambda x, bad=bad: bad(x).time_step)(0.5)


def test_abstract_params_are_judged_by_shape_and_type_only():
    shape = jax.eval_shape(lambda u: mf.iterate(HEAVY_BALL, textbook.loss, u, 4).params, U0 * NAN).shape
    assert shape == (5, 2)
    with pytest.raises(TypeError, match="params must be real floating point, got int64"):
        jax.make_jaxpr(lambda u: mf.iterate(HEAVY_BALL, textbook.loss, u, 4).params)(jnp.array([1, 2]))


# --- the ground -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "fragments"),
    [
        (jnp.zeros((2, 2)), ["times must be a non-empty vector, got shape (2, 2)"]),
        (jnp.zeros(0), ["times must be a non-empty vector, got shape (0,)"]),
        (jnp.array([-1.0, 1.0]), ["finite and >= 0, got -1.0 ... 1.0", "starts at t = 0"]),
        (jnp.array([0.0, NAN]), ["finite and >= 0, got 0.0 ... nan"]),
        (
            jnp.array([0.0, 2.0, 2.0]),
            ["strictly increasing, got 2.0 then 2.0 at positions 1, 2", "sort them"],
        ),
    ],
)
def test_times(times, fragments):
    raises(ValueError, lambda: _validate.increasing_times(times), *fragments)


def test_times_that_are_good_or_abstract():
    _validate.increasing_times(np.array([0.0, 1.0, 3.0]))
    _validate.increasing_times(np.array([2.0]))
    jax.make_jaxpr(lambda t: _validate.increasing_times(t) or t)(jnp.array([1.0, 0.0]))


def test_unknown_without_a_near_one():
    assert str(_validate.unknown("id", "x", [])) == "unknown id 'x': known: "


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (NON_FINITE, "not finite from step 7"),
        (STEP_LIMIT, "the solver reached its limit of steps from step 7"),
        (SOLVER_FAILED, "the solver's step size underflowed or its nonlinear solve failed from step 7"),
    ],
)
def test_outcomes(status, text):
    assert mf.Trajectory(jnp.zeros(1), U0, None, jnp.array(7), jnp.array(status)).outcome == text


def test_an_unknown_public_name():
    with pytest.raises(AttributeError, match="has no attribute 'heavyball'"):
        mf.heavyball  # noqa: B018
    assert set(mf.__all__) <= set(dir(mf))
