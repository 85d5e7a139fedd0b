"""Trees, exact coefficients and elementary differentials, each by an independent route."""

import json
from fractions import Fraction
from math import factorial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import momentumflow as mf
from momentumflow.expansion.differentials import combine, derivative
from momentumflow.expansion.trees import cuts, latex, name, order, symmetry, trees, up_to

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "slow_flow_to_order_4.json"
LAM, A = sp.symbols("lambda a")


def bamboo(n):
    """The tree without branches, f'f'…f with n f's."""
    tree = ()
    for _ in range(n - 1):
        tree = (tree,)
    return tree


def test_number_of_rooted_trees():
    """Cayley's sequence, OEIS A000081."""
    assert [len(trees(n)) for n in range(1, 10)] == [1, 1, 2, 4, 9, 20, 48, 115, 286]
    assert len(up_to(9)) == 486


def test_symmetries_sum_to_labelled_trees():
    """Σ n!/σ(τ) = n^(n-1): rooted labelled trees (Cayley), each unlabelled one n!/σ times."""
    for n in range(1, 9):
        assert sum(Fraction(factorial(n), symmetry(t)) for t in trees(n)) == n ** (n - 1)


def test_cuts_keep_the_nodes():
    for tree in up_to(7):
        assert len(cuts(tree)) == order(tree) - 1
        assert all(order(a) + order(b) == order(tree) for a, b in cuts(tree))


def test_names():
    assert name(((), ((),))) == "f''[f'[f],f]"
    assert latex(((), ((),))) == "f''[f'f, f]"
    assert name(((),) * 4) == "f^(4)[f,f,f,f]"


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference coefficients are not on this machine")
@pytest.mark.parametrize(
    ("key", "expansion"), [("slow_flow", mf.modified_equation), ("manifold", mf.manifold_expansion)]
)
def test_coefficients_equal_the_reference(key, expansion):
    """Derived by another program before the project started, by substitution of series, to order 4."""
    found = {name(tree): c for tree, c in expansion(4, None, None).items()}
    names = {"lam": LAM, "a": A}
    expected = {
        n: sp.sympify(c, locals=names)
        for row in json.loads(REFERENCE.read_text())[key]
        for n, c in row.items()
    }
    assert found.keys() == expected.keys()
    for n, c in expected.items():
        assert sp.cancel(found[n] - c) == 0, n


def log_rho(lam, a, top):
    """Series of log ρ(x), ρ the root near 1 of ρ² - (1+λ-x(1+a))ρ + (λ-xa) = 0, in exact arithmetic."""
    rho = [Fraction(1)]
    for n in range(1, top + 1):
        known = sum(rho[i] * rho[n - i] for i in range(1, n)) + (1 + a) * rho[n - 1] - (a if n == 1 else 0)
        rho.append(-known / (1 - lam))
    log = [Fraction(0)]
    for n in range(1, top + 1):  # (log ρ)'ρ = ρ'
        log.append((n * rho[n] - sum(k * log[k] * rho[n - k] for k in range(1, n))) / n)
    return log


@pytest.mark.parametrize("a", [0, Fraction(2, 5), Fraction(1, 3)])
def test_bamboos_are_the_series_of_log_rho(a):
    """On a quadratic the flow is u' = log ρ(hk)/h u, and f'f…f with n f's is (-k)ⁿu: to order 10."""
    lam = Fraction(2, 5)
    equation, expected = mf.modified_equation(10, lam, a), log_rho(lam, a, 10)
    assert [equation[bamboo(n)] * (-1) ** n for n in range(1, 11)] == expected[1:]


def test_gradient_descent_is_the_classical_modified_equation():
    """Hairer, Lubich & Wanner (IX.1): f_2 = -½f'f, f_3 = ⅓f'f'f + ¹⁄₁₂f''[f,f] and f_4."""
    equation = {name(t): c for t, c in mf.modified_equation(4, 0, 0).items()}
    assert equation == {
        "f": 1, "f'[f]": Fraction(-1, 2), "f'[f'[f]]": Fraction(1, 3), "f''[f,f]": Fraction(1, 12),
        "f'[f'[f'[f]]]": Fraction(-1, 4), "f'[f''[f,f]]": Fraction(-1, 12), "f''[f'[f],f]": Fraction(-1, 12),
        "f'''[f,f,f]": 0,
    }  # fmt: skip


