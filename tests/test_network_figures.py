"""Figures 6 and 7: the μ of the printed table, and the results that come with the library."""

import csv
import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import momentumflow as mf
from momentumflow._progress import SILENT
from momentumflow.experiments import _autoencoder_runs as kept
from momentumflow.experiments import _published_table as table
from momentumflow.experiments import paper_figure_6, paper_figure_7, registry
from momentumflow.experiments.record import code_digest
from momentumflow.training import Result, grid, plan, six_methods, train_group

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "figure6_published.csv"
FILES = sorted(kept.STORED.glob("*.json"))


@pytest.mark.parametrize("name", ["Wilson", "HB-mu", "NAG-mu"])
@pytest.mark.parametrize("mu", [0.25, 1.0])
def test_a_rate_says_its_strong_convexity(name, mu):
    rate = table.effective_rate(name, 2.0**-4, 0.9, mu)
    assert table.strong_convexity_of(name, 2.0**-4, rate) == pytest.approx(mu)


@pytest.mark.parametrize("name", ["GF", "HB", "NAG", "Wilson", "HB-mu", "NAG-mu"])
def test_the_effective_rate_is_how_far_many_steps_move(name):
    """Another route: on Φ = -u, whose gradient is -1, a method moves by its effective rate a step in the end."""
    method = six_methods(2.0**-4, 0.9, 0.5)[name]
    path = mf.iterate(method, lambda u: -u, jnp.zeros(()), 400).params
    assert float(path[-1] - path[-2]) == pytest.approx(
        table.effective_rate(name, 2.0**-4, 0.9, 0.5), rel=1e-6
    )


def test_a_curve_is_read_backwards_and_not_beyond_its_ends():
    rates = np.array([0.1, 1.0, 10.0])
    errors = 3 * rates**-0.3
    assert table.rate_of_error(3 * 0.5**-0.3, rates, errors) == pytest.approx(0.5)
    assert np.isnan(table.rate_of_error(100.0, rates, errors))


@pytest.mark.skipif(not REFERENCE.is_file(), reason=f"no published table at {REFERENCE}")
def test_the_published_table_is_the_papers():
    with REFERENCE.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(map(len, table.PUBLISHED.values()))
    for row in rows:
        number = table.published(row["method"], 2.0 ** int(row["log2_learning_rate"]))
        text = row["final_training_error"]
        assert np.isnan(number) if text == "n/a" else number == float(text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_kept_result_says_where_it_is_from(path):
    result = Result.from_json(path.read_text())
    assert path.stem == result.run.digest
    assert path.stat().st_size < 200_000
    for key in ("command", "commit", "device", "jax", "date", "momentumflow"):
        assert result.provenance[key]
    assert len(result.losses) == result.run.epochs or result.diverged_at >= 0


def test_kept_results_are_found_and_not_believed_when_made_anew(tmp_path, monkeypatch):
    runs = grid(["HB"], [0.25], epochs=1, dataset="digits")
    (result,) = (result for result in train_group(*plan(runs)) if result.run == runs[0])
    false = dataclasses.replace(result, errors=result.errors | {1: 0.123})
    (tmp_path / "stored").mkdir()
    false.save(tmp_path / "stored")
    monkeypatch.setattr(kept, "STORED", tmp_path / "stored")
    monkeypatch.setattr(kept, "cache", lambda: tmp_path / "cache")
    assert kept.stored(runs)[runs[0]].final_error == 0.123
    assert kept.trained(runs, SILENT)[runs[0]].final_error == 0.123
    with kept.anew(True):
        assert kept.trained(runs, SILENT)[runs[0]].final_error == result.final_error
    assert kept.trained(runs, SILENT)[runs[0]].final_error == result.final_error  # the cache comes first


def test_a_kept_result_that_is_new_makes_the_figure_stale(tmp_path, monkeypatch):
    entry = registry.find("paper-figure-6")
    monkeypatch.setattr(paper_figure_6, "STORED", tmp_path)
    before = code_digest(entry)
    (tmp_path / "new.json").write_text("{}")
    assert code_digest(entry) != before


@pytest.mark.slow
def test_figure_6_finds_the_strong_convexity_that_it_trained_with():
    config = paper_figure_6.Config(strong_convexity=0.5)
    data = paper_figure_6.run(config, SILENT)
    (check,) = (
        check for check in paper_figure_6.checks(data) if check.name.startswith("median over our own")
    )
    assert check.held
    assert abs(check.computed - 1) > 0.2


def test_the_ladders_of_figure_7_end_at_one_time():
    runs = paper_figure_7._small_runs(paper_figure_7.Config())
    times = {run.method: set() for run in runs}
    for run in runs:
        step = run.learning_rate if run.method in ("HB", "NAG") else run.learning_rate**0.5
        times[run.method].add(step * run.epochs)
    assert all(len(found) == 1 for found in times.values())
    assert len(runs) == 4 * 5
