"""Training of a classifier: its steps by hand, going on after a stop, and the runs and statistics of the experiment."""

import dataclasses
import json
import math
import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pooch
import pytest
import xarray as xr

import momentumflow as mf
from momentumflow import _provenance
from momentumflow._progress import SILENT
from momentumflow.experiments import _classification_runs as runs
from momentumflow.experiments import _classification_statistics as statistics
from momentumflow.experiments import registry, slides_classification
from momentumflow.experiments.record import code_digest
from momentumflow.problems.convolutional import ConvolutionalNetwork
from momentumflow.training import labelled
from momentumflow.training.classification import begin, classification, train_classifier, train_seeds

DIGITS = labelled.load_labelled("digits", train_images=100, test_images=300).standardised()
NETWORK = ConvolutionalNetwork(DIGITS.shape, (2, 3))
TASK = classification(NETWORK, DIGITS, batch_size=32, dtype=float)
METHOD = mf.heavy_ball(0.02, 0.9)
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def start():
    return begin(TASK, METHOD, jax.random.key(0))


@pytest.fixture(scope="module")
def two(start):
    return train_classifier(TASK, METHOD, start, KEY, 2)


def test_an_epoch_is_a_permutation_without_the_rest():
    first, second = np.asarray(TASK.order(KEY, 0)), np.asarray(TASK.order(KEY, 1))
    assert first.shape == (3, 32)
    assert len(np.unique(first)) == len(np.unique(second)) == 96
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, TASK.order(KEY, 0))


def test_steps_are_the_textbooks(start, two):
    """Polyak's recursion with the previous iterate, on the batches of two epochs."""
    gradient = jax.jit(jax.value_and_grad(NETWORK.loss))
    (u, *_), before, losses = start.state, start.state[0], []
    for epoch in (0, 1):
        for rows in TASK.order(KEY, epoch):
            value, g = gradient(u, (TASK.images[rows], TASK.labels[rows]))
            u, before = jax.tree.map(lambda x, b, s: x + 0.9 * (x - b) - 0.02 * s, u, before, g), u
            losses.append(value)
    end, curves = two
    assert int(end.n) == 6
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), end.state[0], u)
    np.testing.assert_allclose(curves.train_loss, np.reshape(losses, (2, 3)).mean(1), rtol=1e-10)
    z = np.asarray(NETWORK.apply(u, TASK.test_images))
    np.testing.assert_allclose(
        curves.test_accuracy[-1], np.mean(np.argmax(z, 1) == DIGITS.test.labels), rtol=1e-14
    )


def test_a_run_left_off_goes_on_as_if_it_had_not_been(start, two):
    middle, first = train_classifier(TASK, METHOD, start, KEY, 1)
    end, second = train_classifier(TASK, METHOD, middle, KEY, 1)
    whole_end, whole = two
    for name in whole._fields:
        both = np.concatenate([getattr(first, name), getattr(second, name)])
        np.testing.assert_array_equal(both, getattr(whole, name))
    jax.tree.map(np.testing.assert_array_equal, end, whole_end)


def test_runs_side_by_side_are_the_runs_one_by_one():
    chosen = [(0.02, 0.0, 3), (0.01, 0.5, 3), (0.02, 0.0, 4)]
    together = train_seeds(TASK, chosen, 2)
    assert together.train_loss.shape == (3, 2)
    for i, run in enumerate(chosen):
        alone = train_seeds(TASK, [run], 2)
        np.testing.assert_allclose(together.train_loss[i], alone.train_loss[0], rtol=1e-9)
        np.testing.assert_array_equal(together.test_accuracy[i], alone.test_accuracy[0])


def test_other_rates_compile_nothing_new(caplog):
    train_seeds(TASK, [(0.02, 0.0, 3)], 2)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        train_seeds(TASK, [(0.01, 0.75, 9)], 2)
    assert not [r for r in caplog.records if "train_seeds" in r.message and "Compiling" in r.message]


def test_divergence_is_a_result():
    curves = train_seeds(
        TASK, [(1e200, 0.0, 0)], 2
    )  # three steps an epoch: the loss of the second is not finite
    assert np.isnan(curves.test_accuracy).all()
    assert np.isnan(curves.train_loss).all()


