"""The principal flow: exact on quadratics in every regime, its limits, Lanczos against the dense Hessian, refusals.

Independent route: the iterates of (15), and scipy's exponential of the field's matrix, which no solver touches.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

import momentumflow as mf
from momentumflow.linear.family import flow_limit, slow_limit

H, STEPS, D = 0.1, 24, 6
BASIS = np.linalg.qr(np.random.default_rng(1).normal(size=(D, D)))[0]
METHODS = {"HB": (0.9, 0.0), "NAG": (0.9, 0.9), "a = 1/4": (0.5, 0.25), "a > λ": (0.3, 0.4)}
VELOCITIES = {"rest": np.zeros(D), "velocity": np.random.default_rng(2).normal(size=D)}
START = np.ones(D)


@eqx.filter_jit
def matrix_of(flow, x):
    """The matrix of the linear field on a quadratic of eigenvalues x/h in a turned basis."""
    field = flow.field(mf.Quadratic(x / H, BASIS))
    rows = 2 if flow.phase else 1
    return jax.vmap(lambda z: jnp.concatenate(field(0.0, tuple(jnp.split(z, rows)))))(jnp.eye(rows * D)).T


@eqx.filter_jit
def begin(flow, x, velocity):
    return jnp.concatenate(flow.initial_state(mf.Quadratic(x / H, BASIS), jnp.asarray(START), velocity))


@eqx.filter_jit
def iterates(method, x, velocity):
    run = mf.iterate(method, mf.Quadratic(x / H, BASIS), jnp.asarray(START), STEPS, velocity)
    return run.params, run.velocity


def flow_at_steps(flow, x, velocity):
    """u(nh), by powers of one exponential."""
    step = expm(np.array(matrix_of(flow, x)) * H)
    states = [np.array(begin(flow, x, velocity))]
    for _ in range(STEPS):
        states.append(step @ states[-1])
    return np.array(states)


def method_of(name):
    lam, a = METHODS[name]
    return mf.momentum_method(H, lam, a), float(slow_limit(lam, a)), float(flow_limit(lam, a))


def regimes(low, high):
    """hk: negative, almost 0, just below and above x₋, rippling, close to x₊."""
    return jnp.array([-0.2, 1e-9, low * (1 - 1e-6), low * (1 + 1e-6), (low + high) / 2, 0.98 * high])


def close(found, expected, tolerance=1e-12):
    sizes = np.maximum(1, np.maximum.accumulate(np.abs(expected).max(1, keepdims=True)))
    assert np.max(np.abs(found - expected) / sizes) < tolerance


@pytest.mark.parametrize("velocity", VELOCITIES.values(), ids=VELOCITIES)
@pytest.mark.parametrize("name", METHODS)
def test_it_passes_through_every_iterate_of_a_quadratic(name, velocity):
    method, low, high = method_of(name)
    x = regimes(low, high)
    u, v = iterates(method, x, velocity)
    found = flow_at_steps(mf.PrincipalFlow(method), x, velocity)
    close(found[:, :D], np.array(u), 4e-12)
    close(found[:, D:], np.array(v), 4e-12)


@pytest.mark.parametrize(("name", "x"), [("NAG", 1.2), ("HB", 3.799), ("HB", 4.1)])
def test_beyond_the_limit_it_passes_through_every_second_iterate(name, x):
    method, low, high = method_of(name)
    eigenvalues = regimes(low, high).at[-1].set(x)
    u, _ = iterates(method, eigenvalues, VELOCITIES["velocity"])
    flow = mf.PrincipalFlow(method, every_second=True)
    found = flow_at_steps(flow, eigenvalues, VELOCITIES["velocity"])[:, :D] @ BASIS
    close(found[::2], np.array(u @ BASIS)[::2], 4e-12)
    assert np.abs(found - u @ BASIS)[1::2, -1].max() > 0.1
    close(found[:, :-1], np.array(u @ BASIS)[:, :-1], 4e-12)  # the modes below the limit: every iterate


def slow_part(x, lam, a, velocity):
    """Of the iterates, mode by mode, by numpy's eigenvectors of the step on (u, hv)."""
    modes = []
    for k, u, v in zip(np.asarray(x), BASIS.T @ START, BASIS.T @ velocity, strict=True):
        rho, vectors = np.linalg.eig([[1 - k, lam - k * a], [-k, lam - k * a]])
        slow = np.argmax(rho)
        weight = np.linalg.solve(vectors, [u, H * v])[slow] * vectors[0, slow]
        modes.append(weight * rho[slow] ** np.arange(STEPS + 1))
    return np.array(modes).T @ BASIS.T


