"""Every stated constant of every problem against derivatives taken by JAX at many points."""

import functools
import itertools
import math
from fractions import Fraction

import equinox as eqx
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given

import momentumflow as mf

ROTATION = [[0.6, -0.8], [0.8, 0.6]]  # 3-4-5: its columns are among the directions of `directions`

# name: (problem, the same with other constants)
PAIRS = {
    "quadratic": (mf.Quadratic([1.0, 5.0]), mf.Quadratic([0.5, 20.0])),
    "saddle": (mf.Quadratic([-3.0, 2.0], ROTATION), mf.Quadratic([1.0, -2.0], np.eye(2))),
    "flat": (mf.Quadratic([0.0, 0.0]), mf.Quadratic([0.0, 1.0])),
    "log-cosh": (mf.LogCosh([0.5, 1.0, 2.0]), mf.LogCosh([3.0, 1.0, 1.0])),
    "log-cosh, equal": (mf.LogCosh([1.5, 1.5]), mf.LogCosh([1.0, 1.0])),
    "double well": (mf.DoubleWell(0.5), mf.DoubleWell(-2)),
    "double well, uncoupled": (mf.DoubleWell(0), mf.DoubleWell(1.0)),
    "valley": (mf.BoundedValley(), mf.BoundedValley(0.3)),
    "product": (mf.ProductLoss(1.0, 0.6), mf.ProductLoss(-2.0, 0.5)),
    "piecewise": (mf.PiecewiseQuadratic(), mf.PiecewiseQuadratic(2, 3.0)),
    "piecewise, 2-D": (mf.PiecewiseQuadratic(dimension=2), mf.PiecewiseQuadratic(2.0, 9.0, 2)),
    "cosine": (mf.Cosine(), mf.Cosine()),
    "cosine, 2-D": (mf.Cosine(2), mf.Cosine(2)),
}
PROBLEMS = [pytest.param(p, id=name) for name, pair in PAIRS.items() for p in pair]
TWINS = [pytest.param(*pair, id=name) for name, pair in PAIRS.items()]


BLOCK = 128  # one shape of points, so that each kind of problem is compiled once


def directions(dimension):
    """Unit vectors along the integer lattice: the axes, the diagonals and (3, 4)/5 among them."""
    width = {1: 1, 2: 5, 3: 1}[dimension]
    lattice = np.array(list(itertools.product(range(-width, width + 1), repeat=dimension)), float)
    lattice = lattice[np.any(lattice, axis=1)]
    return np.unique(np.round(lattice / np.linalg.norm(lattice, axis=1, keepdims=True), 14), axis=0)


@functools.cache
def measured(kind, dimension):
    """u -> (|DΦ|, |D²Φ|, |D³Φ|, smallest and largest eigenvalue), by JAX, vectorised over u.

    The norm of a symmetric form is its largest |T[v, v, v]| on unit vectors (Banach), here on a set of them.
    """
    vectors = jnp.asarray(directions(dimension))

    def at(problem, u):
        eigenvalues = jnp.linalg.eigvalsh(jax.hessian(problem)(u))
        third = jnp.einsum("ijk,ni,nj,nk->n", jax.jacfwd(jax.hessian(problem))(u), *[vectors] * 3)
        return jnp.stack(
            [
                jnp.linalg.norm(jax.grad(problem)(u)),
                jnp.max(jnp.abs(eigenvalues)),
                jnp.max(jnp.abs(third)),
                eigenvalues[0],
                eigenvalues[-1],
            ]
        )

    return eqx.filter_jit(eqx.filter_vmap(at, in_axes=(None, 0)))


