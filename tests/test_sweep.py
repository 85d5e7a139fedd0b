"""Layouts, groups, results and clusters of a sweep."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import jax
import numpy as np
import psutil
import pytest

import momentumflow as mf
from momentumflow import _files
from momentumflow.training import (
    METHOD_NAMES,
    Apart,
    Result,
    Run,
    find,
    grid,
    load,
    plan,
    six_methods,
    sweep,
    sweeps,
    together,
    train,
    train_ensemble,
    train_group,
)
from momentumflow.training.group import batches_of, evaluations

NETWORK = mf.Autoencoder((64, 8, 3))
BATCHES = load("digits").batches(100).astype(float)[:4]
SIX = tuple(six_methods(0.25).values())
PAIRS = ((1, 0), (2, 0), (4, 3), (5, 3))


def starts(runs: int) -> list:
    return [NETWORK.init(jax.random.key(i // 3), float) for i in range(runs)]


def trained(layout, epochs: int = 3, methods=SIX, pairs=PAIRS):
    ensemble = layout(methods, NETWORK.loss, pairs)
    return train_ensemble(ensemble, starts(len(methods)), BATCHES, epochs, evaluated=(1,))


def close(a, b) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.allclose(x, y, rtol=1e-11, atol=1e-13, equal_nan=True) for x, y in pairs)


def test_the_layouts_agree():
    """The same runs as arrays of their own and as one more axis: all that is recorded, and the params."""
    apart, side_by_side = trained(Apart), trained(together)
    assert close(apart.history, side_by_side.history)
    assert close(apart.params, side_by_side.params)


def test_distances_are_those_of_the_iterates():
    """Another route: `iterate` on the batches in turn, every iterate kept."""
    epochs, n = 3, len(BATCHES)
    order = np.arange(epochs * n) % n
    start = NETWORK.init(jax.random.key(0), float)
    limit, method = six_methods(0.25, names=["GF"])["GF"], six_methods(0.25, names=["NAG"])["NAG"]
    paths = [
        mf.iterate(m, NETWORK.loss, start, epochs * n, data=BATCHES, order_of_use=order).params
        for m in (limit, method)
    ]
    gaps = jax.tree.leaves(jax.tree.map(lambda x, y: np.asarray(x - y).reshape(len(x), -1), *paths))
    apart = np.linalg.norm(np.concatenate(gaps, axis=1), axis=1)[1:]
    found = trained(Apart, epochs, (limit, method), ((1, 0),)).history
    np.testing.assert_allclose(found.distances[:, 0], apart[n - 1 :: n], rtol=1e-10)
    np.testing.assert_allclose(found.largest[:, 0], np.maximum.accumulate(apart)[n - 1 :: n], rtol=1e-10)


def test_one_run_that_diverges_leaves_the_others():
    methods = (mf.heavy_ball(0.25, 0.9), mf.gradient_descent(1e4), mf.heavy_ball(0.25, 0.9))
    for layout in (Apart, together):
        found = trained(layout, 3, methods, ((1, 0),))
        alone = trained(Apart, 3, methods[:1], ())
        assert found.finished
        assert found.history.diverged_at[1] > 0
        assert found.history.diverged_at[0] == -1
        np.testing.assert_allclose(found.history.errors[:, 0], alone.history.errors[:, 0], rtol=1e-11)
        assert np.isnan(found.history.errors[-1, 1])


def test_a_method_whose_constants_vary_cannot_be_one_axis():
    with pytest.raises(ValueError, match=r"must have fixed constants.*use the layout 'apart'"):
        together((mf.nesterov_sequence(0.1),), NETWORK.loss)


def test_learning_rates_and_epochs_do_not_trace_again():
    traces = []

    def loss(u, x):
        traces.append(1)
        return NETWORK.loss(u, x)

    for layout in (Apart, together):
        for h, epochs in ((0.1, 1), (0.2, 2)):
            methods = tuple(six_methods(h, names=["GF", "HB"]).values())
            traces.clear()
            train_ensemble(layout(methods, loss, ((1, 0),)), starts(2), BATCHES, epochs)
            assert bool(traces) == (h == 0.1)


DEVICES = """
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
import momentumflow as mf
from momentumflow.training import Apart, six_methods, together, train_ensemble
assert len(jax.devices()) == 4
rng = np.random.default_rng(0)
x = rng.normal(size=(3, 5, 4))
loss = lambda u, x: jax.numpy.mean((jax.numpy.tanh(x @ u) - 0.3) ** 2)
methods = tuple(six_methods(0.25).values())
params = [np.ones(4)] * 6
pairs = ((1, 0), (5, 3))
shared = together(methods, loss, pairs)
members = shared.start(params)
assert len(members[0].sharding.device_set) == 4 and members[0].shape[0] == 8  # two repeated, two a device
ours = train_ensemble(shared, params, x, 3).history
theirs = train_ensemble(Apart(methods, loss, pairs), params, x, 3).history
for a, b in zip(ours, theirs):
    np.testing.assert_allclose(a, b, rtol=1e-12)