def scalar(tree, u):
    """F(τ)(u) of f(u) = 1/(1+u), whose derivatives are (-1)^k k!/(1+u)^(k+1)."""
    k = len(tree)
    value = (-1) ** k * factorial(k) / (1 + u) ** (k + 1)
    for child in tree:
        value *= scalar(child, u)
    return value


@given(st.fractions(0, Fraction(4, 5), max_denominator=20), st.fractions(0, 2, max_denominator=10))
def test_the_manifold_is_invariant_to_its_order(lam, a):
    """w(u + hz) - z = O(h^p) with z = λw(u) + f(u + ha w(u)), in exact arithmetic at two small h."""
    top, u = 4, Fraction(1, 3)
    graph = mf.manifold_expansion(top, lam, a)

    def residual(h):
        w = lambda u: sum(c * h ** (order(t) - 1) * scalar(t, u) for t, c in graph.items())  # noqa: E731
        z = lam * w(u) + 1 / (1 + u + h * a * w(u))
        return abs(w(u + h * z) - z)

    h = (1 - lam) ** 2 / 10**5
    coarse, fine = residual(h), residual(h / 2)
    assert fine == 0 or float(coarse / fine) == pytest.approx(2**top, rel=0.02)


def test_numbers_stay_what_they_are():
    assert all(
        isinstance(c, (Fraction, int))
        for c in mf.modified_equation(4, Fraction(1, 3), Fraction(1, 7)).values()
    )
    floats = mf.modified_equation(5, 1 / 3, 1 / 7)
    exact = mf.modified_equation(5, Fraction(1, 3), Fraction(1, 7))
    for tree, c in exact.items():
        assert floats[tree] == pytest.approx(float(c), rel=1e-12)
    symbolic = mf.modified_equation(5, None, "momentum")
    numeric = mf.modified_equation(5, Fraction(1, 3), "momentum")
    assert all(symbolic[t].subs(LAM, sp.Rational(1, 3)) == sp.Rational(str(c)) for t, c in numeric.items())


def test_any_linear_memory_method_and_any_basis():
    """The family from A, b, c; and a method of three rows in two bases of its memory."""
    for lam, a in ((0.5, 0.0), (0.9, 0.9)):
        family = mf.modified_equation_of(mf.momentum_method(0.1, lam, a), 5)
        for tree, c in mf.modified_equation(5, lam, a).items():
            assert float(family[tree]) == pytest.approx(c, rel=1e-10)
    A_, b, c = (
        np.array([[1, 0.04, 0.02], [0, 0.5, 0.1], [0, 0, 0.3]]),
        np.array([0.07, 1, 0.5]),
        np.array([1, 0.03, 0.01]),
    )
    S = np.array([[1, 0, 0], [0, 2.0, 1.0], [0, -1.0, 3.0]])
    one = mf.modified_equation_of(mf.LinearMemory(A_, b, c, 0.1), 4)
    two = mf.modified_equation_of(
        mf.LinearMemory(S @ A_ @ np.linalg.inv(S), S @ b, c @ np.linalg.inv(S), 0.1), 4
    )
    for tree in one:
        assert float(two[tree]) == pytest.approx(float(one[tree]), rel=1e-9, abs=1e-12)


def field(u):
    """A field on a pytree with custom_jvp functions in it."""
    return {"a": jnp.logaddexp(u["a"], 0.3 * u["b"][0]) * u["b"], "b": -jax.nn.silu(u["b"]) + jnp.sin(u["a"])}


def dense(tree, u):
    """F(τ) through full derivative tensors: slow, obvious."""
    from jax.flatten_util import ravel_pytree

    flat, back = ravel_pytree(u)
    function = lambda x: ravel_pytree(field(back(x)))[0]  # noqa: E731
    tensor = function
    for _ in tree:
        tensor = jax.jacfwd(tensor)
    value = tensor(flat)
    for child in tree:
        value = value @ dense(child, u)
    return value