def test_params_that_are_not_finite_are_no_result():
    """The one step of the epoch leaves the range of floats: its loss was finite, its params are not."""
    task = classification(NETWORK, DIGITS, batch_size=100, dtype=float)
    task = eqx.tree_at(lambda t: t.images, task, 100 * task.images)
    method = mf.heavy_ball(1e308, 0.0)
    run = begin(task, method, jax.random.key(0))
    before, order = run.state[0], task.order(KEY, 0)[0]
    loss, gradient = jax.value_and_grad(task.loss)(before, order)
    assert np.isfinite(loss)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient)) > 1.8
    _, curves = train_classifier(task, method, run, KEY, 1)
    assert np.isnan(curves.train_loss).all()
    assert np.isnan(curves.test_accuracy).all()


def test_bad_tasks_and_runs_are_reported():
    with pytest.raises(
        ValueError, match=r"must take images of shape \(8, 8, 1\) and 10 classes, those of digits"
    ):
        classification(ConvolutionalNetwork((32, 32, 3), (4,)), DIGITS, 8)
    with pytest.raises(ValueError, match="batch_size must be at most 100"):
        classification(NETWORK, DIGITS, 101)
    with pytest.raises(ValueError, match="learning_rate must be finite and > 0"):
        train_seeds(TASK, [(-0.1, 0.0, 0)], 1)
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\)"):
        train_seeds(TASK, [(0.1, 1.0, 0)], 1)
    with pytest.raises(ValueError, match="runs must hold at least one"):
        train_seeds(TASK, [], 1)


SMALL = runs.Config(
    train_images=64, test_images=50, channels=(2,), strides=(4,), epochs=4, last=3, seeds=2, doublings=2,
    effective=1, together=2, kept=True,
)  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path)
    return tmp_path / "classification-runs"


def test_the_grid_has_its_three_series_once():
    config = runs.Config(smallest=0.25, doublings=2, effective=1)
    # by hand: SGD 1/4, 1/2, 1; at h = 1/4 λ = 1/2, 3/4; at h/(1-λ) = 1/2 SGD, (1/4, 1/2) again, and (1/8, 3/4)
    assert runs.grid(config) == [(0.25, 0), (0.5, 0), (1, 0), (0.25, 0.5), (0.25, 0.75), (0.125, 0.75)]


def test_what_was_broken_off_goes_on(home, monkeypatch):
    calls, train = [], runs.train_seeds

    def breaks(task, group, epochs):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(group)
        return train(task, group, epochs)

    monkeypatch.setattr(runs, "train_seeds", breaks)
    with pytest.raises(KeyboardInterrupt):
        runs.measure(SMALL, SILENT)
    assert len(list(home.iterdir())) == 6  # three programs of two runs
    monkeypatch.setattr(runs, "train_seeds", lambda *known: calls.append(known[1]) or train(*known))
    resumed = runs.measure(SMALL, SILENT)
    assert len(calls) == 6  # twelve runs in all, none twice
    next(home.iterdir()).write_text("{")  # a damaged one is run again
    again = runs.measure(SMALL, SILENT)
    assert len(calls) == 7
    xr.testing.assert_identical(again, resumed)
    fresh = runs.measure(dataclasses.replace(SMALL, kept=False), SILENT)
    xr.testing.assert_identical(fresh, resumed)


def file(config=SMALL, run=(0.1, 0.0, 0), data_set="digits"):
    return runs._file(runs._settings(config, data_set), run)


def test_other_settings_are_other_files(home):
    names = {
        file(config, run).name
        for config in (SMALL, dataclasses.replace(SMALL, epochs=5), dataclasses.replace(SMALL, channels=(3,)))
        for run in ((0.1, 0.0, 0), (0.1, 0.0, 1), (0.1, 0.5, 0))
    }
    assert len(names) == 9
    assert file() == file(dataclasses.replace(SMALL, together=1, seeds=9))


