"""The best h and λ for a spectrum, against non-smooth minimax searches on numpy's eigenvalues."""

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar

import momentumflow as mf
from momentumflow.linear.oscillator import best_momentum, critical_curvature, damping_ratio
from momentumflow.linear.tuning import KINDS

KAPPAS = (1.05, 4.0, 25.0, 400.0)
FREE = pytest.mark.parametrize("kind", ["HB", "NAG"])
CLOSE = 1e-6  # a rate at a double root is the square root of rounding away from itself


def factors(x, lam, kind):
    """max |ρ| by LAPACK on companion matrices of (7), a = 0 or λ."""
    a = lam if kind == "NAG" else 0.0
    x = np.asarray(x)
    matrix = np.zeros((*np.broadcast_shapes(np.shape(x), np.shape(lam)), 2, 2))
    matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0] = 1 + lam - x * (1 + a), x * a - lam, 1
    return np.abs(np.linalg.eigvals(matrix)).max(-1)


def worst(tuning, k, kind):
    return factors(tuning.learning_rate * np.asarray(k), tuning.momentum, kind).max()


def searched(k, kind):
    """The minimax rate over (h, λ): Nelder-Mead from the best points of a grid, restarted at its own end."""
    k = np.asarray(k) / np.max(k)

    def objective(point):
        x, lam = point
        return factors(x * k, lam, kind).max() if x > 0 and 0 <= lam < 1 else 10.0

    grid = [(x, lam) for x in np.linspace(0.1, 3.9, 14) for lam in (0.02, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)]
    ends = []
    for start in sorted(grid, key=objective)[:2]:
        for _ in range(4):
            options = {"xatol": 1e-13, "fatol": 1e-15, "maxiter": 600}
            found = minimize(objective, start, method="Nelder-Mead", options=options)
            start = found.x
        ends.append(found.fun)
    return min(ends)


@FREE
@pytest.mark.parametrize("kappa", KAPPAS)
def test_the_optimal_rate_is_that_of_a_minimax_search(kind, kappa):
    tuning = mf.optimal_tuning(1.0, kappa, kind)
    inside = np.geomspace(1, kappa, 7)  # a list: those between the extremes do not decide
    assert worst(tuning, inside, kind) == pytest.approx(tuning.rate, abs=CLOSE)
    assert searched(inside, kind) == pytest.approx(tuning.rate, abs=1e-6)


@pytest.mark.parametrize("kappa", KAPPAS)
def test_gradient_descents_optimum_is_that_of_a_search(kappa):
    tuning = mf.optimal_tuning(1.0, kappa, "GD")
    search = minimize_scalar(
        lambda h: np.abs(1 - h * np.array([1, kappa])).max(), bounds=(0, 2), options={"xatol": 1e-12}
    )
    assert search.fun == pytest.approx(tuning.rate, abs=1e-6)
    assert (tuning.momentum, tuning.lookahead) == (0, 0)


