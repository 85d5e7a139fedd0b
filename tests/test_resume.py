"""A sweep that is killed at any moment goes on from its last checkpoint, to the same numbers."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import momentumflow as mf
from momentumflow.training import (
    Apart,
    CheckpointError,
    Checkpoints,
    grid,
    plan,
    sweep,
    train_ensemble,
    train_group,
)

EVERY, EPOCHS = 3, 60
CHILD = f"""
import sys, jax
jax.config.update("jax_compilation_cache_dir", sys.argv[2])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
from momentumflow.training import grid, sweep

class Telling:
    def update(self, done, total, loss=0.0, label=""):
        print(done, flush=True)

runs = grid(["HB"], [0.25], epochs={EPOCHS}, dataset="digits")
sweep(runs, sys.argv[1], layout=sys.argv[3], every={EVERY}, resume=True, progress=Telling())
"""


def child(folder: Path, cache: Path, layout: str = "apart") -> subprocess.Popen:
    command = [sys.executable, "-c", CHILD, str(folder), str(cache), layout]
    environment = os.environ | {"XLA_FLAGS": ""}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def numbers(folder: Path) -> dict[str, dict]:
    """The result files but for their provenance."""
    files = sorted(folder.glob("*.json"))
    return {path.name: json.loads(path.read_text()) | {"provenance": None} for path in files}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder, cache = tmp_path_factory.mktemp("undisturbed"), tmp_path_factory.mktemp("cache")
    process = child(folder, cache)
    assert [int(line) for line in process.stdout] == list(range(1, EPOCHS + 1))
    assert process.wait() == 0
    assert len(numbers(folder)) == 2  # HB and its limit
    return numbers(folder), cache


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=() if seed < 2 else pytest.mark.slow) for seed in range(20)]
)
def test_kill_at_a_random_moment(seed, undisturbed, tmp_path):
    """After the kill it goes on at most `EVERY` epochs behind, and ends with the same bits."""
    expected, cache = undisturbed
    process = child(tmp_path, cache)
    first = int(process.stdout.readline())
    time.sleep(random.Random(seed).uniform(0, 3.0))
    process.send_signal(signal.SIGKILL)
    told = [first, *(int(line) for line in process.stdout if line.strip())]
    process.wait()
    again = child(tmp_path, cache, "auto")  # which goes on in the layout that was begun
    epochs = [int(line) for line in again.stdout]
    assert again.wait() == 0
    assert numbers(tmp_path) == expected
    assert (
        child(tmp_path, cache).wait() == 0
    )  # finds all done, and clears what a kill at the very end has left
    assert not list((tmp_path / "checkpoints").iterdir())
    if told[-1] < EPOCHS:
        assert first == 1
        assert told[-1] - EVERY < epochs[0] <= told[-1] + 1
        assert epochs == list(range(epochs[0], EPOCHS + 1))


METHODS = (mf.gradient_descent(0.1), mf.heavy_ball(0.1, 0.5))
START = [jnp.ones(3), jnp.ones(3)]
BATCHES = np.random.default_rng(0).normal(size=(4, 5, 3))


def loss(u, x):
    return jnp.mean((jnp.tanh(u) - x) ** 2)


def training(folder: Path, epochs: int, identity: str = "this", **others):
    kept = Checkpoints(folder, 2, identity)
    return train_ensemble(Apart(METHODS, loss, ((1, 0),)), START, BATCHES, epochs, checkpoints=kept, **others)


def same(a, b) -> bool:
    return all(
        np.array_equal(x, y, equal_nan=True)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_a_deadline_stops_at_a_checkpoint_and_the_rest_is_the_same(tmp_path):
    whole = training(tmp_path / "whole", 5)
    part = training(tmp_path / "parts", 5, deadline=0.0)
    assert (part.epochs, part.finished) == (1, False)
    rest = training(tmp_path / "parts", 5)
    assert rest.finished
    assert same(whole.history, rest.history)
    assert same(whole.params, rest.params)


def damage(folder: Path, epoch: int) -> None:
    """One byte in the middle of the largest file of a checkpoint."""
    path = max((folder / str(epoch)).rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path):
    whole = training(tmp_path / "whole", 6)
    training(tmp_path / "kept", 6)
    damage(tmp_path / "kept", 6)
    with pytest.warns(UserWarning, match="damaged checkpoint .*6.*: the one before is used"):
        rest = training(tmp_path / "kept", 6)
    assert same(whole.history, rest.history)


def test_after_damage_the_next_checkpoints_are_written(tmp_path):
    """The damaged one of epoch 6 must not stand in the way of that of epoch 5."""
    training(tmp_path, 6)
    damage(tmp_path, 6)
    with pytest.warns(UserWarning, match="damaged checkpoint"):
        part = training(tmp_path, 6, deadline=0.0)
    assert part.epochs == 5
    assert training(tmp_path, 6, deadline=0.0).epochs == 6


def test_no_whole_checkpoint_is_an_error(tmp_path):
    training(tmp_path, 4)
    damage(tmp_path, 4)
    damage(tmp_path, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"no checkpoint in .* is whole: .*Remove .* to start"):
            training(tmp_path, 4)


def test_a_truncated_file_is_damage_too(tmp_path):
    whole = training(tmp_path / "whole", 4)
    training(tmp_path / "kept", 4)
    for path in (tmp_path / "kept" / "4").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:10])
    with pytest.warns(UserWarning, match="damaged checkpoint"):
        rest = training(tmp_path / "kept", 4)
    assert same(whole.history, rest.history)


def test_checkpoints_of_another_training_are_refused(tmp_path):
    training(tmp_path, 2)
    for other in ({"epochs": 2, "identity": "another"}, {"epochs": 3}):
        with pytest.raises(ValueError, match="checkpoints of a training with other settings"):
            training(tmp_path, **other)


def test_a_full_disk_says_what_is_kept(tmp_path, monkeypatch):
    """What orbax raises there comes out as one sentence, and the checkpoints before are as good as they were."""
    from orbax.checkpoint import v1

    save = v1.training.Checkpointer.save

    def full(self, step, *rest, **named):
        if step > 2:
            raise OSError(28, "No space left on device")
        return save(self, step, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(v1.training.Checkpointer, "save", full)
        with pytest.raises(
            CheckpointError, match=r"epoch 4 could not be written .*No space left .* are kept"
        ):
            training(tmp_path / "kept", 4)
    reports = []
    rest = training(
        tmp_path / "kept", 4, progress=SimpleNamespace(update=lambda *about: reports.append(about[0]))
    )
    assert reports == [3, 4]
    assert same(rest.history, training(tmp_path / "whole", 4).history)


def test_only_the_last_ones_are_kept(tmp_path):
    training(tmp_path, 9)
    kept = sorted(int(path.name) for path in tmp_path.iterdir())
    assert kept == [8, 9]


def test_a_sweep_without_resume_refuses_checkpoints(tmp_path):
    runs = grid(["GF"], [0.25], epochs=4, dataset="digits")
    left = sweep(runs, tmp_path, layout="apart", every=1, minutes=1e-9)
    assert [group.runs for group in left.unfinished] == [tuple(runs)]
    with pytest.raises(ValueError, match="holds checkpoints of an unfinished sweep: give --resume"):
        sweep(runs, tmp_path, layout="apart")
    done = sweep(runs, tmp_path, layout="apart", resume=True)
    assert not done.unfinished
    whole = train_group(plan(runs)[0])
    assert done.results[runs[0]].errors == whole[0].errors


def test_checkpoints_hold_no_pickle(tmp_path):
    """Numbers are read from arrays and JSON only."""
    training(tmp_path, 2)
    for path in tmp_path.rglob("*"):
        assert not (path.is_file() and path.read_bytes()[:1] == b"\x80"), path