def test_a_run_on_the_copy_is_none_on_cifar_itself(home):
    run, values = (0.1, 0.0, 0), np.ones((2, SMALL.epochs))
    copied, genuine = (runs._settings(SMALL, name) for name in ("CIFAR-10 (JPEG copy)", "CIFAR-10"))
    runs._keep(copied, run, values)
    np.testing.assert_array_equal(runs._read(copied, run), values)
    assert runs._read(genuine, run) is None


def test_a_run_in_single_precision_is_none_in_double(home):
    double = file()
    with jax.enable_x64(False):
        assert file() != double


@pytest.mark.parametrize("change", [{"run": [0.1, 0.0, 1]}, {"settings": {}}], ids=["run", "settings"])
def test_a_file_that_tells_of_another_run_is_not_believed(home, change):
    settings, run = runs._settings(SMALL, "digits"), (0.1, 0.0, 0)
    runs._keep(settings, run, np.ones((2, SMALL.epochs)))
    path = runs._file(settings, run)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert runs._read(settings, run) is None


def test_only_the_code_that_makes_a_run_is_in_its_name(tmp_path, monkeypatch):
    root = Path(mf.__file__).parent
    named = {path.relative_to(root).as_posix() for path in runs._SOURCES}
    assert {"training/classification.py", "training/cifar.py", "problems/convolutional.py"} <= named
    assert {name.split("/")[0] for name in named} == {"training", "problems", "methods"}
    source = tmp_path / "source.py"
    source.write_text("one")
    monkeypatch.setattr(runs, "_SOURCES", [source])
    before = runs._code.__wrapped__()
    source.write_text("two")
    assert runs._code.__wrapped__() != before


def test_another_stored_study_makes_the_experiment_stale(tmp_path, monkeypatch):
    entry = registry.find(runs.ID)
    assert slides_classification.STORED == runs.STORED
    copy = tmp_path / "study.json"
    copy.write_bytes(runs.STORED.read_bytes())
    monkeypatch.setattr(slides_classification, "STORED", copy)
    before = code_digest(entry)
    copy.write_bytes(copy.read_bytes().replace(b"2.07467", b"2.07468"))
    assert code_digest(entry) != before


def test_the_study_of_the_package_says_where_it_comes_from():
    content = json.loads(runs.STORED.read_text())
    assert runs.STORED.stat().st_size < 200_000
    assert content["data set"] == "CIFAR-10 (JPEG copy)"
    assert content["config"] == _provenance.plain(runs.STUDY)
    assert {"command", "commit", "date", "seconds", "environment"} <= set(content)
    data = runs.stored()
    assert data["test_accuracy"].shape == (len(runs.grid(runs.STUDY)), runs.STUDY.seeds, runs.STUDY.epochs)
    np.testing.assert_allclose(np.stack([data["h"], data["momentum"]], 1), runs.grid(runs.STUDY))


def test_a_study_of_other_settings_is_not_shown(monkeypatch):
    monkeypatch.setattr(runs, "STUDY", dataclasses.replace(runs.STUDY, epochs=21))
    assert runs.stored() is None


def test_the_study_of_the_package_holds_and_is_drawn():
    data = xr.concat([runs.stored()], "study")
    found = slides_classification.checks(data)
    assert {check.verdict for check in found} == {"held"}
    assert {check.name.split(",")[0] for check in found} == {"CIFAR-10 (JPEG copy)"}
    figure = slides_classification.plot(data)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["test accuracy", "epoch-to-epoch variation"]
    assert "JPEG copy" in figure.axes[0].get_ylabel()


def test_large_errors_confirm_nothing_and_exclude_nothing():
    study = runs.stored()
    noise = np.random.default_rng(0).normal(0, 0.05, (*study["test_accuracy"].shape[:2], 1))
    noisy = study.assign(test_accuracy=study["test_accuracy"] + noise)
    found = slides_classification.checks(xr.concat([noisy], "study"))
    verdicts = {
        word: {c.verdict for c in found if word in c.name} for word in ("not confirmed", "+ 3 standard")
    }
    assert verdicts == {"not confirmed": {"held"}, "+ 3 standard": {"failed"}}


