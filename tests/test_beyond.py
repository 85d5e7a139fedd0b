"""Slow flows of every order, and models of the transient: the experiments' own parts, by independent routes."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy.linalg import expm

import momentumflow as mf
from momentumflow.experiments import _slow_orders as slow
from momentumflow.experiments import beyond_transient as transient

LAM, KAPPA, H = 0.9, 20.0, 2.0**-5


def second_order(name, a):
    """Coefficients of mü + cu̇ + Ku = 0 and u̇(0)/u(0) along curvature k, typed from their statement."""
    D, ell, r, bar = 1 - LAM, -np.log(LAM), a / LAM, 1 / (1 - LAM)
    m, heavy = D / ell, (1 + LAM) / 2
    alpha = heavy - a * D
    beta = bar * (bar - a - 0.5) - bar * m * (bar - r)
    bend = (4 * a * D**2 - 2 * a * ell * (1 - LAM**2) + 2 * ell * LAM * (2 + LAM) - D * (1 + 5 * LAM)) / (
        2 * D**4
    )
    inertial = lambda k: -bar * (1 - LAM / m) * k + H * bend * k**2  # noqa: E731  # f'f = k²u
    leading = lambda mass: lambda k: -bar * (1 - LAM / mass) * k  # noqa: E731
    return {
        "momentum ODE (11), slow": lambda k: (H * alpha, D, k, leading(alpha)(k)),
        "momentum ODE (11), printed": lambda k: (H * alpha, D, k, -(1 - 2 * alpha) / (2 * alpha - LAM + 1) * k),
        "HDa": lambda k: (H * heavy, D + H * a * k, k, leading(heavy)(k)),
        "HDa, relative mass": lambda k: (H * (heavy - H * a / 2 * k), D + H * a * k, k, leading(heavy)(k)),
        "inertial 2, leading u̇(0)": lambda k: (H * m, D + H * m * r * k, k + H * beta * k**2, leading(m)(k)),
        "inertial flow, order 2": lambda k: (H * m, D + H * m * r * k, k + H * beta * k**2, inertial(k)),
        "HDP": lambda k: (
            H * m * (1 - H * r / 2 * k), D + H * r * (m - D / 2) * k, k + H * (beta - r / 2) * k**2, inertial(k),
        ),
    }[name]  # fmt: skip


def error_by_roots(name, a, steps):
    """max |u_n - u(nh)| by recursion (7) and by the roots of ms² + cs + K."""
    gaps = []
    for k in (1.0, KAPPA):
        m, c, K, slope = second_order(name, a)(k)
        fast, back = np.roots([m, c, K])
        weight = (slope - back) / (fast - back)
        t = H * np.arange(steps + 1)
        u = [1.0, 1.0 - H * k]
        for _ in range(steps - 1):
            step = u[-1] - u[-2]
            u.append(u[-1] + LAM * step - H * k * (u[-1] + a * step))
        gaps.append(np.array(u) - (weight * np.exp(fast * t) + (1 - weight) * np.exp(back * t)).real)
    return np.linalg.norm(gaps, axis=0).max()


@pytest.fixture(scope="module", params=[0.0, LAM], ids=["HB", "NAG"])
def cell(request):
    """a, and fields and starts of all models at κ = 20, h = 2^-5."""
    method, loss = mf.momentum_method(H, LAM, request.param), mf.Quadratic([1.0, KAPPA])
    flows = transient.models(method, LAM, request.param)
    return request.param, transient.generators(flows, loss, jnp.ones(2))


@pytest.mark.parametrize(
    "name",
    ["momentum ODE (11), slow", "momentum ODE (11), printed", "HDa", "HDa, relative mass", "HDP",
     "inertial 2, leading u̇(0)", "inertial flow, order 2"],
)  # fmt: skip
def test_errors_of_second_order_models(cell, name):
    a, found = cell
    field, start = (np.asarray(x)[None] for x in found[name])
    steps = 64
    run = mf.iterate(mf.momentum_method(H, LAM, a), mf.Quadratic([1.0, KAPPA]), jnp.ones(2), steps)
    gaps = transient.powers(H * field, start, steps + 1)[0] - np.asarray(run.params)
    assert np.linalg.norm(gaps, axis=1).max() == pytest.approx(error_by_roots(name, a, steps), rel=1e-9)


def logarithm(a, count):
    """Taylor coefficients in x of log M(x) on (u, hv), by mpmath in 40 digits."""
    with mp.workdps(40):
        lam, a = mp.mpf(LAM), mp.mpf(a)

        def entry(i, j):
            def value(x):
                mean, tail = (1 + lam - x * (1 + a)) / 2, lam - x * a
                root = mp.sqrt(mean**2 - tail)
                slope = (mp.log(mean + root) - mp.log(mean - root)) / (2 * root)
                M = mp.matrix([[1 - x, tail], [-x, tail]])
                return (mp.log(mean + root) * (i == j)) + slope * (M[i, j] - (mean + root) * (i == j))

            return mp.taylor(value, 0, count)

        return np.array([[[float(c) for c in entry(i, j)] for j in range(2)] for i in range(2)])


@pytest.mark.parametrize("p", [2, 3])
def test_series_in_y_is_the_logarithm_cut_in_y(cell, p):
    """Along k, (u, hy) = T(u, hv) with T = [[1, 0], [λ̄x, 1]]: TLT⁻¹ cut after x^p and x^(p-1)."""
    a, found = cell
    terms = np.moveaxis(logarithm(a, p + 1), -1, 0)
    shift = np.array([[0.0, 0.0], [1 / (1 - LAM), 0.0]])
    none = np.zeros((2, 2))
    turned = [
        x + shift @ before - before @ shift - shift @ earlier @ shift
        for x, before, earlier in zip(terms, [none, *terms], [none, none, *terms], strict=False)
    ]
    x = H * KAPPA
    kept = np.array([[p, p - 1], [p, p - 1]])
    field = sum(np.where(i <= kept, term, 0) * x**i for i, term in enumerate(turned))
    T = np.array([[1, 0], [x / (1 - LAM), 1]])
    scale = np.diag([1, H])  # (u, v) to (u, hv)
    expected = np.linalg.inv(T @ scale) @ field @ (T @ scale) / H
    stiff = np.asarray(found[f"phase series in y, order {p}"][0])[1::2, 1::2]
    assert np.allclose(stiff, expected, rtol=1e-9)


def test_powers_are_those_of_the_exponential():
    rng = np.random.default_rng(1)
    fields, start = 0.1 * rng.normal(size=(2, 4, 4)), rng.normal(size=(2, 4))
    fields[1, 0, 0] = np.nan
    path = transient.powers(fields, start, 11)
    assert path.shape == (2, 11, 2)
    assert np.allclose(path[0, 10], (expm(10 * fields[0]) @ start[0])[:2])
    assert np.isnan(path[1, 1:]).all()


def test_flows_of_all_orders_share_the_field_of_the_public_one():
    method, u = mf.momentum_method(0.01, 0.5, 0.25), {"u1": jnp.array(0.7), "u2": jnp.array(-0.4)}
    ours = slow.flow(3)(method).field(slow.loss)(jnp.zeros(()), (u,))
    public = jax.jit(mf.SlowFlow(method, order=3).field(slow.loss))(jnp.zeros(()), (u,))
    for mine, theirs in zip(jax.tree.leaves(ours), jax.tree.leaves(public), strict=True):
        assert float(mine) == pytest.approx(float(theirs), rel=1e-12)


def test_curvature_is_the_largest_second_difference_at_the_minimum():
    directions, eps = np.linspace(0, np.pi, 721), 1e-3
    circle = {"u1": jnp.asarray(eps * np.cos(directions)), "u2": jnp.asarray(eps * np.sin(directions))}
    curvatures = 2 * np.asarray(jax.vmap(slow.loss)(circle)) / eps**2  # Φ is even, and Φ(0) = 0
    assert curvatures.max() == pytest.approx(slow.CURVATURE, rel=1e-4)
