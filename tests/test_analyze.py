"""`mf.analyze`, its statements verified one by one where all is known, and the command `analyze`.

Independent routes: roots of the characteristic polynomial by numpy, runs of the method itself, and for the models the
exact rate of each on a quadratic expanded by mpmath, and solutions of the models on a loss that is none.
"""

import json
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import mpmath
import numpy as np
import pytest
import scipy.integrate
from typer.testing import CliRunner

import momentumflow as mf
from momentumflow.cli import app
from momentumflow.study import target
from momentumflow.study.local_models import (
    INERTIAL,
    MOMENTUM_ODE,
    PHASE,
    PRINCIPAL,
    RESCALED,
    SLOW,
    measure_forces,
    model_errors,
    slow_of,
)

K = np.array([0.5, 1.0, 2.0, 4.0, 8.0])
START = jnp.array([1.0, -1.0, 0.5, 2.0, 1.0])


class Diagonal(eqx.Module):
    k: jax.Array
    shift: jax.Array

    def __call__(self, u):
        return jnp.sum(self.k * u**2) / 2 + self.shift @ u


def diagonal(spectrum=K, shift=0.0):
    return Diagonal(jnp.asarray(spectrum), jnp.full(5, shift))


def analyze(method, loss=None, u=START, **changes):
    return mf.analyze(diagonal() if loss is None else loss, u, method, **changes)


def roots(x, lam, a):
    return np.roots([1, -(1 + lam - x * (1 + a)), lam - x * a]).astype(complex)


CASES = [(0.01, 0.9, 0.0), (0.1, 0.9, 0.9), (0.05, 0.5, 0.2), (0.2, 0.0, 0.0), (0.44, 0.9, 0.0)]


@pytest.mark.parametrize(("h", "lam", "a"), CASES)
def test_numbers_of_a_quadratic(h, lam, a):
    found = analyze(mf.momentum_method(h, lam, a))
    limit = 2 * (1 + lam) / ((1 + 2 * a) * h)
    gradient = K * np.asarray(START)
    c = (1 / (1 - lam) - a - 0.5) / (1 - lam)
    expected = {
        "loss": (K * np.asarray(START) ** 2).sum() / 2,
        "gradient": np.linalg.norm(gradient),
        "sharpness": 8.0,
        "smallest curvature": 0.5,
        "trace": K.sum(),
        "curvature along the gradient": (K * gradient**2).sum() / (gradient**2).sum(),
        "curvature along the velocity": None,
        "stability limit": limit,
        "margin": limit / 8,
        "largest stable learning rate": h * limit / 8,
        "effective learning rate": h / (1 - lam),
        "layer": -1 / math.log(lam) if lam else 0.0,
        "lag": lam / (1 - lam),
        "implicit regulariser": h * c * (gradient**2).sum() / 2,
        "its share of the loss": h * c * (gradient**2).sum() / (K * np.asarray(START) ** 2).sum(),
        "largest h|k|": 8 * h,
        "slow flow limit": (1 - lam) ** 2 / (1 + math.sqrt(lam - a * (1 - lam))) ** 2,
        "Theorem 3's condition": (1 - lam) ** 2 / (1 + lam - 2 * a * (1 - lam)),
    }
    for name, value in expected.items():
        assert found[name] is None if value is None else found[name] == pytest.approx(value, rel=1e-9), name


@pytest.mark.parametrize(("h", "lam", "a"), CASES)
def test_modes_of_a_quadratic(h, lam, a):
    found = analyze(mf.momentum_method(h, lam, a))
    assert [mode.curvature for mode in found.modes] == pytest.approx(K[::-1])
    for mode in found.modes:
        pair = roots(h * mode.curvature, lam, a)
        dominant = pair[np.abs(pair).argmax()]
        kind = (
            "rippling" if abs(dominant.imag) > 1e-9 else "sign-flipping" if dominant.real < 0 else "monotone"
        )
        assert mode.factor == pytest.approx(abs(dominant))
        assert mode.regime == (kind if abs(dominant) < 1 else "divergent")
        assert mode.time_constant == pytest.approx(1 / abs(math.log(abs(dominant))))
        if kind == "rippling":
            assert mode.period == pytest.approx(2 * math.pi / abs(np.angle(dominant)))


