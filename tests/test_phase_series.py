"""The phase-space flow by its series: coefficients by three independent routes, orders from rest, a table."""

import json
from fractions import Fraction
from math import comb, log
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy.linalg import expm

import momentumflow as mf
from momentumflow.expansion.differentials import combinations
from momentumflow.expansion.interpolation import weights
from momentumflow.expansion.phase import V, Y
from momentumflow.expansion.trees import latex, name, order, trees, up_to

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "phase_flow_to_order_2.json"
LAM, A = sp.symbols("lambda a")


def bamboo(n, tip=()):
    """f'…f'[tip] with n f's on the way."""
    return bamboo(n - 1, (tip,)) if n else tip


def test_number_of_trees_with_two_kinds_of_leaves():
    """By the Euler transform: c_1 = 2, and c_n counts multisets of smaller trees (OEIS A029857)."""
    count = [0, 2]
    for n in range(2, 7):
        forests = [1] + [0] * (n - 1)
        for size in range(1, n):
            forests = [
                sum(comb(count[size] + k - 1, k) * forests[m - k * size] for k in range(m // size + 1))
                for m in range(n)
            ]
        count.append(forests[n - 1])
    assert [len(trees(n, (V,))) for n in range(1, 7)] == count[1:] == [2, 2, 5, 13, 37, 108]


def test_names_of_leaves():
    assert name(((), V)) == "f''[f,v]"
    assert latex((((), Y),)) == "f'f''[f, y]"
    assert V != ()
    assert V not in {(): 0, Y: 1}
    assert up_to(2, (V,)) == ((), V, ((),), (V,))


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference coefficients are not on this machine")
def test_coefficients_equal_the_reference():
    """Derived by another program before the project started, by operators graded by the degree in y."""
    reference = json.loads(REFERENCE.read_text())
    names = {"lam": LAM, "a": A, "l": -sp.log(LAM)}
    u, y = mf.phase_expansion(3, None, None, "y")
    v = {tree: c + (u[tree[0]] / (1 - LAM) if len(tree) == 1 else 0) for tree, c in y.items()}  # y' + λ̄f'u'
    for key, found, top in (("u", u, 2), ("y", y, 3), ("v", v, 3)):
        expected = {n: sp.sympify(c, names) for row in reference[key] for n, c in row.items()}
        for tree, c in found.items():
            if order(tree) <= top:
                assert sp.cancel(c - expected.pop(name(tree), 0)) == 0, (key, name(tree))
        assert not expected


def printed(lam, a):
    """U_1, U_2, Y_1, Y_2 in closed form, by hand: eliminating the divided differences of log."""
    D, el = 1 - lam, -log(lam)
    u = {
        "f": 1 / D,
        "y": lam * el / D,
        "f'[f]": (2 * a * D**2 - (1 - lam**2) + 2 * lam * el * (1 - a * D)) / (2 * D**4),
        "f'[y]": -(a * D**2 - a * el * D + el * lam * (1 + lam) - 2 * lam * D) / D**3,
    }
    y = {
        "f": 0,
        "y": -el,
        "f'[f]": -el / D**2 * (1 / D - a),
        "f'[y]": a / lam - 1 / D,
        "f'[f'[f]]": (a**2 * el * lam * D**2 - a**2 * D**3 - 3 * a * el * lam * D + a * D**2 * (1 + 2 * lam)
                      + el * lam * (1 + lam) - 2 * lam * D) / (lam * D**5),
        "f''[f,f]": (a**2 * el * D**2 - 2 * a * el * D + 2 * a * D**2 + el * (1 + lam) - 2 * D) / (2 * D**5),
        "f'[f'[y]]": -(a**2 * D**4 - 2 * a * el * lam**3 * D + 2 * a * lam**2 * D**2 + 2 * el * lam**3
                       - lam**2 * (1 - lam**2)) / (2 * lam**2 * D**4),
        "f''[f,y]": -(-2 * a**2 * D**3 - 2 * a * el * lam**2 * D + a * D**2 * (1 + lam) + 2 * el * lam**2
                      - lam * (1 - lam**2)) / (2 * lam * D**4),
        "f''[y,y]": (a**2 * el * D**2 - 2 * a * el * lam * D + 2 * a * lam * D**2 + el * lam**2 * (1 + lam)
                     - 2 * lam**2 * D) / (2 * lam * D**3),
    }  # fmt: skip
    return u, y


@pytest.mark.parametrize(("lam", "a"), [(0.5, 0.5), (0.9, 0.0), (0.1, 0.25)])
def test_coefficients_equal_the_closed_forms(lam, a):
    for found, expected in zip(mf.phase_expansion(3, lam, a, "y"), printed(lam, a), strict=True):
        by_name = {name(tree): c for tree, c in found.items()}
        for key, value in expected.items():
            assert by_name[key] == pytest.approx(value, rel=1e-10, abs=1e-14), key


def log_step(lam, a, x):
    """log M(x) of the step on (u, hv) for f(u) = -ku, x = hk, by its eigenvalues."""
    M = mpmath.matrix([[1 - x, lam - a * x], [-x, lam - a * x]])
    half = (M[0, 0] + M[1, 1]) / 2
    root = mpmath.sqrt(half**2 - (M[0, 0] * M[1, 1] - M[0, 1] * M[1, 0]))
    slow, fast = half + root, half - root
    one = mpmath.eye(2)
    return (mpmath.log(slow) * (M - fast * one) - mpmath.log(fast) * (M - slow * one)) / (slow - fast)


@pytest.mark.parametrize(("lam", "a"), [(0.5, 0.5), (0.9, 0.0), (0.1, 0.25)])
@pytest.mark.parametrize("top", [3, 4])
def test_bamboos_are_the_series_of_the_logarithm_of_the_step(lam, a, top):
    rows = mf.phase_expansion(top, lam, a)
    with mpmath.workdps(40):
        for i, j in np.ndindex(2, 2):
            tip, longest = ((), top) if j == 0 else (V, top - 1)
            entry = mpmath.taylor(
                lambda x, i=i, j=j: log_step(mpmath.mpf(lam), mpmath.mpf(a), x)[i, j], 0, longest
            )
            for n in range(1 - j, longest + 1):
                found = (-1) ** n * rows[i][bamboo(n - 1 + j, tip)]
                assert found == pytest.approx(float(entry[n]), rel=1e-9, abs=1e-12), (i, j, n)


def field(u, np=jnp):
    return {
        "x": np.cos(u["x"]) + 0.3 * u["y"][..., None] * u["x"][..., ::-1],
        "y": np.sin(u["x"].sum(-1)) - u["y"] ** 2,
    }


STATE = (
    {"x": jnp.array([0.4, -0.7]), "y": jnp.array(0.3)},
    {"x": jnp.array([1.1, 0.2]), "y": jnp.array(-0.6)},
)


def by_iterates(lam, a, top):
    """Σ w_j P_h^j(STATE) as a power series in h, by Cauchy's integral over a circle: no tree and no derivative."""
    h = 0.03 * np.exp(2j * np.pi * np.arange(32) / 32)
    u, v = ({key: np.multiply.outer(1 + 0 * h, np.asarray(x)) for key, x in part.items()} for part in STATE)
    column = {"x": h[:, None], "y": h}
    found = weights(lam, top)
    total = [{key: found[0] * x for key, x in part.items()} for part in (u, v)]
    for w in found[1:]:
        force = field({key: u[key] + a * column[key] * v[key] for key in u}, np)
        v = {key: lam * v[key] + force[key] for key in u}
        u = {key: u[key] + column[key] * v[key] for key in u}
        total = [{key: s[key] + w * x[key] for key in u} for s, x in zip(total, (u, v), strict=True)]
    return [
        [{key: (x / column[key] ** i).mean(0).real for key, x in part.items()} for i in range(top + 1)]
        for part in total
    ]


def close(found, expected):
    return all(np.allclose(found[key], expected[key], rtol=1e-6, atol=1e-7) for key in expected)


def test_terms_of_a_nonlinear_field():
    u_terms, v_terms = by_iterates(0.6, 0.3, 3)
    u_row, v_row = mf.phase_expansion(3, 0.6, 0.3)
    rows = [
        {tree: c for tree, c in row.items() if order(tree) == n} for row in (u_row, v_row) for n in (1, 2, 3)
    ]
    found = combinations(field, STATE[0], rows, {V: STATE[1]})
    assert all(map(close, found, [*u_terms[1:], *v_terms[:3]]))


def test_the_field_is_the_sum_of_its_terms():
    flow = mf.PhaseFlow(mf.momentum_method(0.1, 0.6, 0.3), 3, series=True)
    du, dv = flow.field(mf.VectorField(field))(jnp.array(0.0), STATE)
    u_row, v_row = mf.phase_expansion(3, 0.6, 0.3)
    for found, row, power in ((du, u_row, 1), (dv, v_row, 2)):
        scaled = {tree: c * 0.1 ** (order(tree) - power) for tree, c in row.items()}
        assert close(found, combinations(field, STATE[0], [scaled], {V: STATE[1]})[0])


def test_numbers_stay_what_they_are():
    symbolic = mf.phase_expansion(2, None, "momentum")
    exact = mf.phase_expansion(2, Fraction(1, 3), "momentum")
    floats = mf.phase_expansion(2, 1 / 3, 1 / 3)
    for one, two, three in zip(symbolic, exact, floats, strict=True):
        for tree, c in one.items():
            assert sp.simplify(c.subs(LAM, sp.Rational(1, 3)) - two[tree]) == 0
            assert three[tree] == pytest.approx(float(two[tree]), rel=1e-12)
    partly = mf.phase_expansion(2, Fraction(1, 3), None)
    assert all(sp.simplify(c.subs(A, sp.Rational(1, 3)) - exact[0][t]) == 0 for t, c in partly[0].items())


@pytest.mark.parametrize("lam", [0.001, 0.9999])
def test_floats_keep_their_digits_at_the_ends(lam):
    """Against the symbols in 200 digits: the terms with and without log λ cancel like (1-λ)⁴."""
    for one, two in zip(mf.phase_expansion(2, None), mf.phase_expansion(2, lam), strict=True):
        for tree, c in one.items():
            value = sp.N(c.subs(LAM, sp.Rational(*lam.as_integer_ratio())), 200)
            assert two[tree] == pytest.approx(float(value), rel=1e-14)


def test_readable():
    u, v = mf.phase_expansion(1)
    assert (
        str(u)
        == "u' = ((lambda*log(lambda) - lambda + 1)/(1 - lambda)**2) f + (-lambda*log(lambda)/(1 - lambda)) v"
    )
    assert str(v) == "v' = (-log(lambda)/(1 - lambda)) h^-1 f + (log(lambda)) h^-1 v"
    assert v.latex().startswith(
        r"\dot v = \left(- \frac{\log{\left(\lambda \right)}}{1 - \lambda}\right) h^{-1} f"
    )


def loss(u):
    """Non-quadratic and coupled, with derivatives that are quick to compile."""
    return 0.2 * jnp.cos(u["x"]) * jnp.cos(u["y"]) - jnp.cos(u["x"])


START = {"x": jnp.array(1.2), "y": jnp.array(0.8)}
LADDERS = {  # at λ = a = 1/2 order 1 gains one on the slow manifold, by chance: λλ̄³ = λ̄²(λ̄-a-½)
    (0.4, 1): range(5, 9), (0.5, 2): range(5, 9), (0.5, 3): range(5, 9), (0.1, 3): range(4, 8),
}  # fmt: skip


def slope(flow, lam, lookahead, exponents):
    study = mf.convergence_study(
        lambda h: mf.momentum_method(h, lam, lookahead), flow, loss, START, [2.0**-k for k in exponents], 1.0,
        tolerance=1e-12)  # fmt: skip
    assert study.errors[-1] > study.floors[-1], str(study)
    return study.orders[-1]


@pytest.mark.parametrize(("lam", "p"), LADDERS)
@pytest.mark.parametrize("lookahead", ["0", "λ", "1/4"])
def test_uniform_order_from_rest(lam, p, lookahead):
    a = {"0": 0.0, "λ": lam, "1/4": 0.25}[lookahead]
    flow = lambda m: mf.PhaseFlow(m, p, series=True)  # noqa: E731
    assert flow(mf.heavy_ball(0.1, lam)).claims[0] == (p, "rest", "t >= 0")
    assert slope(flow, lam, a, LADDERS[lam, p]) == pytest.approx(p, abs=0.1)


def test_uniform_order_four():
    """In one dimension, for the time to compile; ±0.2, as the window before rounding is short."""
    study = mf.convergence_study(
        lambda h: mf.nesterov(h, 0.5), lambda m: mf.PhaseFlow(m, 4, series=True), lambda u: -jnp.cos(u),
        jnp.array(1.2), [2.0**-k for k in range(3, 7)], 1.0, tolerance=1e-13)  # fmt: skip
    assert study.errors[-1] > study.floors[-1], str(study)
    assert study.orders[-1] == pytest.approx(4, abs=0.2)


def test_a_cut_series_is_of_lower_order():
    """Negative control: order 3 less the tree f''[f, v] in v' alone."""

    def cut(method):
        flow = mf.PhaseFlow(method, 3, series=True)
        index = up_to(3, (V,)).index(((), V))
        constants = flow.constants.at[1, index].set(0)
        return eqx.tree_at(lambda f: f.constants, flow, constants)

    assert slope(cut, 0.5, 0.5, LADDERS[0.5, 3]) == pytest.approx(2, abs=0.1)


RATES = [2.0**-k for k in range(4, 10)]
TABLE = {  # κ = 20, λ = 0.9, T = 2: the field cut in the coordinates (u, y); an independent computation, two digits
    ("HB", 2): (1.3e0, 7.1e-1, 3.7e-1, 1.3e-1, 3.7e-2, 1.0e-2),
    ("HB", 3): (7.6e-1, 2.4e-1, 3.9e-2, 5.0e-3, 6.5e-4, 8.5e-5),
    ("NAG", 3): (np.inf, 1.7e-1, 3.7e-2, 7.3e-3, 1.3e-3, 2.1e-4),  # diverges first
}


def ravine_error(matrix, a, h):
    """max |u_n - u(t_n)| on diag(1, 20) from rest at (1, 1), by matrix exponentials of the field on (u, hv)."""
    squares = np.zeros(round(2 / h) + 1)
    for k in (1.0, 20.0):
        step = np.array([[1 - h * k, 0.9 - a * h * k], [-h * k, 0.9 - a * h * k]])
        flow, x, z = expm(matrix(h * k)), np.array([1.0, 0.0]), np.array([1.0, 0.0])
        for n in range(1, len(squares)):
            x, z = step @ x, flow @ z
            squares[n] += (x[0] - z[0]) ** 2
    return np.sqrt(squares.max())


@pytest.mark.parametrize(("method", "p"), TABLE)
def test_cut_in_y_on_the_ravine(method, p):
    a = 0.0 if method == "HB" else 0.9
    rows = mf.phase_expansion(p, 0.9, a, "y")

    def matrix(x):
        """Of (u, hy), changed to (u, hv): hy = hv + λ̄x u."""
        entries = [
            [
                sum(row[bamboo(n - 1 + j, tip)] * (-x) ** n for n in range(1 - j, p + 1 - j))
                for j, tip in ((0, ()), (1, Y))
            ]
            for row in rows
        ]
        change = np.array([[1, 0], [10 * x, 1]])
        return np.linalg.inv(change) @ np.array(entries) @ change

    found = [ravine_error(matrix, a, h) for h in RATES]
    expected = np.array(TABLE[method, p])
    assert np.allclose(found[1:], expected[1:], rtol=0.05)
    assert found[0] > 1e10 if np.isinf(expected[0]) else np.isclose(found[0], expected[0], rtol=0.05)


@pytest.mark.parametrize(("method", "p"), TABLE)
def test_cut_in_v_on_the_ravine(method, p):
    """The model itself, cut in (u, v): against the Taylor polynomials of log M, and better than the cut in (u, y)."""
    a = 0.0 if method == "HB" else 0.9
    with mpmath.workdps(30):
        series = {
            (i, j): [
                float(c)
                for c in mpmath.taylor(
                    lambda x, i=i, j=j: log_step(mpmath.mpf(0.9), mpmath.mpf(a), x)[i, j], 0, p - j
                )
            ]
            for i, j in np.ndindex(2, 2)
        }
    matrix = lambda x: np.array(  # noqa: E731
        [[sum(c * x**n for n, c in enumerate(series[i, j])) for j in (0, 1)] for i in (0, 1)]
    )
    expected = [ravine_error(matrix, a, h) for h in RATES]
    found = [ravine_error(lambda x, h=h: matrix_of_the_model(p, a, h, x), a, h) for h in RATES]
    assert np.allclose(found, expected, rtol=1e-9)
    assert np.all(np.array(found) < np.array(TABLE[method, p]))


@eqx.filter_jit
def rates(flow, k):
    """Of the states (u, v) = (1, 0) and (0, 1)."""
    field = flow.field(lambda u: k * jnp.sum(u**2) / 2)
    return jax.vmap(lambda u, v: jnp.stack(field(jnp.array(0.0), (u, v))))(*jnp.eye(2))


def matrix_of_the_model(p, a, h, x):
    """Per step, on (u, hv)."""
    flow = mf.PhaseFlow(mf.momentum_method(h, 0.9, a), p, series=True)
    return h * np.array(rates(flow, jnp.array(x / h))).T * np.array([[1, 1 / h], [h, 1]])


def test_fixed_points_stay():
    flow = mf.PhaseFlow(mf.nesterov(0.1, 0.9), 3, series=True)
    rates = flow.field(mf.Quadratic([1.0, 3.0]))(jnp.array(0.0), (jnp.zeros(2), jnp.zeros(2)))
    assert all(jnp.all(x == 0) for x in jax.tree.leaves(rates))


@pytest.mark.parametrize("p", [2, 3])
def test_initial_velocity_of_the_inertial_flow_is_the_series(p):
    """Order 2 has its closed form."""
    method = mf.momentum_method(0.1, 0.6, 0.3)
    _, velocity = mf.InertialFlow(method, p).initial_state(mf.VectorField(field), *STATE)
    terms = by_iterates(0.6, 0.3, 3)[0][1 : p + 1]
    assert close(velocity, {key: sum(0.1**i * term[key] for i, term in enumerate(terms)) for key in velocity})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mf.phase_expansion(0), "order must be an integer >= 1, got 0"),
        (lambda: mf.phase_expansion(5), "order must be <= 4 with symbols, got 5"),
        (lambda: mf.phase_expansion(9, 0.5, 0.5), "order must be <= 6 with numbers, got 9"),
        (lambda: mf.phase_expansion(2, 0), "log λ has no value"),
        (lambda: mf.phase_expansion(2, 1.5), r"momentum must be in \[0, 1\)"),
        (lambda: mf.phase_expansion(2, 0.5, -1), "lookahead must be finite and >= 0"),
        (lambda: mf.phase_expansion(2, 0.5, 0.5, "w"), "unknown coordinate"),
        (
            lambda: mf.PhaseFlow(mf.gradient_descent(0.1), series=True),
            "momentum must be > 0 for a phase flow",
        ),
        (lambda: mf.PhaseFlow(mf.heavy_ball(0.1, 0.5), 5, series=True), "order must be <= 4, got 5"),
        (
            lambda: jax.jit(lambda a: mf.PhaseFlow(mf.momentum_method(0.1, 0.5, a), series=True).order)(0.5),
            "need the lookahead as a number",
        ),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