def derivatives(problem, points):
    at = measured(type(problem), problem.dimension)
    padded = np.resize(points, (-(-len(points) // BLOCK), BLOCK, problem.dimension))
    return np.concatenate([at(problem, block) for block in jnp.asarray(padded)])[: len(points)]


def stated(problem, radius):
    return np.array([float(x) for x in (*problem.bounds(radius), *problem.curvature(radius))])


@pytest.mark.parametrize("problem", PROBLEMS)
@given(st.floats(-2, 3), st.integers(0, 2**32 - 1))
def test_the_constants_enclose_the_derivatives_in_the_ball(problem, exponent, seed):
    radius, random = 10.0**exponent, np.random.default_rng(seed)
    points = random.normal(size=(BLOCK, problem.dimension))
    # half of them on the sphere, the others at every scale inside
    lengths = np.where(np.arange(BLOCK) % 2, radius, 10 ** random.uniform(-3, exponent, BLOCK))
    points *= (lengths / np.linalg.norm(points, axis=1))[:, None]
    found = derivatives(problem, points)
    for bound in (stated(problem, radius), stated(problem, math.inf)):
        slack = 1e-9 * np.maximum(1, np.where(np.isfinite(bound), np.abs(bound), 0))
        assert np.all(found[:, [0, 1, 2, 4]] <= (bound + slack)[[0, 1, 2, 4]])
        assert np.all(found[:, 3] >= (bound - slack)[3])


# Which constants are sharp, in the order B0, B1, B2, smallest, largest: 1 where the supremum equals the
# constant, a number > 1 where it is documented to lie that factor below, None where nothing is claimed.
ALL = (1, 1, 1, 1, 1)
SHARP = {
    "quadratic": ((0.5, 2.0), ALL),
    "saddle": ((0.5, 2.0), ALL),
    "flat": ((2.0,), ALL),
    "log-cosh": ((0.2, 1.0, 4.0), (None, 1, 1, 1, 1)),
    "log-cosh, equal": ((0.2, 1.0, math.inf), ALL),
    "double well": ((0.5, 1.0, 3.0), (None, 1, 1, 1, 1)),
    "double well, uncoupled": ((0.5, 1.0, 1.42, 3.0), ALL),
    "valley": ((math.inf,), (1.03, 1.07, 1.65, 2.9, 1.07)),
    "product": ((0.5, 2.0), ALL),
    "piecewise": ((0.5, 3.0), (1, 1, None, 1, 1)),
    "piecewise, 2-D": ((0.5, 3.0), (1, 1, None, 1, 1)),
    "cosine": ((0.5, 2.5, math.inf), ALL),
    "cosine, 2-D": ((0.5, 2.5, math.inf), ALL),
}
CLAIMS = [
    pytest.param(PAIRS[name][0], radius, factors, id=f"{name}, R = {radius}")
    for name, (radii, factors) in SHARP.items()
    for radius in radii
]


@pytest.mark.parametrize(("problem", "radius", "factors"), CLAIMS)
def test_what_is_said_to_be_sharp_is_attained(problem, radius, factors):
    lengths = np.linspace(0, min(radius, 12.0), 201)
    points = (lengths[:, None, None] * directions(problem.dimension)).reshape(-1, problem.dimension)
    found = derivatives(problem, points)
    reached = np.array([*found[:, :3].max(0), found[:, 3].min(), found[:, 4].max()])
    constants = stated(problem, radius)
    assert np.all(np.array([1, 1, 1, -1, 1]) * (constants - reached) >= -1e-12 * (1 + abs(reached)))
    for value, bound, factor in zip(reached, constants, factors, strict=True):
        if factor is not None:
            assert abs(bound) <= factor * abs(value) * (1 + 1e-3) + 1e-12
            assert bound * value >= 0


def test_the_columns_of_the_basis_are_the_eigenvectors():
    hessian = jax.hessian(mf.Quadratic([-3.0, 2.0], ROTATION))(jnp.zeros(2))
    assert np.allclose(hessian @ jnp.array(ROTATION), jnp.array(ROTATION) * jnp.array([-3.0, 2.0]))


def test_the_curvature_of_the_piecewise_quadratic_jumps():
    # B2 is infinite exactly when the ball reaches the kink at 1: the Lipschitz quotient of φ'' there
    problem = mf.PiecewiseQuadratic()
    slope = jax.grad(lambda x: problem(x[None]))

    def quotient(x, e):
        return abs(float(slope(x + e) - 2 * slope(x) + slope(x - e))) / e**2

    assert quotient(jnp.array(1.0), 1e-5) == pytest.approx(24e5, rel=1e-6)  # (25 - 1)/e
    assert quotient(jnp.array(0.9), 1e-5) < 1e-3
    assert float(problem.bounds(0.99).B2) == 0
    assert float(problem.bounds(1.0).B2) == math.inf


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_minimiser_is_a_minimiser(problem):
    best = problem.minimizer
    if best is None:
        assert float(problem.curvature(0.0).smallest) < 0  # a saddle: only the quadratics with k < 0
        assert isinstance(problem, mf.Quadratic)
        return
    assert best.shape == (problem.dimension,)
    assert np.allclose(jax.grad(problem)(best), 0, atol=1e-12)
    others = np.random.default_rng(1).normal(size=(2000, problem.dimension)) * 3
    assert float(problem(best)) <= float(jnp.min(jax.vmap(problem)(jnp.asarray(others)))) + 1e-15


def test_the_double_well_has_its_other_minimiser_opposite():
    problem = mf.DoubleWell(0.5)
    assert float(problem(-problem.minimizer)) == pytest.approx(float(problem(problem.minimizer)), abs=1e-15)
    assert np.allclose(jax.grad(problem)(jnp.zeros(2)), 0)


@pytest.mark.parametrize(("x", "y"), [(1.0, 0.6), (-2.0, 0.5), (0.5, -3.0), (1.0, 0.0)])
@pytest.mark.parametrize("stretch", [0.3, 1.0, 2.5])
def test_sharpness_is_the_largest_eigenvalue_at_every_minimiser(x, y, stretch):
    problem = mf.ProductLoss(x, y)
    point = problem.minimizer * jnp.array([stretch, 1 / stretch]) + (y == 0) * jnp.array([0.0, stretch])
    steepest, _, _, _, largest = derivatives(problem, point[None])[0]
    assert steepest < 1e-12
    assert float(problem.sharpness(point)) == pytest.approx(largest, rel=1e-12)
    assert float(problem.sharpness(point)) >= float(problem.sharpness(problem.minimizer))


ONCE, TWICE = Fraction(1, 9), Fraction(4, 9)  # α = 4/(√L+√μ)², β = ((√L-√μ)/(√L+√μ))², μ = 1, L = 25
CYCLE = [Fraction(n, 1225) for n in (792, -2208, 2592)]  # Lessard, Recht & Packard (2016)


def test_the_cycle_of_heavy_ball():
    def slope(x):  # as printed
        return 25 * x if x < 1 else x + 24 if x < 2 else 25 * x - 24

    a, b, c = CYCLE
    for before, now, after in ((a, b, c), (b, c, a), (c, a, b)):  # it is a cycle, in exact arithmetic
        assert after == now + TWICE * (now - before) - ONCE * slope(now)

    problem, method = mf.PiecewiseQuadratic(), mf.heavy_ball(float(ONCE), float(TWICE))
    points = jnp.linspace(-4.0, 4.0, 33)[:, None]
    assert np.allclose(jax.vmap(jax.grad(problem))(points)[:, 0], [slope(x) for x in points[:, 0].tolist()])
    for start in (3.07, 3.3, 3.46):
        tail = mf.iterate(method, problem, jnp.array([start]), 300).params[-3:, 0]
        shift = int(jnp.argmin(abs(tail - float(a))))
        assert np.allclose(np.roll(tail, -shift), [float(x) for x in CYCLE], rtol=0, atol=1e-12)


def test_other_starts_and_a_quadratic_of_the_same_spectrum_converge():
    method = mf.heavy_ball(float(ONCE), float(TWICE))
    for start in (2.0, 3.0, 3.5):
        end = mf.iterate(method, mf.PiecewiseQuadratic(), jnp.array([start]), 300, save_every=None)
        assert abs(float(end.params[0, 0])) < 1e-12
    end = mf.iterate(method, mf.Quadratic([1.0, 25.0]), jnp.array([3.3, 3.3]), 300, save_every=None)
    assert float(jnp.max(jnp.abs(end.params))) < 1e-12


def test_log_cosh_and_its_nested_derivatives():
    x = sympy.Symbol("x")
    formula, code = sympy.log(sympy.cosh(x)), lambda u: mf.LogCosh([1.0])(u[None])
    points = [0.0, 1e-9, 0.3, -0.999, 1.0, 2.0, -5.0, 30.0, -800.0]
    for order in range(5):
        exact = sympy.lambdify(x, sympy.diff(formula, x, order), "mpmath")
        with mpmath.workdps(1000):  # 1 - tanh² at 800 loses 695 digits
            expected = [float(exact(mpmath.mpf(point))) for point in points]
        assert np.allclose(jax.vmap(code)(jnp.array(points)), expected, rtol=4e-15, atol=1e-14)
        code = functools.partial(lambda f, u: jax.jvp(f, (u,), (jnp.ones_like(u),))[1], code)
    small = mf.LogCosh([1.0])(jnp.array([1e-9]))
    assert float(small) == pytest.approx(5e-19, rel=1e-12, abs=0)  # x²/2, to relative accuracy


@pytest.mark.parametrize(("problem", "other"), TWINS)
def test_other_constants_do_not_retrace(problem, other):
    slope = eqx.filter_jit(eqx.debug.assert_max_traces(lambda p, u: jax.grad(p)(u), max_traces=1))
    u = jnp.full(problem.dimension, 0.7)
    first, second = slope(problem, u), slope(other, u)
    assert np.allclose(second, jax.grad(other)(u))
    assert np.array_equal(first, second) == isinstance(problem, mf.Cosine)  # it has no constants


@pytest.mark.parametrize(("problem", "other"), TWINS)
def test_dtypes_ensembles_and_transformations(problem, other):
    u = jnp.full(problem.dimension, 0.7)
    assert jax.eval_shape(problem, u.astype(jnp.float32)).dtype == jnp.float32

    @eqx.filter_jit
    def facts(p, radius):
        return p(u), p.bounds(radius), p.curvature(radius)

    both = jax.tree.map(lambda *x: jnp.stack(x), problem, other)
    together = eqx.filter_vmap(facts, in_axes=(eqx.if_array(0), None), axis_size=2)(both, 2.0)
    apart = jax.tree.map(lambda *x: np.stack(x), facts(problem, 2.0), facts(other, 2.0))
    assert all(map(np.allclose, jax.tree.leaves(together), jax.tree.leaves(apart)))
    assert np.allclose(apart[1], np.transpose([p.bounds(2.0) for p in (problem, other)]))


BAD = {
    "matrix of eigenvalues": (lambda: mf.Quadratic([[1.0, 2.0]]), r"non-empty vector, got shape \(1, 2\)"),
    "no eigenvalue": (lambda: mf.Quadratic([]), r"non-empty vector, got shape \(0,\)"),
    "NaN eigenvalue": (lambda: mf.Quadratic([1.0, math.nan]), "eigenvalues must be finite, got .*nan.*check"),
    "basis of another shape": (lambda: mf.Quadratic([1.0], ROTATION), r"shape \(1, 1\).*got \(2, 2\)"),
    "skew basis": (lambda: mf.Quadratic([1.0, 2.0], [[1, 1], [0, 1]]), "orthogonal, got .* = 1: .*qr"),
    "NaN basis": (lambda: mf.Quadratic([1.0], [[math.nan]]), "basis must be orthogonal, got"),
    "negative scale": (lambda: mf.LogCosh([1.0, -1.0]), "scales must be finite and > 0, got"),
    "NaN coupling": (lambda: mf.DoubleWell(math.nan), "coupling must be finite, got nan: 0 leaves"),
    "flat valley": (lambda: mf.BoundedValley(0), "steepness must be finite and > 0, got 0.0: 100 is"),
    "no input": (lambda: mf.ProductLoss(0, 1.0), "x must not be 0, got 0.0: without an input"),
    "infinite target": (lambda: mf.ProductLoss(1.0, math.inf), "y must be finite, got inf"),
    "μ above L": (lambda: mf.PiecewiseQuadratic(3.0, 2.0), "smoothness must be > strong_convexity, got 2.0"),
    "no dimension": (lambda: mf.Cosine(0), "dimension must be an integer >= 1, got 0"),
    "negative radius": (lambda: mf.Cosine().bounds(-1.0), "radius must be >= 0, got -1.0: .*math.inf"),
    "NaN radius": (lambda: mf.DoubleWell().curvature(math.nan), "radius must be >= 0, got nan"),
    "three params": (lambda: mf.DoubleWell()(jnp.ones(3)), r"DoubleWell .* shape \(2,\), got shape \(3,\)"),
    "a list": (lambda: mf.Cosine()([1.0]), r"array of shape \(1,\), got list: one number"),
    "a scalar": (lambda: mf.ProductLoss(1.0, 1.0).sharpness(jnp.ones(())), r"\(2,\), got shape \(\)"),
}


@pytest.mark.parametrize(("build", "message"), BAD.values(), ids=BAD)
def test_bad_input_names_requirement_value_and_remedy(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: mf.ProductLoss(1j, 1.0), "must be a real number"),
        (lambda: mf.Cosine()(jnp.ones(1, int)), "floating point, got int64: use params.astype"),
    ],
)
def test_wrong_types(build, message):
    with pytest.raises(TypeError, match=message):
        build()