def test_the_effective_learning_rate_the_lag_and_the_layer_are_those_of_a_run():
    method = mf.nesterov(0.1, 0.9)
    found = analyze(method)
    run = np.asarray(mf.iterate(method, diagonal(0 * K, 1.0), jnp.zeros(5), 400).params)[:, 0]
    assert run[-1] - run[-2] == pytest.approx(-found["effective learning rate"])
    assert 400 + run[-1] / found["effective learning rate"] == pytest.approx(found["lag"])
    speed = -np.diff(run) / found["effective learning rate"]
    assert math.log((1 - speed[0]) / (1 - speed[9])) == pytest.approx(9 / found["layer"])


@pytest.mark.parametrize("make", [mf.heavy_ball, mf.nesterov])
def test_the_largest_stable_learning_rate_is_that_of_runs(make):
    h = analyze(make(0.01, 0.9))["largest stable learning rate"]
    for share, grows in ((0.98, False), (1.02, True)):
        run = mf.iterate(make(share * h, 0.9), diagonal(), START, 2000)
        assert (float(jnp.abs(run.params[-1]).max()) > 1) is grows


def rates(lam, a):
    """u' = rate(x)·f of each model on an eigen-direction, x = hk."""
    lam, a = mpmath.mpf(lam), mpmath.mpf(a)
    bar, ell = 1 / (1 - lam), -mpmath.log(lam)
    c, alpha, mass = bar * (bar - a - 0.5), (1 + lam - 2 * a * (1 - lam)) / 2, (1 - lam) / ell
    beta = c - bar * mass * (bar - a / lam)
    # of z^0 … z^5, equal to log z at 1, 1, 1, λ, λ, λ²
    rows = [
        [1] * 6, range(6), [j * (j - 1) for j in range(6)], [lam**j for j in range(6)],
        [j * lam ** (j - 1) if j else 0 for j in range(6)], [lam ** (2 * j) for j in range(6)],
    ]  # fmt: skip
    weights = mpmath.lu_solve(
        mpmath.matrix([list(row) for row in rows]), mpmath.matrix([0, 1, -1, -ell, 1 / lam, -2 * ell])
    )

    def slow(x):
        trace = 1 + lam - x * (1 + a)
        return (trace + mpmath.sqrt(trace**2 - 4 * (lam - x * a))) / 2

    def oscillator(m, friction, spring):
        return 2 * spring / (friction + mpmath.sqrt(friction**2 - 4 * m * spring))

    return lambda x: -mpmath.log(slow(x)) / x, {
        RESCALED: (1, lambda x: bar),
        SLOW: (2, lambda x: bar * (1 + c * x)),
        MOMENTUM_ODE: (2, lambda x: oscillator(alpha, 1 - lam, x) / x),
        INERTIAL: (2, lambda x: oscillator(mass, 1 - lam + mass * a / lam * x, x + beta * x**2) / x),
        PHASE: (2, lambda x: -sum(w * slow(x) ** j for j, w in enumerate(weights)) / x),
    }


@pytest.mark.parametrize(("lam", "a"), [(0.9, 0.0), (0.9, 0.9), (0.5, 0.0), (0.5, 0.2)])
def test_drifts_of_the_models_are_the_next_terms_of_their_rates(lam, a):
    h, size = 1e-3, float(np.linalg.norm(K * np.asarray(START)))
    found = {model.model: model for model in analyze(mf.momentum_method(h, lam, a)).models}
    with mpmath.workdps(60):
        exact, models = rates(lam, a)
        x = mpmath.mpf(10) ** -9
        for name, (power, rate) in models.items():
            coefficient = abs(float((exact(x) - rate(x)) / x**power))
            drift = h**power * coefficient * np.linalg.norm(K ** (power + 1) * np.asarray(START))
            assert found[name].drift == pytest.approx(drift, rel=2e-5), name
            assert found[name].relative == pytest.approx(drift * (1 - lam) / size, rel=2e-5)
            assert found[name].offset == pytest.approx(
                h * lam / (1 - lam) ** 2 * size if name == RESCALED else 0.0
            )


