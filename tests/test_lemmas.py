"""Lemma 8 on solutions of (11), and the twelve inequalities of Lemma 12 on random losses and graphs."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import momentumflow as mf
from momentumflow.theory.lemma_8 import largest_rate_of_theorem_3

# --- Lemma 8

CASES = [  # problem, u₀, u̇(0), λ, a, h over the largest that the lemma allows
    (mf.Cosine(2), (1.0, -2.5), (0.0, 0.0), 0.5, 0.0, 1.0),
    (mf.Cosine(2), (1.0, -2.5), (3.0, -8.0), 0.9, 0.9, 1.0),
    (mf.LogCosh([1.0, 2.0]), (1.2, -0.8), (0.0, 0.0), 0.9, 0.0, 0.5),
    (mf.LogCosh([1.0, 2.0]), (0.1, 0.2), (-5.0, 7.0), 0.5, 0.5, 0.1),
    (mf.BoundedValley(), (-1.0, 0.5), (0.0, 0.0), 0.5, 0.0, 1.0),
    (mf.BoundedValley(), (0.2, 1.5), (2.0, -9.0), 0.8, 0.8, 0.3),
]
LAYERS = np.concatenate([[0], np.geomspace(1e-4, 40, 60), np.linspace(45, 400, 60)])


def field(problem):
    return lambda u: -jax.grad(problem)(u)


def derivatives(problem, method, u, v):
    """|u̇|, |ü|, |u⃛| from (11) and its derivative in time."""
    mass, damping = method.learning_rate * method.inertia, 1 - method.momentum
    force, bent = jax.jit(jax.vmap(lambda u, v: jax.jvp(field(problem), (u,), (v,))))(u, v)
    second = (force - damping * v) / mass
    third = (bent - damping * second) / mass
    return tuple(np.linalg.norm(x, axis=-1) for x in (v, second, third))


def solved(problem, method, start, velocity, times):
    """u and u̇ of (11) by scipy, in units of the width of the layer."""
    f = jax.jit(field(problem))
    mass, damping = float(method.learning_rate * method.inertia), 1 - float(method.momentum)

    def rate(_, y):
        u, v = np.split(y, 2)
        return np.concatenate([v, (np.asarray(f(u)) - damping * v) / mass])

    y0 = np.concatenate([start, velocity])
    y = solve_ivp(rate, (0, times[-1]), y0, "DOP853", times, rtol=1e-9, atol=1e-12).y
    return tuple(jnp.asarray(part.T) for part in np.split(y, 2))


@pytest.fixture(
    scope="module", params=CASES, ids=lambda case: f"{type(case[0]).__name__}-{case[3]}-{case[4]}"
)
def solution(request):
    """The bounds of Lemma 8, the derivatives that they bound, and the times, along one solution of (11)."""
    problem, start, velocity, momentum, lookahead, fraction = request.param
    bounds, u0, v0 = problem.bounds(math.inf), jnp.array(start), jnp.array(velocity)
    h = fraction * float(largest_rate_of_theorem_3(bounds.B1, momentum, lookahead))
    method = mf.momentum_method(h, momentum, lookahead)
    times = h * float(method.inertia) / (1 - momentum) * LAYERS
    u, v = solved(problem, method, start, velocity, times)
    found = mf.derivative_bounds(bounds, method, field(problem)(u0), v0)
    return found, derivatives(problem, method, u, v), times


def test_lemma_8_bounds_the_derivatives(solution):
    found, measured, times = solution
    for value, bound in zip(measured, found.at(times), strict=True):
        assert np.max(np.asarray(value / bound)) <= 1 + 1e-9


def test_lemma_8_needs_its_layer(solution):
    """ü and u⃛ at t = 0 are of order 1/h and 1/h²: the constant parts alone do not bound the first."""
    found, (_, second, third), _ = solution
    h, (C1, C2), (D1, D2) = found.learning_rate, found.second, found.third
    assert float(second[0]) == pytest.approx(float(C1 / h), rel=1e-9)
    assert float(second[0] / (C1 / h + C2)) > 0.15
    assert float(third[0] / (D1 / h**2 + D2)) > 0.02


def test_the_layer_of_lemma_8_is_tight():
    """f(u) = -u from rest: ü ~ 1/h and u⃛ ~ 1/h² in the layer, |u̇| and |ü| ~ 1 behind it, as h → 0."""
    problem, u0 = mf.Quadratic([1.0]), jnp.ones(1)
    for h in (1e-3, 1e-5):
        method = mf.heavy_ball(h, 0.5)
        found = mf.derivative_bounds(mf.Bounds(1.0, 1.0, 0.0), method, -u0, jnp.zeros(1))
        measured = derivatives(problem, method, u0[None], jnp.zeros((1, 1)))
        ratios = [
            float(value[0] / bound[0]) for value, bound in zip(measured, found.at(np.zeros(1)), strict=True)
        ]
        assert ratios[1:] == pytest.approx([1.0, 1.0], abs=30 * h)


def test_G_of_lemma_8_is_the_corrected_one():
    """z = ẇ satisfies ż = -((1-λ)/(hα))z - λ̄f'z + G with G = -λ̄f'f'v - f''[v, v], not with the printed one."""
    problem, method = mf.BoundedValley(), mf.momentum_method(0.01, 0.6, 0.3)
    f, mass = field(problem), method.learning_rate * method.inertia
    damping, bar = 1 - method.momentum, method.amplification

    def w(u, v):
        return damping * v - f(u)

    def along(function):
        """The derivative of a function of (u, v) along (11)."""
        return lambda u, v: jax.jvp(function, (u, v), (v, -w(u, v) / mass))[1]

    @jax.jit
    def both(u, v):
        z = along(w)
        Df, bend = jax.jacfwd(f)(u), jax.jacfwd(jax.jacfwd(f))(u)
        G = along(z)(u, v) + damping / mass * z(u, v) + bar * Df @ z(u, v)
        corrected = -bar * Df @ (Df @ v) - (bend @ v) @ v
        printed = -bar * (Df @ (Df @ v) + (bend @ v) @ w(u, v) + (bend @ (Df @ v)) @ f(u))
        return G, corrected, printed

    G, corrected, printed = both(jnp.array([0.3, -0.4]), jnp.array([1.5, -0.7]))
    assert np.allclose(G, corrected, rtol=1e-10)
    assert not np.allclose(G, printed, rtol=1e-2)