"""


def test_the_runs_are_shared_out_over_devices():
    """Six runs on four simulated devices, two each; the padding counts for nothing."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    subprocess.run([sys.executable, "-c", DEVICES], env=environment, check=True)


def test_a_plan_keeps_families_together_and_gives_every_worker_something():
    runs = grid(learning_rates=[0.25, 0.5], seeds=[0, 1])
    groups = plan(runs, "together", parts=3)
    assert len(groups) == 3  # eight families in chunks of three
    assert sum(len(group.runs) for group in groups) == len(runs)
    for group in groups:
        assert {run.reference for run in group.runs} - {None} <= set(group.runs)
    assert {len(group.runs) for group in plan(runs, "together", most=7)} == {6}
    alone = plan(runs, "apart", lockstep=False)
    assert [group.runs for group in alone] == [(run,) for run in runs]
    assert not alone[1].pairs


def test_different_data_are_different_groups():
    runs = [*grid(["HB"], [0.25]), *grid(["HB"], [0.25], dtype="float64"), *grid(["HB"], [0.25], orders=[1])]
    assert len(plan(runs, "together")) == 3


def test_an_order_is_a_shuffle_of_the_images():
    (in_order,), (shuffled,) = (grid(["GF"], [0.25], orders=[order], dataset="digits") for order in (None, 3))
    first, second = (batches_of(run)[1].reshape(1700, 64) for run in (in_order, shuffled))
    images = {x.tobytes() for x in load("digits").images}
    assert {x.tobytes() for x in second} <= images
    assert not np.array_equal(first, second)
    assert np.array_equal(second, batches_of(shuffled)[1].reshape(1700, 64))


def test_a_run_knows_what_tells_it_apart():
    run = Run("HB", 0.25, 5)
    assert run == dataclasses.replace(run, strong_convexity=2.0)
    assert dataclasses.replace(run, seed=1).digest != run.digest
    assert run.reference == Run("GF", 0.25, 5)
    assert Run("NAG-mu", 0.25, 5, strong_convexity=0.5).reference.strong_convexity == 0.5
    assert Run("GF", 0.25, 5).reference is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "HB-nu"}, "unknown method 'HB-nu': did you mean 'HB-mu'"),
        ({"learning_rate": 0.0}, "learning_rate must be finite and > 0"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\)"),
        ({"method": "Wilson", "strong_convexity": -1.0}, "strong_convexity must be finite and > 0"),
        ({"method": "HB-mu", "learning_rate": 2.0}, r"learning_rate \* strong_convexity must be <= 1"),
        ({"epochs": 0}, "epochs must be an integer >= 1"),
        ({"dtype": "float16"}, "unknown dtype"),
        ({"dataset": "mnits"}, "unknown dataset 'mnits': did you mean 'mnist'"),
        ({"hidden": "rleu"}, "unknown nonlinearity 'rleu': did you mean 'relu'"),
        ({"seed": -1}, "seed must be an integer >= 0"),
        ({"seed": 2**40}, "seed must be below"),
        ({"order": -1}, "order must be an integer >= 0"),
    ],
)
def test_a_bad_run_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Run(**{"method": "HB", "learning_rate": 0.25, "epochs": 1} | wrong)


def test_evaluations_are_few_and_end_with_the_last():
    for epochs in (1, 2, 37, 500):
        found = evaluations(epochs)
        assert found == sorted(set(found))
        assert found[-1] == epochs
    assert evaluations(1) == [1]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    runs = grid(learning_rates=[0.5], epochs=2, dataset="digits", dtype="float64")
    return sweep(runs, folder, layout="apart").results, folder