def test_differentials_against_dense_tensors():
    from jax.flatten_util import ravel_pytree

    u = {"a": jnp.array([0.3, -0.8]), "b": jnp.array([1.1, 0.4])}
    key = iter(range(100))
    coefficients = {t: 0.3 + 0.1 * next(key) for t in up_to(4)}
    expected = sum(c * dense(t, u) for t, c in coefficients.items())
    assert np.allclose(ravel_pytree(combine(field, u, coefficients))[0], expected, rtol=1e-11)
    for tree in up_to(4):
        assert np.allclose(ravel_pytree(combine(field, u, {tree: 1.0}))[0], dense(tree, u), rtol=1e-11)


def test_derivative_agrees_with_finite_differences():
    u, x = jnp.array([0.4, -0.2]), jnp.array([1.0, 0.5])
    g = lambda u: jnp.tanh(u) * u[::-1]  # noqa: E731
    eps = 1e-3
    stencil = (g(u + 2 * eps * x) - 2 * g(u + eps * x) + 2 * g(u - eps * x) - g(u - 2 * eps * x)) / (
        2 * eps**3
    )
    assert np.allclose(derivative(g, u, [x, x, x]), stencil, rtol=1e-4)


def loss(u):
    return jnp.sum(jnp.log(jnp.cosh(jnp.array([1.0, 1.5]) * u))) + 0.2 * jnp.sin(u[0] * u[1])


def on_manifold(method, loss, params):
    """The sixth-order graph: a start that does not spoil the orders up to 5."""
    force = lambda u: -jax.grad(loss)(u)  # noqa: E731
    graph = mf.manifold_expansion(6, float(method.momentum), float(method.lookahead))
    h = float(method.learning_rate)
    return combine(force, params, {t: c * h ** (order(t) - 1) for t, c in graph.items()})


@pytest.mark.parametrize("p", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("lookahead", [0.0, 0.5, 0.25])
def test_slow_flow_of_every_order(p, lookahead):
    """|u_n - u(t_n)| = O(h^p) from the manifold (±0.1, ±0.2 for p ≥ 4, as the window before rounding is short)."""
    study = mf.convergence_study(
        lambda h: mf.momentum_method(h, 0.5, lookahead), lambda m: mf.SlowFlow(m, order=p), loss,
        jnp.array([1.2, -0.8]), [2.0**-k for k in range(4, 8)], 1.0, start=on_manifold, tolerance=1e-13)  # fmt: skip
    assert study.orders[-1] == pytest.approx(p, abs=0.2 if p >= 4 else 0.1), str(study)


def test_a_method_s_own_numbers_are_taken():
    assert mf.modified_equation(2, mf.heavy_ball(0.1, 0.5).momentum)[((),)] == pytest.approx(-6)


def test_gradient_defect_is_for_series_in_f():
    with pytest.raises(TypeError, match="series in f alone"):
        mf.gradient_defect(mf.phase_expansion(2, Fraction(1, 2))[0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mf.modified_equation(0), "order must be an integer >= 1, got 0"),
        (lambda: mf.modified_equation(True), "order must be an integer >= 1, got True"),
        (
            lambda: mf.modified_equation(13, 0.5),
            "order must be <= 12 with numbers, got 13: order 12 .* takes 13 s",
        ),
        (lambda: mf.modified_equation(11), "order must be <= 10 with symbols, got 11: .*give numbers"),
        (
            lambda: jax.jit(lambda x: mf.modified_equation_of(mf.heavy_ball(0.1, x), 9)[()])(0.5),
            "<= 8 under jit, got 9",
        ),
        (lambda: mf.modified_equation(2, 1), r"momentum must be in \[0, 1\)"),
        (lambda: mf.modified_equation(2, 0.5, -1), "lookahead must be finite and >= 0"),
        (lambda: mf.modified_equation(2, 0.5, "momentun"), "did you mean 'momentum'"),
        (lambda: mf.modified_equation_of(mf.nesterov_sequence(0.1), 2), "momentum that varies"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