@pytest.mark.parametrize(("make", "lam"), [(mf.heavy_ball, 0.9), (mf.nesterov, 0.9)])
def test_what_the_momentum_ode_misses_in_the_layer(make, lam):
    # MATH E3, measured at h = 2^-16: 0.031 h|f| for heavy ball, 3.262 h|f| for Nesterov
    found = {model.model: model for model in analyze(make(2.0**-16, lam)).models}
    share = found[MOMENTUM_ODE].layer / (2.0**-16 * float(np.linalg.norm(K * np.asarray(START))))
    assert share == pytest.approx(0.031 if make is mf.heavy_ball else 3.263, abs=5e-4)


@pytest.mark.parametrize("name", [SLOW, MOMENTUM_ODE, INERTIAL, PHASE])
def test_drifts_of_the_models_on_a_loss_that_is_no_quadratic(name):
    """Past its layer the velocity of a model differs from that of the slow flow of order 4 by its drift."""

    def loss(u):
        return jnp.sum(jnp.cosh(u) + u**3 / 5)

    method, start = mf.nesterov(2.0**-11, 0.5), np.array([0.8])
    makes = {SLOW: mf.SlowFlow, MOMENTUM_ODE: mf.MomentumODE, INERTIAL: mf.InertialFlow, PHASE: mf.PhaseFlow}
    flow, state = makes[name](method), (jnp.asarray(start),)
    field = jax.jit(lambda *state: jnp.stack(flow.field(loss)(jnp.array(0.0), state)))
    if name != SLOW:
        begin = np.ravel(jnp.stack(flow.initial_state(loss, state[0], "rest")))
        flat = scipy.integrate.solve_ivp(
            lambda t, x: np.ravel(field(*x.reshape(2, 1))),
            (0, 2.0**-5),
            begin,
            "DOP853",
            rtol=1e-13,
            atol=1e-13,
        ).y[:, -1]
        state = tuple(jnp.asarray(flat).reshape(2, 1))
    velocity = field(*state)[0]
    (exact,) = jax.jit(mf.SlowFlow(method, order=4).field(loss))(jnp.array(0.0), state[:1])
    forces = measure_forces(loss, state[0], None, None)
    found = {m.model: m for m in model_errors(method, slow_of(method), forces, 0.01, (0.1, 1.0))}[name]
    assert abs(float((velocity - exact)[0])) == pytest.approx(found.drift, rel=0.03)


@pytest.mark.parametrize(
    ("h", "lam", "nesterov", "name"),
    [
        (0.0003, 0.9, False, {SLOW}),
        (0.0004, 0.9, False, {INERTIAL, PHASE}),
        (0.47, 0.9, False, {INERTIAL, PHASE}),
        (0.4749, 0.9, False, {PRINCIPAL}),
        (0.476, 0.9, False, {None}),
        (0.12, 0.9, True, {INERTIAL, PHASE}),
        (0.15, 0.9, True, {PRINCIPAL}),
        (0.1, 0.0, False, {SLOW}),
        (0.2, 0.0, False, {PRINCIPAL}),
    ],
)
def test_which_model_to_trust(h, lam, nesterov, name):
    found = analyze(mf.momentum_method(h, lam, lam if nesterov else 0.0))
    assert found.trust[0] in name
    said = {finding.name: finding for finding in found.findings}
    assert (found.trust[0] or "No continuous model") in said["model to trust"].text
    alpha = (1 + lam - 2 * lam * nesterov * (1 - lam)) / 2
    applies = "does not apply" not in said["Theorem 3's condition"].text
    assert applies is (8 * h <= (1 - lam) ** 2 / (2 * alpha))
    assert ("Unstable" in said["sharpness over its limit"].text) is (None in name)


@pytest.mark.parametrize(("lam", "a", "kind"), [(0.9, 0.0, "HB"), (0.9, 0.9, "NAG"), (0.0, 0.0, "GD")])
def test_the_suggestion_for_a_convex_loss_is_the_best_tuning(lam, a, kind):
    suggestion = analyze(mf.momentum_method(0.01, lam, a)).suggestion
    best = mf.optimal_tuning(0.5, 8.0, kind)
    assert tuple(suggestion)[:3] == pytest.approx((best.learning_rate, best.momentum, best.rate))
    assert ("need not carry over" in suggestion.reason) is (kind != "GD")