def test_a_sweep_is_the_textbook_training(results):
    """`train` from the same params, tested against the recursion by hand elsewhere."""
    found, _ = results
    assert [run.method for run in found] == list(METHOD_NAMES)
    dataset = load("digits")
    network = mf.Autoencoder(dataset.sizes)
    params = jax.tree.map(lambda x: x.astype(float), network.init(jax.random.key(0), "float32"))
    for name in ("GF", "NAG-mu"):
        method = six_methods(0.5, names=[name])[name]
        known = train(method, network.loss, params, dataset.batches().astype(float), 2)
        run = next(run for run in found if run.method == name)
        assert found[run].final_error == pytest.approx(known.final_error, rel=1e-12)
        assert found[run].losses == pytest.approx(known.losses, rel=1e-6)


def test_results_are_files_and_come_back(results):
    found, folder = results
    for run, result in found.items():
        text = (folder / f"{run.digest}.json").read_text()
        assert Result.from_json(text) == result
        assert find(run, [folder]) == result
        assert {"command", "commit", "device", "date", "jax"} <= set(result.provenance)
        assert bool(result.largest) == (run.reference is not None)
    assert find(Run("GF", 0.5, 3), [folder]) is None


def test_a_file_that_is_no_result_is_not_believed(results, tmp_path):
    run, result = next(iter(results[0].items()))
    path = result.save(tmp_path)
    other = json.loads(path.read_text())
    other["run"]["learning_rate"] = 0.25
    for text in ("{", "[]", '{"run": {}}', json.dumps(other)):
        path.write_text(text)
        assert find(run, [tmp_path]) is None


def test_what_is_known_is_not_trained_again(results, monkeypatch, tmp_path):
    found, folder = results

    def train(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(sweeps, "train_group", train)
    assert sweep(found, folder).results == found
    assert sweep(found, tmp_path, elsewhere=[folder]).results == found
    with pytest.raises(AssertionError, match="trained again"):
        sweep([*found, *grid(["GF"], [0.25], epochs=2, dataset="digits")], folder, layout="apart")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"runs": []}, "at least one run"),
        ({"layout": "sideways"}, "unknown layout 'sideways'"),
        ({"every": 0}, "every must be an integer >= 1"),
        ({"workers": -1}, "workers must be an integer >= 0"),
        ({"most": 0}, "most must be an integer >= 1"),
        ({"minutes": float("nan")}, "minutes must be > 0"),
        ({"scheduler": "nowhere"}, "scheduler must be the address of a running one"),
        ({"data": "no such folder"}, "data folder must exist"),
        ({"folder": "/proc/nothing"}, "must be writable"),
    ],
)
def test_a_bad_sweep_is_refused_before_work_starts(wrong, message, tmp_path):
    given = {"runs": grid(epochs=1, dataset="digits"), "folder": tmp_path} | wrong
    with pytest.raises(ValueError, match=message):
        sweep(**given)


def test_workers_train_what_one_process_trains(tmp_path):
    """Two workers of a local cluster; one is killed as soon as a checkpoint is there, and its group goes on."""
    runs = grid(["HB", "NAG"], [0.25, 0.5], epochs=40, dataset="digits")
    known = {
        run: result
        for group in plan(runs)
        for run, result in zip(group.runs, train_group(group), strict=True)
    }
    killed = []

    def kill() -> None:
        while not list((tmp_path / "checkpoints").glob("*/*/commit_success.txt")):
            time.sleep(0.02)
        workers = [p for p in descendants(os.getpid()) if "spawn_main" in " ".join(p.cmdline())]
        workers[0].kill()
        killed.append(workers[0])

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    found = sweep(runs, tmp_path, layout="apart", every=1, workers=2)
    assert killed
    assert not found.unfinished
    for run, result in found.results.items():
        same = dataclasses.replace(result, provenance=known[run].provenance)
        assert same == known[run]


DIGESTS = """
import numpy as np
from momentumflow.training import Run
assert Run("HB", 1, 5).digest == Run("HB", 1.0, 5).digest == Run("HB", np.float32(1), np.int64(5)).digest
"""


def test_equal_runs_have_equal_digests():
    """In a process of its own: under pytest the annotations refuse an integer h."""
    subprocess.run([sys.executable, "-c", DIGESTS], check=True)