@pytest.mark.parametrize("velocity", VELOCITIES.values(), ids=VELOCITIES)
@pytest.mark.parametrize("name", METHODS)
def test_to_first_order_it_is_the_slow_part_of_the_iterates(name, velocity):
    method, low, _ = method_of(name)
    x = low * jnp.array([-5.0, -0.1, 1e-9, 0.3, 0.7, 0.95])
    found = flow_at_steps(mf.PrincipalFlow(method, phase=False), x, velocity)
    close(found, slow_part(x, *METHODS[name], velocity), 1e-11)


@pytest.mark.parametrize("x", [[-1.0, 1e-9, 0.2, 0.5, 0.9, 0.999], [0.5, 1.1, 1.5, 1.9, 2.0, 2.1]])
def test_without_momentum_it_follows_gradient_descent(x):
    """Rosca et al.'s flow; beyond hk = 1 at every second iterate."""
    method, x = mf.momentum_method(H, 0.0, 0.0), jnp.array(x)
    u, _ = iterates(method, x, VELOCITIES["rest"])
    flow = mf.PrincipalFlow(method, every_second=True)
    assert not flow.phase
    every = 2 if x[1] > 1 else 1
    close(flow_at_steps(flow, x, VELOCITIES["rest"])[::every], np.array(u)[::every])


NETWORK = mf.Autoencoder((5, 3), hidden="tanh", code="tanh")
IMAGES = jnp.asarray(np.random.default_rng(3).uniform(size=(7, 5)))


@eqx.filter_jit
def network_rates(flow, params):
    force = jax.grad(NETWORK.loss)(params, IMAGES)
    velocity = jax.tree.map(lambda g: -0.5 * g + 0.1, force)
    state = (params, velocity) if flow.phase else (params,)
    return flow.field(lambda u: NETWORK.loss(u, IMAGES))(0.0, state)


@pytest.mark.parametrize("phase", [True, False])
def test_lanczos_is_the_dense_flow_on_a_network(phase):
    """38 params; the gradient's Krylov space is deep enough after a few products, and exact at the dimension."""
    params = NETWORK.init(jax.random.key(0), float)
    method = mf.nesterov(0.3, 0.5) if phase else mf.nesterov(0.02, 0.5)

    def rates(depth):
        found = network_rates(mf.PrincipalFlow(method, phase, depth), params)
        return np.concatenate([np.ravel(x) for x in jax.tree.leaves(found)])

    dense = rates(None)
    errors = [np.abs(rates(depth) - dense).max() / np.abs(dense).max() for depth in (2, 6, 100)]
    assert errors[0] > 100 * errors[1]
    assert errors[1] < 1e-5
    assert errors[2] < 1e-11


class Quartic(eqx.Module):
    """Σ ½k u² + ¼c u⁴, whose curvature grows with |u|; counts how often it is traced."""

    k: jax.Array
    c: jax.Array
    traced = 0

    def __call__(self, u):
        Quartic.traced += 1
        return jnp.sum(self.k * u**2 / 2 + self.c * u**4 / 4)


def run(learning_rate, lookahead, c, velocity):
    """The method's iterates at t = 0, 1/4, …, 1 and the model's solution."""
    loss = Quartic(jnp.array([1.0, 2.0]), jnp.array(c))
    method = mf.momentum_method(learning_rate, 0.9, lookahead)
    u, v = jnp.array([0.1, 0.2]), jnp.array(velocity)
    flow = mf.solve(mf.PrincipalFlow(method), loss, u, jnp.linspace(0.0, 1.0, 5), v)
    return flow, mf.iterate(method, loss, u, 20, v).params[::5]


def test_the_solver_follows_it_without_a_second_trace_and_a_path_beyond_the_limit_is_an_outcome():
    flow, expected = run(0.05, 0.9, 0.0, [0.3, 0.0])
    assert np.allclose(flow.params, expected, atol=1e-9)
    before = Quartic.traced
    assert run(0.06, 0.0, 1.0, [0.0, 0.0])[0].outcome == "completed"
    thrown, _ = run(0.05, 0.0, 8.0, [0.0, 200.0])  # up to where hk = h(2 + 24u²) > x₊
    assert Quartic.traced - before <= 4  # the shape of the loss, at most once a call
    assert thrown.outcome != "completed"
    assert jnp.isfinite(thrown.params[0]).all()