PAGE = (Path(__file__).parents[1] / "docs" / "implicit_regularisation.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())


def quoted(found: statistics.Estimate, scale: float, digits: int, signed: bool = True) -> str:
    value = f"{scale * found.value:{'+' if signed else ''}.{digits}f}"
    return f"{value if float(value) else f'{0:.{digits}f}'} ± {scale * found.error:.{digits}f}"


# Row of the table; quantity, decimals in the page, factor.
MEANS = (("CIFAR-10 (JPEG copy): accuracy / %", "accuracy", 1, 100), ("training loss", "loss", 2, 1),
         ("variation / %", "variation", 2, 100))  # fmt: skip


def rows(label: str) -> list[list[str]]:
    lines = [line for line in PAGE.splitlines() if line.startswith(f"| {label} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(("label", "quantity", "digits", "scale"), MEANS, ids=[m[1] for m in MEANS])
def test_the_means_that_the_page_quotes_are_those_of_the_stored_study(label, quantity, digits, scale):
    (_, *cells) = rows(label)[-1]
    assert len(cells) == len(statistics.SERIES)
    for cell, name in zip(cells, statistics.SERIES, strict=True):
        _, found = statistics.points(runs.stored(), name, quantity)
        values, _, errors = cell.partition(" (± ")
        half = 0.5 * 10.0**-digits + 1e-9  # of the last decimal: 48.95 is 48.9 or 49.0
        np.testing.assert_allclose(
            [float(x) for x in values.split()], [scale * e.value for e in found], 0, half
        )
        if errors:
            largest = max(scale * e.error for e in found)
            assert float(re.match(r"[\d.]+", errors).group()) == pytest.approx(largest, abs=half)


PLAIN, RATE, EFFECTIVE = statistics.SERIES
# Row of the table of slopes and which of that name; series, quantity, decimals.
SLOPES = (
    ("Obs-1: accuracy of SGD rises with h", 0, PLAIN, "accuracy", 2),
    ("Obs-1: accuracy of SGD rises with h", 0, PLAIN, "best", 2),
    ("– at equal training loss", 0, PLAIN, "equal", 2),
    ("Obs-2: variation falls as λ rises, fixed h", 0, RATE, "variation", 3),
    ("– fixed h/(1-λ)", 0, EFFECTIVE, "variation", 3),
    ("Obs-3: accuracy rises with λ, fixed h", 0, RATE, "accuracy", 2),
    ("Obs-3: accuracy rises with λ, fixed h", 0, RATE, "best", 2),
    ("– at equal training loss, fixed h", 0, RATE, "equal", 2),
    ("– fixed h/(1-λ)", 1, EFFECTIVE, "accuracy", 2),
    ("– fixed h/(1-λ)", 1, EFFECTIVE, "best", 2),
)


@pytest.mark.parametrize(("label", "which", "series", "quantity", "digits"), SLOPES)
def test_the_slopes_that_the_page_quotes_are_those_of_the_stored_study(
    label, which, series, quantity, digits
):
    trend = statistics.trend(runs.stored(), series, quantity)
    cell = rows(label)[which][2]
    part = next(x for x in cell.split(";") if ("best epoch" in x) == (quantity == "best"))
    assert quoted(trend, 100, digits) in part
    claimed = (-1 if quantity == "variation" else 1) * trend.value / trend.error
    assert claimed > -3  # none is refuted
    assert "refuted" not in part
    if "confirmed" in part:
        assert ("not confirmed" in part) == (claimed <= 3)


def test_the_differences_that_the_page_quotes_are_those_of_the_stored_study():
    study = runs.stored()
    for series, cell in (
        (PLAIN, "Obs-1: accuracy of SGD rises with h"),
        (RATE, "Obs-3: accuracy rises with λ, fixed h"),
    ):
        rise, fall = (statistics.change(study, series, "accuracy", *ends) for ends in ((0, 2), (4, 2)))
        assert f"up by {quoted(rise, 100, 2, signed=False)} " in rows(cell)[0][2]
        assert f"down by {quoted(fall, 100, 2, signed=False)} " in rows(cell)[0][2]
    losses = statistics.matched(study, "loss")
    digits = (3, 3, 3, 2)
    first, second, third, last = (quoted(e, 1, d) for e, d in zip(losses, digits, strict=True))
    assert f"{first}, {second}, {third} and {last} for λ" in TEXT
    assert f"{quoted(statistics.matched_mean(study, 'accuracy'), 100, 2)} on CIFAR-10 (JPEG copy)" in TEXT
    fall = statistics.trend(study, EFFECTIVE, "loss")
    assert f"falls by {-fall.value:.3f} ± {fall.error:.3f} a doubling" in TEXT
    assert statistics.trend(study, EFFECTIVE, "accuracy").reach == pytest.approx(0.0031, abs=1e-4)


def test_studies_of_different_size_stand_side_by_side(home):
    small = runs.measure(dataclasses.replace(SMALL, kept=False), SILENT)
    data = xr.concat([small, runs.stored()], "study", data_vars="all", coords="minimal", join="outer")
    found = statistics.studies(data)
    assert {name: study.sizes["epoch"] for name, study in found.items()} == {
        "digits, 64 images": 4,
        "CIFAR-10 (JPEG copy), 10000 images": 20,
    }
    for name, before in (("digits, 64 images", small), ("CIFAR-10 (JPEG copy), 10000 images", runs.stored())):
        xr.testing.assert_allclose(statistics.numbers(found[name]), statistics.numbers(before))


def curves(accuracy, loss, last=4):
    """A study with the grid of two doublings: arrays (setting, seed, epoch)."""
    config = runs.Config(smallest=0.25, doublings=2, effective=1)
    settings = runs.grid(config)
    dims = ("setting", "seed", "epoch")
    return xr.Dataset(
        {
            "train_loss": (dims, loss),
            "test_accuracy": (dims, accuracy),
            "h": ("setting", [h for h, _ in settings]),
            "momentum": ("setting", [lam for _, lam in settings]),
            "effective": ((), 0.5),
            "last": ((), last),
        }
    )


def test_statistics_of_curves_made_by_hand():
    j = np.array(
        [0, 1, 2, 1, 2, 2]
    )  # doublings of the effective rate, but for the last setting, where it is λ's
    seeds, epochs = np.array([-0.01, 0.0, 0.01]), np.arange(6)
    zigzag = np.array([0, 0, 1, -1, -1, 1]) * 0.02  # no trend, square sum 4 · 0.02² over the last four
    accuracy = 0.5 + 0.1 * j[:, None, None] + seeds[:, None] + 0.03 * epochs + zigzag
    loss = np.exp(-0.5 * j[:, None, None] - 0.2 * epochs + 0 * seeds[:, None])
    study = curves(accuracy, loss)
    found = statistics.numbers(study)
    np.testing.assert_allclose(found["accuracy"].sel(seed=1), 0.5 + 0.1 * j + 0.03 * 3.5)
    np.testing.assert_allclose(found["variation"], 0.02 * math.sqrt(4 / 2))
    slope = statistics.trend(study, statistics.PLAIN, "accuracy")
    assert slope.value == pytest.approx(0.1)
    assert slope.error == pytest.approx(0, abs=1e-12)
    assert statistics.trend(study, statistics.FIXED_RATE, "loss").value == pytest.approx(-0.5)
    # the worst run ends at exp(-1); one that began at exp(-0.5) is there after 2.5 epochs, one at exp(-1) at once
    assert statistics.common_loss(study) == pytest.approx(math.exp(-1))
    at_once = accuracy[1, 0, 2:4].mean(), accuracy[2, 0, 0]
    np.testing.assert_allclose(found["equal"].isel(seed=0)[1:3], at_once)
    assert [e.value for e in statistics.matched(study, "accuracy")] == pytest.approx([0, 0])
    point = statistics.points(study, statistics.PLAIN, "accuracy")[1][0]
    # by hand: of -0.01, 0, 0.01 the standard deviation is 0.01, the error of their mean 0.01/√3
    assert point.error == pytest.approx(0.01 / math.sqrt(3))


LEVEL = np.full((6, 2, 4), 0.5)


def test_a_run_that_diverged_leaves_the_common_loss_as_it_is():
    loss = np.broadcast_to([2.0, 1.0, 0.5, 0.25], (6, 2, 4)).copy()
    loss[2, 1] = [9, np.nan, np.nan, np.nan]
    study = curves(LEVEL, loss)
    assert statistics.common_loss(study) == 0.25
    equal = statistics.numbers(study)["equal"].values
    assert np.isnan(equal[2, 1])
    assert np.isfinite(np.delete(equal, 5)).all()
    assert np.isnan(statistics.common_loss(curves(LEVEL, np.full_like(LEVEL, np.nan))))


@pytest.mark.filterwarnings("error")
def test_a_loss_of_0_is_no_logarithm():
    loss = np.broadcast_to([2.0, 1.0, 0.5, 0.0], (6, 2, 4)).copy()
    accuracy = np.broadcast_to([0.1, 0.2, 0.3, 0.4], (6, 2, 4))
    every = curves(accuracy, loss)
    np.testing.assert_allclose(statistics.numbers(every)["equal"], 0.4)
    assert np.isnan(statistics.trend(every, statistics.PLAIN, "loss").value)
    loss[0, 0, 3] = 0.4
    one = curves(accuracy, loss)
    assert statistics.common_loss(one) == 0.4
    assert 0.3 < statistics.numbers(one)["equal"][1, 0] < 0.31  # log 0.5 to log 0.4, far from that of 0
    assert statistics.trend(one, statistics.PLAIN, "accuracy").value == pytest.approx(0)


def test_small_losses_keep_their_digits():
    seen = np.array([[[1.23456789e-7, 2.07467, 0.0], [0.482512345, np.nan, np.inf]]])
    np.testing.assert_array_equal(
        runs._rounded(seen), [[[1.23457e-7, 2.07467, 0.0], [0.482512, np.nan, np.inf]]]
    )


BAD_SETTINGS = {
    "one seed": ({"seeds": 1}, "seeds must be an integer >= 2, got 1: a standard error needs two"),
    "two epochs": ({"epochs": 2, "last": 2}, "epochs must be an integer >= 3, got 2: "),
    "more last than epochs": ({"epochs": 5}, "last must be an integer from 3 to 5, got 10: .* of those trained"),
    "two last": ({"last": 2}, "last must be an integer from 3 to 20, got 2: the variation"),
    "no doubling": ({"doublings": 0, "effective": 0}, "doublings must be an integer >= 1, got 0: a trend needs two"),
    "a rate that SGD has not": ({"effective": 5}, "effective must be an integer from 0 to 4, got 5: the fixed"),
    "a rate below the smallest": ({"effective": -1}, "effective must be an integer from 0 to 4, got -1"),
    "none at once": ({"together": 0}, "together must be an integer >= 1, got 0: 1 trains run by run"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "problem"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_settings_are_reported(settings, problem):
    with pytest.raises(ValueError, match=problem):
        runs.Config(**settings)


def test_a_folder_that_is_not_there_is_refused_before_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs, "measure", lambda *_: pytest.fail("work has started"))
    with pytest.raises(SystemExit):
        runs.main(["--data", str(tmp_path / "absent")])
    assert "--data must name a folder that exists, got" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [1000, 0], ids=["cut", "empty"])
def test_a_study_that_is_damaged_is_left_out(tmp_path, monkeypatch, keep):
    cut = tmp_path / "cut.json"
    cut.write_bytes(runs.STORED.read_bytes()[:keep])
    monkeypatch.setattr(runs, "STORED", cut)
    with pytest.warns(
        UserWarning, match=r"cut\.json is damaged and is left out .* install the package again"
    ):
        assert runs.stored() is None


def test_the_full_preset_is_resumable():
    full = slides_classification.PRESETS["full"]
    assert full.kept
    assert full.together == 1
    assert (full.train_images, full.dataset) == (0, "cifar10")


def test_standardised_arrays_keep_their_type():
    assert DIGITS.train.images.dtype == np.float32
    assert jnp.asarray(TASK.images).dtype == jnp.float64