@pytest.mark.parametrize(
    ("spectrum", "sentence", "trusted"),
    [
        ([-1.0, 1.0, 2.0, 4.0, 8.0], "The Hessian is indefinite", True),
        ([0.0, 1.0, 2.0, 4.0, 8.0], "flat directions", True),
        ([-1.0, -2.0, -3.0, -4.0, -5.0], "No positive curvature", True),
        ([0.0] * 5, "The Hessian is zero", True),
    ],
)
def test_a_hessian_that_is_not_positive_is_reported(spectrum, sentence, trusted):
    found = analyze(mf.heavy_ball(0.1, 0.9), diagonal(spectrum, 1.0))
    assert any(sentence in finding.text for finding in found.findings)
    if max(spectrum) > 0:
        wanted = min(found["largest stable learning rate"] / 2, 2 * 0.1)
        assert found.suggestion.learning_rate == pytest.approx(wanted)
        assert found.suggestion.rate is None
    else:
        assert "positive curvature" in found.suggestion
        assert found["margin"] is None
    regimes = {round(mode.curvature, 9): mode for mode in found.modes}
    for k in spectrum:
        if k < 0:
            assert regimes[k].regime == "escaping"
            assert regimes[k].factor == pytest.approx(np.abs(roots(0.1 * k, 0.9, 0.0)).max())
        if k == 0:
            assert regimes[k].regime == "flat"
    json.dumps(found.to_dict(), allow_nan=False)
    assert "n/a" in str(found)


def test_a_minimum_has_no_way_to_miss():
    found = analyze(mf.heavy_ball(0.1, 0.9), u=jnp.zeros(5))
    assert {model.relative for model in found.models} == {None}
    assert found["curvature along the gradient"] is None
    assert found["implicit regulariser"] == 0
    json.dumps(found.to_dict(), allow_nan=False)


def test_other_methods_have_what_follows_from_their_matrices():
    h, lam = 0.05, 0.8
    known = analyze(mf.heavy_ball(h, lam))
    same = analyze(mf.LinearMemory([[1, h * lam], [0, lam]], [h, 1.0], [1.0, 0.0], h))
    for name in ("stability limit", "effective learning rate", "layer", "lag", "implicit regulariser"):
        assert same[name] == pytest.approx(known[name])
    assert [m.regime for m in same.modes] == [m.regime for m in known.modes]
    assert same.models[0].drift == pytest.approx(known.models[0].drift)
    assert same["slow flow limit"] is None
    assert same.models[-1].drift is None
    assert "family (7)" in same.models[-1].reason
    for method in (mf.rescaled_gradient_descent(0.01, 0.9), mf.wilson_splitting(0.01, 1.0)):
        assert analyze(method)["effective learning rate"] > 0
        str(analyze(method))


def test_a_method_that_varies_is_frozen():
    found = analyze(mf.nesterov_sequence(0.01), iteration=30)
    assert found["stability limit"] == pytest.approx(mf.sharpness_limit(mf.nesterov_sequence(0.01), 30))
    assert found["effective learning rate"] is None
    assert found.trust[0] is None
    str(found)
    with pytest.raises(ValueError, match="pass the n"):
        analyze(mf.nesterov_sequence(0.01))


def test_a_memory_that_never_fades_has_no_slow_flow():
    found = analyze(mf.LinearMemory([[1, 0.1], [0, 1]], [0.1, 1.0], [1.0, 0.0], 0.1))
    assert found["effective learning rate"] is None
    assert found.trust == (
        None,
        next(q.note for q in found.quantities if q.name == "effective learning rate"),
    )
    json.dumps(found.to_dict(), allow_nan=False)
    assert "never fades" in str(found)


def test_a_method_that_is_not_linear_in_its_memory_is_refused(monkeypatch):
    monkeypatch.setattr(
        jaxtyping.config, "jaxtyping_disable", True
    )  # the session's checker would speak first
    with pytest.raises(TypeError, match="method must be linear in its memory, got function"):
        mf.analyze(diagonal(), START, lambda u: u)


def test_the_lag_behind_a_flow_counts_the_velocity():
    velocity = 10 * -jnp.asarray(K) * START  # λ̄f: on the manifold to leading order
    found = {model.model: model for model in analyze(mf.heavy_ball(0.01, 0.9), velocity=velocity).models}
    assert found[RESCALED].offset == pytest.approx(0, abs=1e-9)