def test_lemma_8_says_up_to_which_h():
    bounds, one = mf.Cosine().bounds(math.inf), jnp.ones(1)
    with pytest.raises(
        ValueError, match=r"learning_rate must be at most \(1-λ\)²/\(2αB₁\) = 0.005263.*got 0.01"
    ):
        mf.derivative_bounds(bounds, mf.heavy_ball(0.01, 0.9), one, one)
    with pytest.raises(ValueError, match=r"the inertia .* must be finite and > 0, got -0\.1"):
        mf.derivative_bounds(bounds, mf.momentum_method(0.01, 0.2, 0.875), one, one)
    with pytest.raises(ValueError, match=r"B0 must be finite and >= 0, got inf: .*bounds\(radius\)"):
        mf.derivative_bounds(mf.Quadratic([1.0]).bounds(math.inf), mf.heavy_ball(0.01, 0.9), one, one)


# --- Lemma 12

WAVES, CASES_12 = 3, 1500
NODES, WEIGHTS = ((np.polynomial.legendre.leggauss(8)[0] + 1) / 2, np.polynomial.legendre.leggauss(8)[1] / 2)


class Waves(eqx.Module):
    """Σ_j amplitude_j cos(wave_j · u + phase_j), of bounds that are known; amplitudes are numbers or vectors."""

    amplitudes: jax.Array
    waves: jax.Array
    phases: jax.Array

    def __call__(self, u):
        return jnp.cos(self.waves @ u + self.phases) @ self.amplitudes

    def bound(self, order):
        sizes = jnp.linalg.norm(self.amplitudes.reshape(len(self.phases), -1), axis=1)
        return jnp.sum(sizes * jnp.linalg.norm(self.waves, axis=1) ** order)