def test_the_numbers_of_the_literature():
    # Polyak (1964) and FACTS §6 for κ = 25: h = 1/9, λ = 4/9, rate 2/3; Lessard et al. (2016), Proposition 1
    heavy = mf.optimal_tuning(1.0, 25.0, "HB")
    np.testing.assert_allclose(heavy, [1 / 9, 4 / 9, 0, 2 / 3], rtol=1e-15)
    root = np.sqrt(76)
    lam = (root - 2) / (root + 2)
    np.testing.assert_allclose(
        mf.optimal_tuning(1.0, 25.0, "NAG"), [4 / 76, lam, lam, 1 - 2 / root], rtol=1e-15
    )
    np.testing.assert_allclose(mf.optimal_tuning(1.0, 25.0, "GD"), [1 / 13, 0, 0, 12 / 13], rtol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_units_of_curvature_are_those_of_one_over_h(kind):
    one, other = mf.optimal_tuning(1.0, 30.0, kind), mf.optimal_tuning(1e4, 3e5, kind)
    np.testing.assert_allclose(other, [one[0] / 1e4, *one[1:]], rtol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_many_spectra_at_once(kind):
    largest = np.array([[4.0], [25.0]])
    together = mf.optimal_tuning(1.0, largest, kind)
    for i, L in enumerate(largest[:, 0]):
        assert tuple(x[i, 0] for x in together) == mf.optimal_tuning(1.0, L, kind)


@pytest.mark.parametrize("x", [0.2, 1.2, 3.0, 3.9])  # hL
@FREE
def test_the_momentum_for_a_given_learning_rate(kind, x):
    if kind == "NAG" and x > 2:
        return
    k = np.array([1.0, 4.0, 25.0])
    tuning = mf.optimal_tuning(1.0, 25.0, kind, learning_rate=x / 25)
    # the rate rises with the distance from the optimum on both sides (module's docstring), so a zoom finds it
    low, high = 0.0, 1.0
    for _ in range(12):
        lam = np.linspace(low, high, 41)
        rate = factors(x / 25 * k[:, None], lam, kind).max(0)
        i = int(rate.argmin())
        low, high = lam[max(i - 1, 0)], lam[min(i + 1, 40)]
    assert tuning.rate == pytest.approx(rate.min(), abs=CLOSE)
    assert tuning.momentum == pytest.approx(lam[i], abs=1e-5)
    assert tuning.learning_rate == x / 25


@pytest.mark.parametrize("h", [1e-3, 0.03, 0.12, 0.159])
def test_heavy_balls_momentum_for_a_given_learning_rate_in_closed_form(h):
    # by hand from max|ρ| = √λ beyond (1-√x)²: Qian's best momentum of whichever extreme asks for more
    tuning = mf.optimal_tuning(1.0, 25.0, "HB", learning_rate=h)
    expected = max(float(best_momentum(h, k)) for k in (1.0, 25.0))
    assert tuning.momentum == pytest.approx(expected, rel=1e-12)
    assert tuning.rate == pytest.approx(np.sqrt(expected), rel=1e-12)


@pytest.mark.parametrize("h", [1e-3, 0.01, 0.04])
def test_nesterovs_momentum_for_a_small_learning_rate_in_closed_form(h):
    # both roots are 1-√(hμ) for the λ of Kovachki & Stuart (2021), eq. (5); hL <= 1
    tuning = mf.optimal_tuning(1.0, 25.0, "NAG", learning_rate=h)
    assert tuning.momentum == pytest.approx((1 - np.sqrt(h)) / (1 + np.sqrt(h)), rel=1e-11)
    assert tuning.rate == pytest.approx(1 - np.sqrt(h), rel=1e-12)


@FREE
@pytest.mark.parametrize("lam", [0.0, 0.2, 0.4, 0.7, 0.95])
def test_the_learning_rate_for_a_given_momentum(kind, lam):
    k = np.array([1.0, 4.0, 25.0])
    tuning = mf.optimal_tuning(1.0, 25.0, kind, momentum=lam)
    h = np.linspace(1e-4, 4 / 25, 40_001)
    rates = factors(h[:, None] * k, lam, kind).max(-1)
    assert tuning.rate == pytest.approx(rates.min(), abs=2e-5)
    assert tuning.rate <= rates.min() + CLOSE
    assert worst(tuning, k, kind) == pytest.approx(tuning.rate, abs=CLOSE)
    if kind == "HB" and lam < 4 / 9:  # by hand: the factor rises with |1+λ-hk|, so both extremes are as far
        assert tuning.learning_rate == pytest.approx(2 * (1 + lam) / 26, rel=1e-12)
    if kind == "HB" and lam > 4 / 9:  # every h of an interval gives √λ: Goh (2017), the ripples
        ends = (1 - np.sqrt(lam)) ** 2, (1 + np.sqrt(lam)) ** 2 / 25
        assert tuning.learning_rate == pytest.approx(np.mean(ends), rel=1e-9)
        assert tuning.rate == pytest.approx(np.sqrt(lam), rel=1e-12)


def test_given_the_optimum_the_other_is_found_again():
    for kind in ("HB", "NAG"):
        best = mf.optimal_tuning(1.0, 25.0, kind)
        for given in ({"learning_rate": best.learning_rate}, {"momentum": best.momentum}):
            np.testing.assert_allclose(mf.optimal_tuning(1.0, 25.0, kind, **given), best, rtol=1e-8)
    h = mf.optimal_tuning(1.0, 25.0, "GD").learning_rate
    assert mf.optimal_tuning(1.0, 25.0, "GD", learning_rate=h).rate == pytest.approx(12 / 13, rel=1e-15)


def test_iterates_reach_the_rate():
    k = np.array([1.0, 5.0, 25.0])
    for kind in KINDS:
        tuning = mf.optimal_tuning(1.0, 25.0, kind)
        run = mf.iterate(tuning.method, mf.Quadratic(k), jnp.ones(3), 400, save_every=200)
        ratio = np.linalg.norm(run.params[2]) / np.linalg.norm(run.params[1])
        # a double root: nρⁿ, so that the ratio over 200 to 400 is 2ρ^200
        expected = tuning.rate**200 * (1 if kind == "GD" else 2)
        assert np.log(ratio) == pytest.approx(np.log(expected), abs=0.1)


def test_only_gradient_descents_rate_carries_over():
    assert [mf.optimal_tuning(1.0, 25.0, kind).carries_over for kind in KINDS] == [True, False, False]
    assert mf.optimal_tuning(1.0, 25.0, "HB", momentum=0.0).carries_over
    start = jnp.array([3.3])
    ends = {}
    for kind in KINDS:
        run = mf.iterate(mf.optimal_tuning(1.0, 25.0, kind).method, mf.PiecewiseQuadratic(), start, 500)
        ends[kind] = np.abs(np.asarray(run.params[-3:])).max()
    # Lessard, Recht & Packard (2016), §4.6: the points of the cycle
    assert ends["HB"] == pytest.approx(2592 / 1225, abs=1e-12)
    assert max(ends["GD"], ends["NAG"]) < 1e-15


# --- on average -------------------------------------------------------------------------------------------


def mean_square_rate(h, lam, kind, k, weights, steps):
    """By the recursion itself, for arrays of h and λ."""
    h, lam = np.asarray(h)[..., None], np.asarray(lam)[..., None]
    a = lam if kind == "NAG" else 0.0
    now = before = np.ones_like(k)
    for _ in range(steps):
        ahead = now + a * (now - before)
        now, before = now + lam * (now - before) - h * k * ahead, now
    return (now**2 @ weights / weights.sum()) ** (1 / (2 * steps))


@pytest.mark.parametrize("kind", KINDS)
def test_the_average_rate_is_that_of_the_recursion_and_no_neighbour_is_better(kind):
    k, weights, steps = np.geomspace(0.05, 2, 12), np.linspace(1, 3, 12), 15
    tuning = mf.average_tuning(k, steps, weights, kind)
    best = mean_square_rate(tuning.learning_rate, tuning.momentum, kind, k, weights, steps)
    assert tuning.rate == pytest.approx(best, rel=1e-9)
    random = np.random.default_rng(1).uniform(size=(3000, 2))
    momenta = random[:, 1] if kind != "GD" else 0 * random[:, 1]
    assert best <= mean_square_rate(2 * random[:, 0], momenta, kind, k, weights, steps).min()
    for dh, dlam in ((1e-4, 0), (-1e-4, 0), (0, 1e-4), (0, -1e-4)):
        near = (tuning.learning_rate * (1 + dh), tuning.momentum + dlam * (kind != "GD"))
        assert mean_square_rate(*near, kind, k, weights, steps) >= best * (1 - 1e-12)


def test_on_average_few_flat_directions_can_wait():
    k, steps = np.array([0.001, 0.3, 1.0]), 30
    patient = mf.average_tuning(k, steps, np.array([1e-8, 1.0, 1.0]))
    assert patient.momentum < mf.optimal_tuning(0.001, 1.0).momentum < mf.average_tuning(k, steps).momentum
    weightless = mf.average_tuning(k, steps, np.array([0.0, 1.0, 1.0]))
    np.testing.assert_allclose(weightless[:2], mf.average_tuning(k[1:], steps)[:2], rtol=1e-12)


def test_on_average_tends_to_the_worst_case():
    k, worst_case = np.array([0.1, 0.4, 1.0]), np.array(mf.optimal_tuning(0.1, 1.0))
    few, many = (np.abs(np.array(mf.average_tuning(k, steps)) - worst_case) for steps in (5, 320))
    assert np.all(many < 0.01)
    assert np.all(few[[0, 1, 3]] > 0.01)


def test_one_eigenvalue_needs_no_momentum():
    assert mf.average_tuning(np.array([4.0, 4.0]), 3) == (0.25, 0.0, 0.0, 0.0)


# --- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: mf.optimal_tuning(2.0, 1.0),
            "smallest must be < largest, got 2.0 and 1.0: .* h = 1/k arrives",
        ),
        (lambda: mf.optimal_tuning(1.0, 1.0), "smallest must be < largest"),
        (lambda: mf.optimal_tuning(0.0, 1.0), r"smallest must be finite and > 0, got 0.0: leave out"),
        (lambda: mf.optimal_tuning(-1.0, 1.0), "smallest must be finite and > 0"),
        (lambda: mf.optimal_tuning(np.nan, 1.0), "smallest must be finite and > 0, got nan"),
        (lambda: mf.optimal_tuning(1.0, np.inf), "largest must be finite and > 0, got inf"),
        (lambda: mf.optimal_tuning(1.0, 2.0, "Nag"), "unknown kind of method 'Nag': did you mean 'NAG'"),
        (lambda: mf.optimal_tuning(1.0, 2.0, momentum=1.0), r"momentum must be in \[0, 1\), got 1.0"),
        (lambda: mf.optimal_tuning(1.0, 2.0, momentum=-0.1), r"momentum must be in \[0, 1\)"),
        (
            lambda: mf.optimal_tuning(1.0, 2.0, "GD", momentum=0.5),
            "momentum must not be given for GD, got 0.5",
        ),
        (
            lambda: mf.optimal_tuning(1.0, 2.0, learning_rate=2.0),
            r"must be < 2 = 4/largest, got 2.0: no momentum",
        ),
        (lambda: mf.optimal_tuning(1.0, 2.0, "NAG", learning_rate=1.0), "must be < 1 = 2/largest"),
        (lambda: mf.optimal_tuning(1.0, 2.0, learning_rate=np.nan), "learning_rate must be finite and > 0"),
        (lambda: mf.optimal_tuning(1.0, 2.0, learning_rate=0.1, momentum=0.5), "nothing is left to tune"),
        (lambda: mf.optimal_tuning(np.ones(2), 2.0, momentum=0.5), r"all values must be numbers, got shapes"),
        (lambda: mf.average_tuning(np.ones((2, 2)), 3), "must be vectors of one length"),
        (lambda: mf.average_tuning(np.ones(2), 3, np.ones(3)), "must be vectors of one length"),
        (lambda: mf.average_tuning(np.array([1.0, 0.0]), 3), "eigenvalues must be finite and > 0"),
        (lambda: mf.average_tuning(np.array([1.0, 2.0]), 0), "steps must be an integer >= 1, got 0"),
        (
            lambda: mf.average_tuning(np.array([1.0, 2.0]), 3, np.array([1.0, -1.0])),
            "weights must be finite and >= 0",
        ),
        (lambda: mf.average_tuning(np.array([1.0, 2.0]), 3, np.zeros(2)), "weights must have a positive sum"),
        (lambda: mf.average_tuning(np.array([1.0, 2.0]), 3, kind="Adam"), "unknown kind of method 'Adam'"),
    ],
)
def test_bad_input(call, message, monkeypatch):
    monkeypatch.setattr(
        jaxtyping.config, "jaxtyping_disable", True
    )  # the session's checker would speak first
    with pytest.raises(ValueError, match=message):
        call()


def test_damping_ratio_is_one_at_the_critical_curvature():
    critical = critical_curvature(2.0, 3.0)
    ratios = np.asarray(damping_ratio(2.0, 3.0, critical * np.array([0.25, 1.0, 4.0])))
    np.testing.assert_allclose(ratios, [2, 1, 0.5], rtol=1e-15)
