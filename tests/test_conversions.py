"""The same run in optax's, PyTorch's and Qian's words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import textbook
from hypothesis import given
from hypothesis import strategies as st

import momentumflow as mf

STEPS = 12
METHODS = {"heavy ball": (mf.heavy_ball, False), "nesterov": (mf.nesterov, True)}
EPSILON = {"float32": 2e-7, "float64": 4e-16}  # twice the unit roundoff; close allows ten of them
INPUTS = np.random.default_rng(1).normal(size=(4, 3))


def network(dtype):
    rng = np.random.default_rng(2)
    shapes = {"weight": (3, 2), "bias": (2,), "gain": ()}
    return {name: jnp.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}


def loss(p):
    hidden = jnp.tanh(INPUTS.astype(p["weight"].dtype) @ p["weight"] + p["bias"])
    return jnp.sum((p["gain"] * hidden - 1) ** 2) / 4


def sgd_of(method, trajectory):
    return mf.to_sgd(method, trajectory.params, trajectory.velocity)


def close(actual, expected, epsilon):
    for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert jnp.asarray(x).dtype == jnp.asarray(y).dtype
        np.testing.assert_allclose(x, y, rtol=10 * epsilon, atol=10 * epsilon)


def optax_run(h, lam, nesterov, params):
    optax = pytest.importorskip("optax")
    optimiser = optax.sgd(h, momentum=lam, nesterov=nesterov)
    state = optimiser.init(params)

    def step(carry, _):
        params, state = carry
        updates, state = optimiser.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, state[0].trace)

    return jax.lax.scan(step, (params, state), None, length=STEPS)[1]


def torch_run(h, lam, nesterov, params):
    torch = pytest.importorskip("torch")
    leaves = {name: torch.nn.Parameter(torch.tensor(np.array(x))) for name, x in params.items()}
    optimiser = torch.optim.SGD(leaves.values(), lr=h, momentum=lam, dampening=0, nesterov=nesterov)
    inputs = torch.tensor(INPUTS).to(leaves["weight"].dtype)
    points, buffers = [], []
    for _ in range(STEPS):
        optimiser.zero_grad()
        hidden = torch.tanh(inputs @ leaves["weight"] + leaves["bias"])
        (((leaves["gain"] * hidden - 1) ** 2).sum() / 4).backward()
        optimiser.step()
        points.append({name: p.detach().numpy().copy() for name, p in leaves.items()})
        buffers.append({n: optimiser.state[p]["momentum_buffer"].numpy().copy() for n, p in leaves.items()})
    return tuple(jax.tree.map(lambda *xs: np.stack(xs), *trees) for trees in (points, buffers))


PEERS = pytest.mark.parametrize("peer", [optax_run, torch_run], ids=["optax", "torch"])


@PEERS
@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize("name", METHODS)
def test_to_sgd_is_what_the_peer_stores_at_every_step(peer, name, dtype):
    make, nesterov = METHODS[name]
    method, params = make(0.05, 0.9), network(dtype)
    trajectory = mf.iterate(method, loss, params, STEPS)
    points, buffers = sgd_of(method, trajectory)
    close(jax.tree.map(lambda x: x[0], points), params, EPSILON[dtype])  # at rest the look-ahead is u_0
    stored = peer(0.05, 0.9, nesterov, params)
    close(jax.tree.map(lambda x: x[1:], (points, buffers)), stored, EPSILON[dtype])


@PEERS
@pytest.mark.parametrize("name", METHODS)
def test_from_sgd_takes_over_a_peers_run(peer, name):
    make, nesterov = METHODS[name]
    method, params = make(0.05, 0.9), network("float64")
    trajectory = mf.iterate(method, loss, params, STEPS)
    stored = jax.tree.map(lambda x: jnp.asarray(x[4]), peer(0.05, 0.9, nesterov, params))  # after 5 steps
    u, v = mf.from_sgd(method, *stored)
    onwards = mf.iterate(method, loss, u, STEPS - 5, start=v)
    close(onwards.params, jax.tree.map(lambda x: x[5:], trajectory.params), EPSILON["float64"])


def test_nesterov_stores_the_lookahead_point_not_the_iterate():
    method, params = mf.nesterov(0.05, 0.9), network("float64")
    trajectory = mf.iterate(method, loss, params, STEPS)
    points, _ = sgd_of(method, trajectory)
    assert jnp.abs(points["bias"][1:] - trajectory.params["bias"][1:]).min() > 1e-4


@given(h=st.floats(1e-3, 1.0), lam=st.floats(0, 0.99), scale=st.floats(-5, 5))
def test_to_sgd_and_from_sgd_are_inverse(h, lam, scale):
    u, v = network("float64"), jax.tree.map(lambda x: scale * jnp.cos(x), network("float64"))
    for method in (mf.heavy_ball(h, lam), mf.nesterov(h, lam)):
        close(mf.from_sgd(method, *mf.to_sgd(method, u, v)), (u, v), 1e-15)
        close(mf.to_sgd(method, *mf.from_sgd(method, u, v)), (u, v), 1e-15)


@given(mass=st.floats(0, 10), friction=st.floats(0.01, 10), dt=st.floats(0.01, 10))
def test_qians_map_there_and_back(mass, friction, dt):
    method = mf.from_physical(mass, friction, dt)
    back = mf.to_physical(method, dt)
    np.testing.assert_allclose(back, (mass, friction), rtol=1e-9, atol=1e-9)


@given(epsilon=st.floats(1e-3, 1.0), p=st.floats(0, 0.99), dt=st.floats(0.01, 10))
def test_qians_map_back_and_there(epsilon, p, dt):
    mass, friction = mf.to_physical(mf.heavy_ball(epsilon, p), dt)
    method = mf.from_physical(mass, friction, dt)
    np.testing.assert_allclose((method.learning_rate, method.momentum), (epsilon, p), rtol=1e-9, atol=1e-12)


@given(mass=st.floats(0, 5), friction=st.floats(0.5, 5), dt=st.floats(0.02, 0.5))
def test_from_physical_is_the_discretisation_3_of_newtons_law(mass, friction, dt):
    """m (w₊ - 2w + w₋)/Δt² + m̃u (w₊ - w)/Δt = -∇E(w), solved for w₊: Qian (1999), poster eq. (2), (3)."""
    before = now = textbook.START
    points = [now]
    for _ in range(STEPS):
        inertia, drag = mass / dt**2, friction / dt
        ahead = (inertia * (2 * now - before) + drag * now - textbook.gradient(now)) / (inertia + drag)
        before, now = now, ahead
        points.append(now)
    method = mf.from_physical(mass, friction, dt)
    trajectory = mf.iterate(method, textbook.loss, jnp.asarray(textbook.START), STEPS)
    np.testing.assert_allclose(trajectory.params, np.stack(points), rtol=1e-11, atol=1e-11)


def test_the_posters_numbers():
    method = mf.from_physical(mass=2.0, friction=4.0, time_step=0.5)
    assert (method.learning_rate, method.momentum) == (0.25 / 4, 2 / 4)  # (4), (5) by hand


def test_conversions_of_an_ensemble_and_of_traced_values():
    epsilons = jnp.array([0.1, 0.2])
    mass, friction = jax.jit(lambda e: mf.to_physical(mf.heavy_ball(e, 0.9), 0.5))(epsilons)
    np.testing.assert_allclose(mass, 0.25 * 0.9 / epsilons)
    np.testing.assert_allclose(friction, 0.5 * 0.1 / epsilons)
    back = jax.jit(jax.vmap(lambda m, f: mf.from_physical(m, f, 0.5)))(mass, friction)
    np.testing.assert_allclose(back.learning_rate, epsilons)
    points, _ = jax.jit(lambda h: mf.to_sgd(mf.nesterov(h, 0.9), jnp.ones(2), jnp.ones(2)))(0.1)
    np.testing.assert_allclose(points, 1.09)
    assert (
        mf.to_physical(mf.momentum_method(0.1, 0.9, 0.0), 0.5)[0] == 0.25 * 0.9 / 0.1
    )  # 0.0 is no look-ahead