def test_an_ensemble_of_methods_and_a_derivative():
    def speed(lam, k):
        flow = mf.PrincipalFlow(mf.heavy_ball(H, lam))
        loss = mf.Quadratic(jnp.array([1.0, 2.0]) * k)
        flow.check(loss, jnp.ones(2))  # nothing to see under a transformation
        return jnp.sum(flow.field(loss)(0.0, (jnp.ones(2), jnp.ones(2)))[1])

    lams = jnp.array([0.5, 0.9])
    both = jax.jit(jax.vmap(speed, (0, None)))(lams, 3.0)
    one = jax.jit(jax.value_and_grad(speed, argnums=1))
    value, slope = map(float, one(0.9, 3.0))
    assert float(both[1]) == pytest.approx(value, rel=1e-13)
    assert slope == pytest.approx(float(one(0.9, 3.0 + 1e-5)[0] - one(0.9, 3.0 - 1e-5)[0]) / 2e-5, rel=1e-7)


def test_single_precision_stays():
    flow, loss = mf.PrincipalFlow(mf.nesterov(H, 0.9), depth=2), lambda u: jnp.sum(u**4)
    u = jnp.ones(3, jnp.float32)
    assert {x.dtype for x in jax.eval_shape(flow.field(loss), 0.0, (u, u))} == {jnp.dtype("float32")}


def check(method, eigenvalue, **arguments):
    mf.PrincipalFlow(method, **arguments).check(mf.Quadratic([1.0, eigenvalue]), jnp.ones(2))


ROTATION = mf.VectorField(lambda u: jnp.stack([-u[1], u[0]]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: check(mf.nesterov(H, 0.9), 12.0),
            r"hk must be below x₊ = 1 for every .* k = 12, hk = 1.2: .*orient",
        ),
        (
            lambda: check(mf.heavy_ball(H, 0.9), 37.98),
            r"below x₊ = 3.79737 .* hk = 3.798: .*flip.*every_second=True",
        ),
        (
            lambda: check(mf.heavy_ball(H, 0.9), 1.0, phase=False),
            r"below x₋ = 0.0026334 .*use phase=True, Inertial",
        ),
        (
            lambda: check(mf.gradient_descent(H), 15.0),
            r"below x₋ = 1 .* k = 15, hk = 1.5: .*use every_second=True",
        ),
        (
            lambda: check(mf.nesterov(H, 0.9), 12.0, depth=2),
            r"x₊ = 1 for every eigenvalue .* k = 12, hk = 1.2",
        ),
        (lambda: mf.PrincipalFlow(mf.gradient_descent(H), phase=True), "momentum must be > 0 .* phase=False"),
        (lambda: mf.PrincipalFlow(mf.heavy_ball(H, 0.9), depth=0), "depth must be an integer >= 1, got 0"),
        (
            lambda: mf.PrincipalFlow(mf.heavy_ball(H, 0.9)).check(lambda u: jnp.sum(u**2), jnp.ones(65)),
            "depth must be given for more than 64 params, got 65 params: depth=20",
        ),
        (
            lambda: mf.PrincipalFlow(mf.heavy_ball(H, 0.9)).check(ROTATION, jnp.ones(2)),
            "must have a loss, got a VectorField: .* PhaseFlow and SlowFlow take any field",
        ),
    ],
)
def test_it_refuses(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_it_refuses_before_a_solve_and_other_methods():
    with pytest.raises(ValueError, match=r"hk = 1\.2"):
        mf.solve(mf.PrincipalFlow(mf.nesterov(H, 0.9)), mf.Quadratic([12.0]), jnp.ones(1), jnp.ones(1))
    with pytest.raises(TypeError, match="PrincipalFlow is stated for the family"):
        mf.PrincipalFlow(mf.rescaled_gradient_descent(H, 0.9))


@pytest.mark.parametrize(
    ("method", "eigenvalue", "arguments"),
    [
        (mf.nesterov(H, 0.9), 9.99, {}),
        (mf.nesterov(H, 0.9), 12.0, {"every_second": True}),
        (mf.heavy_ball(H, 0.9), 37.9, {}),
        (mf.heavy_ball(0.001, 0.9), 2.6, {"phase": False}),
        (mf.gradient_descent(H), -50.0, {}),
    ],
)
def test_below_the_limits_it_refuses_nothing(method, eigenvalue, arguments):
    check(method, eigenvalue, **arguments)