def test_every_finding_stands_on_a_number_and_the_params_stay():
    before = np.array(START)
    found = analyze(mf.heavy_ball(0.01, 0.9))
    assert all(finding.name and finding.text.endswith((".", ")")) for finding in found.findings)
    assert np.isfinite([finding.value for finding in found.findings]).all()
    assert np.array_equal(START, before)
    shown = str(found)
    assert "heavy ball, h = 0.01, λ = 0.9" in shown
    assert all(quantity.name in shown for quantity in found.quantities)
    with pytest.raises(ValueError, match="did you mean 'sharpness'"):
        found["sharpnes"]


@pytest.mark.parametrize("a", [0.0, 0.9, 0.3])
def test_the_plane_shows_the_spectrum(a):
    from momentumflow import _plot

    ax = analyze(mf.momentum_method(0.01, 0.9, a)).plot(_plot.figure(5, 4).subplots())
    dots = next(line for line in ax.lines if line.get_marker() == "o")
    np.testing.assert_allclose(10 ** np.asarray(dots.get_xdata()), 0.01 * K[::-1])
    assert set(dots.get_ydata()) == {0.9}


def test_the_plane_is_the_familys():
    with pytest.raises(ValueError, match=r"drawn for the family \(7\)"):
        analyze(mf.wilson_splitting(0.01, 1.0)).plot()


MODULE = """
import jax.numpy as jnp
from test_analyze import START, diagonal

def problem():
    return diagonal(), START

in_batches = (lambda u, x: jnp.mean((u - x) ** 2), jnp.ones(2), jnp.zeros((3, 4, 2)))
number = 3
pair = (1, 2)

def vector():
    return (lambda u: u), START

def broken():
    raise RuntimeError("no data\\nhere")

def integers():
    return diagonal(), jnp.ones(5, int)

def asks(n):
    return n
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "of_the_user.py").write_text(MODULE)
    (tmp_path / "with_a_mistake.py").write_text("import nothing_such")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(app, ["analyze", *map(str, arguments)])


def test_the_command_shows_writes_and_draws(folder):
    result = call(
        "of_the_user:problem", "--learning-rate", 0.01, "--nesterov", "--json", "a.json", "--plot", "a.png"
    )
    assert result.exit_code == 0, result.output
    assert "Nesterov, h = 0.01, λ = 0.9" in result.stdout
    told = json.loads((folder / "a.json").read_text())
    numbers = {quantity["name"]: quantity["value"] for quantity in told["quantities"]}
    assert numbers["sharpness"] == pytest.approx(8)
    assert (folder / "a.png").read_bytes()[:4] == b"\x89PNG"
    printed = call("of_the_user:problem", "--learning-rate", 0.01, "--json", "-")
    assert json.loads(printed.stdout)["method"] == "heavy ball, h = 0.01, λ = 0.9"


def test_a_tuple_with_batches():
    assert target.Target(1, 2, 3).batches == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("of_the_user", "must be given as MODULE:FUNCTION"),
        (
            "nowhere:problem",
            "nowhere cannot be imported: ModuleNotFoundError: No module named 'nowhere'. Run from",
        ),
        ("with_a_mistake:problem", "with_a_mistake cannot be imported: ModuleNotFoundError"),
        ("of_the_user:problen", "did you mean 'problem'"),
        ("of_the_user:number", "must give (loss, params), or (loss, params, batches)"),
        ("of_the_user:pair", "got (int, int)"),
        ("of_the_user:vector", "gives no loss at its params: ValueError: loss must return one scalar"),
        (
            "of_the_user:integers",
            "gives no loss at its params: TypeError: params must be real floating point",
        ),
        ("of_the_user:broken", "broken() failed: RuntimeError: no data here. It must need no arguments"),
        ("of_the_user:asks", "asks() failed: TypeError"),
    ],
)
def test_what_is_no_loss_is_said_in_a_sentence(folder, name, message):
    result = call(name, "--learning-rate", 0.1)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("momentumflow: ")
    assert message in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--learning-rate", -1], "learning_rate must be finite and > 0"),
        (["--learning-rate", 0.1, "--momentum", 1], "momentum must be in [0, 1)"),
        (["--learning-rate", 0.1, "--nesterov", "--lookahead", 0.5], "--lookahead 0.5 must be left out"),
    ],
)
def test_bad_options(folder, options, message):
    result = call("of_the_user:problem", *options)
    assert result.exit_code == 2
    assert message in result.stderr