def test_labels_tell_runs_apart():
    runs = grid(["HB"], [0.3], orders=[None, 1, 2], seeds=[0, 1], momentum=0.5, dtype="float64")
    assert len({run.label for run in runs}) == 6
    assert runs[-1].label == "HB, h = 0.3, λ = 0.5, seed 1, order 2, float64"


def test_what_is_begun_and_not_wanted_waits(tmp_path):
    """An interrupted sweep is left as it is by another in its folder, and goes on when it is asked for."""
    first, second = (grid(["GF"], [h], epochs=4, dataset="digits") for h in (0.25, 0.5))
    assert sweep(first, tmp_path, every=1, minutes=1e-9).unfinished
    assert list(sweep(second, tmp_path, resume=True).results) == second
    assert find(first[0], [tmp_path]) is None
    reports = []
    sweep(
        first, tmp_path, resume=True, progress=SimpleNamespace(update=lambda *about: reports.append(about[0]))
    )
    assert reports == [2, 3, 4]
    assert not (tmp_path / sweeps.PLAN).exists()


def test_the_deadline_ends_what_has_not_begun(tmp_path):
    runs = grid(["GF"], [0.25, 0.5, 1.0], epochs=4, dataset="digits")
    left = sweep(runs, tmp_path, layout="apart", every=1, minutes=1e-9)
    assert len(left.unfinished) == 3
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


def test_checkpoints_of_a_finished_group_are_cleared(tmp_path):
    """What a kill between the results and the removal of the checkpoints leaves is no obstacle."""
    runs = grid(["HB"], [0.25], epochs=2, dataset="digits")
    sweep(runs, tmp_path, layout="apart")
    (group,) = plan(runs)
    (tmp_path / "checkpoints" / group.digest / "2").mkdir(parents=True)
    sweeps._write_plan(tmp_path, [group])
    assert list(sweep(runs, tmp_path).results) == runs
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_group_has_one_trainer(tmp_path):
    (group,) = plan(grid(["GF"], [0.25], epochs=1, dataset="digits"))
    with (
        _files.lock(tmp_path / f".{group.digest}.lock", "it"),
        pytest.raises(ValueError, match="is being trained by another process: wait for it"),
    ):
        train_group(group, tmp_path)
    assert train_group(group, tmp_path)


def test_a_group_that_fails_leaves_the_others():
    groups = plan(grid(["GF"], [0.25, 0.5], epochs=1, dataset="digits"))
    known = {}
    outcomes = iter([(groups[0], OSError("broken")), (groups[1], train_group(groups[1]))])
    with pytest.raises(
        ValueError, match=r"1 group\(s\) could not be trained: GF, h = 2\^-2 \(OSError: broken\)"
    ):
        sweeps._collect(outcomes, known)
    assert list(known) == list(groups[1].runs)


def test_csv_has_the_columns_of_the_published_table(results):
    found, _ = results
    lines = sweeps.as_csv(sweeps.Sweep(found, [])).splitlines()
    assert lines[0] == "method,log2_learning_rate,final_training_error"
    name, exponent, error = lines[2].split(",")
    assert (name, exponent) == ("HB", "-1")
    hb = next(result for run, result in found.items() if run.method == "HB")
    assert float(error) == pytest.approx(64 * hb.final_error, abs=1e-4)


def test_a_group_goes_on_as_it_was_whatever_would_be_planned_now(tmp_path):
    """Begun in one layout and as one group, resumed with another: the same bits as without a stop."""
    runs = grid(["GF", "HB"], [0.25, 0.5], epochs=3, dataset="digits")
    whole = sweep(runs, tmp_path / "whole", layout="together").results
    left = sweep(runs, tmp_path / "parts", layout="together", every=1, minutes=1e-9)
    assert [len(group.runs) for group in left.unfinished] == [4]
    found = sweep(runs, tmp_path / "parts", layout="apart", resume=True).results
    for run in runs:
        assert dataclasses.replace(found[run], provenance={}) == dataclasses.replace(
            whole[run], provenance={}
        )
        assert found[run].provenance["layout"] == "together"


def descendants(pid: int) -> list[psutil.Process]:
    """Processes below a process, those that have none of their own first."""
    found = psutil.Process(pid).children(recursive=True)
    return sorted(found, key=lambda process: len(process.children()))