def random_waves(key, vector, space):
    """Few waves, often one only, so that some bounds are nearly attained."""
    keys = jax.random.split(key, 4)
    alone = jnp.where(jax.random.bernoulli(keys[3]), jnp.arange(WAVES) == 0, 1.0)
    amplitudes = alone[:, None] * jax.random.normal(keys[0], (WAVES, 2)) * space
    waves = jax.random.normal(keys[1], (WAVES, 2)) * space
    phases = jax.random.uniform(keys[2], (WAVES,), maxval=2 * jnp.pi)
    return Waves(amplitudes if vector else amplitudes[:, 0], waves, phases)


def integral(f, xi, step, direction):
    """∫₀¹ Df(ξ + s step) direction ds by Gauss' rule."""
    values = jax.vmap(lambda s: jax.jvp(f, (xi + s * step,), (direction,))[1])(jnp.asarray(NODES))
    return jnp.asarray(WEIGHTS) @ values


def ratios(key):
    """The twelve left-hand sides over their right-hand sides, for one random setting in one or two dimensions."""
    keys = jax.random.split(key, 8)
    space = jnp.array([1.0, 1.0 * jax.random.bernoulli(keys[5])])
    problem, g, q = (random_waves(k, vector, space) for k, vector in zip(keys, (0, 1, 1), strict=False))
    bounds = mf.Bounds(*(problem.bound(j) for j in (1, 2, 3)))
    lam, a, fraction = jax.random.uniform(keys[3], (3,), maxval=jnp.array([0.95, 1.2, 1.0]))
    a = a * jax.random.bernoulli(keys[4], 0.7)
    h = fraction * mf.largest_learning_rate(bounds, lam, a).learning_rate
    found = mf.manifold_constants(bounds, mf.momentum_method(h, lam, a))
    # g and q in Γ(γ, δ): bounded by γ and δ-Lipschitz, one of the two sharply
    g, q = (
        eqx.tree_at(
            lambda k: k.amplitudes,
            k,
            k.amplitudes * jnp.minimum(found.gamma / k.bound(0), found.delta / k.bound(1)),
        )
        for k in (g, q)
    )
    xi, away = space * jax.random.normal(keys[7], (2, 2))
    eta = xi + 10.0 ** jax.random.uniform(keys[6], (), minval=-4, maxval=1) * away

    def f(u):
        return -jax.grad(problem)(u)

    def quantities(g, u):
        w = f(u) / (1 - lam) + h * g(u)
        z = lam * w + f(u + h * a * w)
        return w, z, integral(f, u, h * a * w, w), integral(f, u, h * z, z)

    at, moved, other = quantities(g, xi), quantities(g, eta), quantities(q, xi)
    gap, change = jnp.linalg.norm(xi - eta), jnp.linalg.norm(g(xi) - q(xi))
    K1, K2, K3, (_, B1, B2) = found.K1, found.K2, found.K3, bounds
    steep, shrink, bend = lam * K2 + B1 * (1 + h * a * K2), lam + h * a * B1, B1 + h * B2 * K3
    allowed = (
        (K1, K3, B1 * K1, B1 * K3),
        (K2, steep, B1 * K2 + B2 * K1 * (1 + h * a * K2), bend * steep + B2 * K3),
        (h, h * shrink, h * (B1 + h * a * B2 * K1), h * shrink * bend),
    )
    norm = jnp.linalg.norm
    left = (
        tuple(norm(x) for x in at),
        tuple(norm(x - y) / gap for x, y in zip(at, moved, strict=True)),
        tuple(norm(x - y) / change for x, y in zip(at, other, strict=True)),
    )
    return jnp.array(left) / jnp.array(allowed)


@pytest.fixture(scope="module")
def largest():
    """The largest of each ratio, (bound, Lipschitz, change) × (w, z, I⁽¹⁾, I⁽²⁾)."""
    many = np.asarray(jax.jit(jax.vmap(ratios))(jax.random.split(jax.random.key(1), CASES_12)))
    assert np.all(np.isfinite(many))
    return many.max(axis=0)


def test_the_twelve_inequalities_of_lemma_12(largest):
    assert largest.max() <= 1 + 1e-7  # differences over gaps down to 1e-4


def test_the_inequalities_of_lemma_12_are_not_vacuous(largest):
    """The bounds on w, z and on what a change of g does are attained; a bound a third smaller fails."""
    assert largest.min() > 0.3
    assert largest[2, :2] == pytest.approx([1, 1], abs=1e-3)
    assert np.sum(largest > 2 / 3) >= 8
