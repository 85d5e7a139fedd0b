"""The errata and what they stand on: every row is there, and a check that should fail does."""

import jax.numpy as jnp
import numpy as np
import pytest

import momentumflow as mf
from momentumflow._progress import SILENT
from momentumflow.experiments import _lockstep, errata, registry

WHERE = {  # the errata that the library must show, and those found since
    "[KS] (19)", "[KS] (12)", "[KS] Lemma 9", "[KS] (36)", "[KS] (15)", "[KS] Theorem 5", "[KS] Figure 5",
    "[KS] Theorem 3", "[KS] (13)", "[Q] experiment", "[G] Remarks",
    "[KS] before (22)", "[KS] §3.2.2", "[KS] Appendix B", "[KS] Lemma 8",
}  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    return errata.run(errata.PRESETS["quick"], SILENT)


def test_every_printed_form_is_refuted_and_every_right_one_held(rows):
    assert set(rows["where"].values) == WHERE
    checks = errata.checks(rows)
    assert all(check.held for check in checks)
    refuted = {check.name.split(",")[0] for check in checks if check.verdict == "refuted"}
    assert refuted == WHERE
    assert set(rows["see"].values) - {""} <= {entry.id for entry in registry.entries()}


def test_checks_see_a_right_form_that_is_printed_and_the_reverse(rows):
    both = rows.isel(row=~np.isnan(rows["printed"].values))
    swapped = both.assign(printed=both["right"], right=both["printed"])
    checks = errata.checks(swapped)[: 2 * both.sizes["row"]]
    assert not any(check.held for check in checks)


def test_checks_see_another_layer_and_another_growth(rows):
    assert not all(c.held for c in errata.checks(rows.assign(layer=1.02 * rows["layer"])))
    assert not all(c.held for c in errata.checks(rows.assign(growth=rows["growth"] + 0.02)))


def test_deviation_counts_only_the_violation_of_a_bound(rows):
    bound = rows.isel(row=rows["relation"].values != "within")
    assert np.all(errata.deviation(bound, "right") == 0)
    assert np.all(errata.deviation(bound, "printed")[~np.isnan(bound["printed"].values)] > 0.01)


def test_lockstep_is_the_distance_of_the_iterates():
    problem, u0 = mf.Quadratic([1.0, 5.0]), jnp.ones(2)
    methods = (mf.rescaled_gradient_descent(0.01, 0.5), mf.heavy_ball(0.01, 0.5), mf.nesterov(0.01, 0.5))
    paths = [np.asarray(mf.iterate(m, problem, u0, 100).params) for m in methods]
    apart = [np.linalg.norm(path - paths[0], axis=1) for path in paths[1:]]
    expected = [[e[: n + 1].max() for e in apart] for n in (100, 3)]
    found = _lockstep.distances(
        methods, lambda u, batch: problem(u), u0, jnp.zeros((1, 1)), jnp.array([100, 3])
    )
    assert np.allclose(found, expected, rtol=1e-12)


def test_lockstep_takes_the_batches_in_turn():
    """Φ_n = -b_n u: gradient descent moves by h b_n, n mod 3; a method without memory of the other ones differs."""
    batches = jnp.array([[1.0], [2.0], [4.0]])
    methods = (mf.gradient_descent(1.0), mf.gradient_descent(2.0))
    found = _lockstep.distances(
        methods, lambda u, batch: -batch[0] * u[0], jnp.zeros(1), batches, jnp.array([1, 2, 3, 4])
    )
    assert found[:, 0].tolist() == [1.0, 3.0, 7.0, 8.0]


def test_lockstep_is_traced_once_for_all_learning_rates():
    traces = []

    def loss(u, batch):
        traces.append(1)
        return jnp.sum(u**2)

    for h, n in ((0.1, 10), (0.05, 20), (0.025, 40)):
        methods = (mf.gradient_descent(h), mf.heavy_ball(h, 0.5))
        _lockstep.distances(methods, loss, jnp.ones(2), jnp.zeros((1, 1)), jnp.array([n]))
        traces, first = [], len(traces)
        assert (first > 0) == (h == 0.1)


def test_it_is_drawn_with_legible_text(rows):
    figure = errata.plot(rows)
    assert min(text.get_fontsize() for text in figure.findobj(lambda a: hasattr(a, "get_fontsize"))) >= 8
