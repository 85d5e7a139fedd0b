"""The check of derivatives passes what is smooth and catches what is not, or whose rule is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import momentumflow as mf

KEY = jax.random.key(1)
X = jax.random.normal(jax.random.key(2), (64, 3))
PARAMS = {"inner": jax.random.normal(jax.random.key(3), (3, 8)), "outer": jnp.linspace(-1, 1, 8)}


def network(activation):
    return lambda p: jnp.mean((activation(X @ p["inner"]) @ p["outer"] - jnp.sin(X[:, 0])) ** 2)


@jax.custom_jvp
def frozen(x):
    return jnp.tanh(x)


@frozen.defjvp
def _(primals, tangents):
    """Right once: the derivative of the rule is lost."""
    (x,), (dx,) = primals, tangents
    return frozen(x), jax.lax.stop_gradient(1 - jnp.tanh(x) ** 2) * dx


@jax.custom_jvp
def frozen_later(x):
    return jnp.tanh(x)


@frozen_later.defjvp
def _(primals, tangents):
    """Right twice: the first derivative is the network's own function, wrong only in its second one."""
    (x,), (dx,) = primals, tangents
    return frozen_later(x), (1 - frozen(x) ** 2) * dx


def test_a_smooth_network_passes():
    check = mf.check_derivatives(network(jax.nn.softplus), PARAMS, 2, KEY)
    assert check.ok.all()
    assert check.trusted_order == 3
    assert np.all(check.differences < [1e-5, 1e-9])  # error O(ε⁴), and rounding at the fine width


def test_logaddexp_and_a_vector_field_pass():
    """custom_jvp functions of JAX, and dynamics that are no gradient."""
    field = mf.VectorField(lambda u: jnp.logaddexp(u, -2 * u[::-1]) * u)
    check = mf.check_derivatives(field, jnp.array([1.0, -0.4, 2.0]), 2, KEY)
    assert check.trusted_order == 3
    assert "agree: models up to order 3" in str(check)


@pytest.mark.parametrize(("activation", "trusted"), [(frozen, 1), (frozen_later, 2)])
def test_a_wrong_rule_is_caught_where_it_begins(activation, trusted):
    check = mf.check_derivatives(network(activation), PARAMS, trusted, KEY)
    assert check.trusted_order == trusted
    assert f"disagree from derivative {trusted} of f on" in str(check)
    assert "custom derivative rule is wrong" in str(check)
    assert f"Models above order {trusted}" in str(check)


def test_a_relu_network_is_not_smooth():
    """Its f jumps: already f' leaves the jumps out."""
    check = mf.check_derivatives(network(jax.nn.relu), PARAMS, 1, KEY)
    assert check.trusted_order == 1
    assert "kinks" in str(check)


def test_kinks_at_a_distance_are_seen_by_the_coarse_width_only():
    """|x|³ is twice differentiable: f' is right, f'' jumps at 0; the nearest 0 is 0.1 % away."""
    loss = lambda u: jnp.sum(jnp.abs(u - jnp.array([1.001, 0.0])) ** 3)  # noqa: E731
    check = mf.check_derivatives(loss, jnp.array([1.0, 2.0]), 2, KEY)
    assert check.trusted_order == 2
    assert "kinks within 1e-02 of these params" in str(check)
    assert mf.check_derivatives(loss, jnp.array([1.0, 2.0]), 2, KEY, step=1e-3 / 4).trusted_order == 3


def test_derivatives_that_vanish_pass_within_rounding():
    check = mf.check_derivatives(lambda u: jnp.sum(u**2), jnp.ones(2), 2, KEY)
    assert check.ok.all()
    assert "0 within tolerance" in str(check)
    assert mf.check_derivatives(lambda u: jnp.sum(u**4), jnp.zeros(2), 2, KEY).ok.all()


def test_a_flat_point_passes_and_a_kink_there_does_not():
    """f' of Σu⁶ is 0 and its difference O(ε⁴); f' of Σ|u|³ is 0 as well, f'' jumps; of Σ|u|, f."""
    origin = jnp.zeros(3)
    check = mf.check_derivatives(lambda u: jnp.sum(u**6), origin, 2, KEY)
    assert check.ok.all()
    assert np.all(check.differences[0] > 0.99)  # beside each other they tell nothing
    assert mf.check_derivatives(lambda u: jnp.sum(jnp.abs(u) ** 3), origin, 2, KEY).ok.tolist() == [
        True,
        False,
    ]
    assert not mf.check_derivatives(lambda u: jnp.sum(jnp.abs(u)), origin, 1, KEY).ok.any()


def test_single_precision_passes():
    params = jax.tree.map(lambda x: x.astype(jnp.float32), PARAMS)
    loss = lambda p: jnp.sum(jnp.tanh(p["inner"]) @ p["outer"]) ** 2  # noqa: E731
    assert mf.check_derivatives(loss, params, 1, KEY).ok.all()


def test_not_a_number_does_not_pass():
    check = mf.check_derivatives(lambda u: jnp.sum(jnp.sqrt(u)), jnp.array([1e-9, 1.0]), 1, KEY)
    assert not check.ok.any()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"order": 0}, "order must be an integer >= 1, got 0"),
        ({"order": 1, "step": 0.0}, "step must be finite and > 0"),
        ({"order": 1, "step": 2.0}, "step must be < 1, got 2.0"),
    ],
)
def test_bad_input(how, words):
    with pytest.raises(ValueError, match=words):
        mf.check_derivatives(lambda u: jnp.sum(u**2), jnp.ones(2), key=KEY, **how)
