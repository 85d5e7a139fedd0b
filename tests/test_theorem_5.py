"""Theorem 5: the exact graph by routes of its own, the corrected bound on random runs, and checks that see an error."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from mpmath import mp, mpf

import momentumflow as mf
from momentumflow._progress import SILENT
from momentumflow.experiments import _attraction as attraction
from momentumflow.experiments import _exact_graph as exact
from momentumflow.experiments import paper_theorem_5 as experiment


def steps_for(rate):
    """Iterations that bring rate^steps to 1e-14."""
    return np.ceil(np.log(1e-14) / np.log(rate)).astype(int)


def test_the_graph_of_a_quadratic_is_v_over_u():
    """v = s(k)u, s = (1 - 1/ρ)/h, ρ the slow root: to 1e-12 for random λ, a, h and curvatures of either sign."""
    rng, n = np.random.default_rng(1), 300
    lam, curvature = rng.uniform(0.05, 0.9, n), rng.uniform(-1, 1, (n, 2))
    a = np.where(rng.random(n) < 0.5, 0, lam)
    h = rng.uniform(0.1, 0.7, n) * (1 - np.sqrt(lam)) ** 2
    x = h[:, None] * curvature
    half = (1 - lam[:, None] + x * (1 + a[:, None])) / 2
    root = np.sqrt(half**2 - x)  # of (7): ρ = 1 - half ± root
    slow, fast = 1 - half + root, 1 - half - root
    drop = x / (half + root)  # 1 - slow, which the difference would lose at small x
    u = rng.uniform(-2, 2, (n, 2))
    found = exact.velocity(
        eqx.filter_vmap(mf.Quadratic)(jnp.asarray(curvature)),
        attraction.ensemble(h, lam, a),
        jnp.asarray(u),
        steps_for((fast / slow).max(axis=1)),
    )
    expected = -drop / slow / h[:, None] * u
    assert np.max(np.abs(found / expected - 1)) < 1e-12


@pytest.mark.parametrize(("momentum", "lookahead"), [("0.5", "0"), ("0.5", "0.5"), ("0.8", "0")])
def test_the_graph_of_a_pendulum_is_the_unstable_manifold_of_its_saddle(momentum, lookahead):
    """1 - cos u: in 60 digits, a run from 1e-25 of the maximum π along its slow direction stays on the graph."""
    tau = mf.largest_learning_rate(
        mf.Cosine().bounds(jnp.inf), float(momentum), float(lookahead)
    ).learning_rate
    h = 0.8 * float(tau)
    u, v = [], []
    with mp.workdps(60):
        lam, a, x = mpf(float(momentum)), mpf(float(lookahead)), mpf(h)
        mean = (1 + lam + x * (1 + a)) / 2  # (7) at k = -1
        slow = mean + mp.sqrt(mean**2 - lam - x * a)
        offset = -(mpf(10) ** -25)
        point, velocity = mp.pi + offset, (1 - 1 / slow) / x * offset
        while point > 1e-3:
            velocity = lam * velocity - mp.sin(point + x * a * velocity)
            point += x * velocity
            if point < 3:
                u.append(float(point))
                v.append(float(velocity))
    pick = np.linspace(0, len(u) - 1, 1024).astype(int)  # the experiment's shape: compiled once
    points, expected = np.array(u)[pick], np.array(v)[pick]
    methods = attraction.ensemble(*(np.full(1024, float(c)) for c in (h, momentum, lookahead)))
    bounds, method = mf.Cosine().bounds(jnp.inf), mf.momentum_method(h, float(momentum), float(lookahead))
    steps = np.full(1024, steps_for(float(mf.manifold_constants(bounds, method).rate)))
    found = exact.velocity(
        mf.Cosine(2), methods, jnp.asarray(np.stack([points, -points], axis=1)), jnp.asarray(steps)
    )
    assert np.max(np.abs(found[:, 0] / expected - 1)) < 1e-12
    assert np.max(np.abs(found[:, 1] / expected + 1)) < 1e-12  # the other half, by symmetry


@pytest.fixture(scope="module")
def measured():
    return experiment.run(experiment.PRESETS["quick"], SILENT)


def test_the_corrected_bound_holds_and_the_printed_one_is_refuted(measured):
    assert {check.verdict for check in experiment.checks(measured)} == {"held", "refuted"}
    assert float(experiment.over_bound(measured, "rate").max()) <= 1
    assert np.all(experiment.worst_rate(measured) < measured["rate"])


def test_it_is_drawn_in_a_readable_size(measured):
    figure = experiment.plot(measured)
    assert min(text.get_fontsize() for text in figure.findobj(lambda a: hasattr(a, "get_fontsize"))) >= 8


@pytest.mark.parametrize(
    "change",
    [
        lambda data: {"rate": data["momentum"] + 0.2 * (data["rate"] - data["momentum"])},
        lambda data: {"distance": data["distance"].where(data["point"] != 5, 2 * data["distance"])},
        lambda data: {"printed_rate": data["rate"]},
        lambda data: {"residual": data["residual"] + 1e-10},
        lambda data: {"case_rate": data["case_rate"] * 1.00001},
        lambda data: {"case_distance": data["case_distance"] * 1.00001 ** data["case_n"]},
        lambda data: {"margin": data["margin"] - 1},
    ],
    ids=["rate", "distance", "printed", "residual", "case rate", "case distance", "margin"],
)
def test_the_checks_see_an_error(measured, change):
    data = measured.assign_coords(point=np.arange(measured.sizes["point"]))
    failed = [check.name for check in experiment.checks(data.assign(change(data))) if not check.held]
    assert failed
