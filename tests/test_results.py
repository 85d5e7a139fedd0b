"""Results: what the store believes, what the runner keeps and makes, what the page shows."""

import errno
import json
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path

import jax
import pytest
from matplotlib.figure import Figure
from stand_ins import FIRST, SECOND, stand_ins_fixture  # noqa: F401

from momentumflow.experiments import page, runner
from momentumflow.experiments.checks import Check
from momentumflow.experiments.runner import DATA_VARIABLE, ERROR, Interrupted, report, reproduce
from momentumflow.experiments.store import DATA, PNG, RECORD, SVG, Damaged, Store


def check(computed, refutes=False):
    return Check("x", computed, 1.0, 0.1, "within", "a test", refutes)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


RESULT = sorted(f"{FIRST.id}/{name}" for name in (DATA, PNG, SVG, RECORD))


def test_a_result_is_data_figures_checks_and_a_page(stand_ins, out):
    (outcome,) = reproduce([FIRST.id], out=out)
    assert outcome.held
    assert files(out) == sorted(["index.html", FIRST.id, *RESULT])
    assert Store(out).data(FIRST.id)["square"].values.tolist() == [0, 1, 4]
    kept = Store(out).record(FIRST.id)
    assert kept == outcome.record
    assert kept.environment["precision"] == "float64"
    assert (kept.preset, kept.config, kept.seed) == ("quick", {"n": 3}, None)


def test_a_second_run_keeps_what_is_current(stand_ins, out):
    first, second = reproduce(out=out), reproduce(out=out)
    assert [outcome.reused for outcome in first] == [False, False]
    assert [outcome.reused for outcome in second] == [True, True]
    assert [outcome.record for outcome in second] == [outcome.record for outcome in first]
    assert len(stand_ins[FIRST.id].ran) == 1
    assert not reproduce([FIRST.id], out=out, force=True)[0].reused


def test_a_full_result_serves_for_quick_but_not_the_other_way(stand_ins, out):
    reproduce([FIRST.id, SECOND.id], preset="full", out=out)
    assert reproduce([FIRST.id], out=out)[0].record.preset == "full"
    reproduce([SECOND.id], out=out, force=True)
    assert reproduce([SECOND.id], preset="full", out=out)[0].note == "made with other settings (preset quick)"


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("spoil", "note"),
    [
        (lambda home: damage(home / DATA), "damaged: data.nc"),
        (lambda home: damage(home / SVG), "damaged: figure.svg"),
        (lambda home: (home / PNG).unlink(), "damaged: figure.png"),
        (lambda home: (home / RECORD).write_text('{"checks": ['), "damaged: checks.json"),
        (lambda home: (home / RECORD).write_text("[]"), "damaged: checks.json"),
        (lambda home: edit(home / RECORD, checks=[{}]), "damaged: checks.json"),
        (lambda home: edit(home / RECORD, files=3), "damaged: checks.json"),
        (lambda home: (home / RECORD).unlink(), "no result yet"),
        (lambda home: edit(home / RECORD, version="0.0.1"), "made by momentumflow 0.0.1, this is"),
        (lambda home: edit(home / RECORD, config_sha256=""), "made with other settings"),
        (lambda home: edit(home / RECORD, code_sha256=""), "the code it stands on has changed"),
    ],
)
def test_what_is_not_whole_and_current_is_made_anew_with_a_note(stand_ins, out, spoil, note):
    reproduce([FIRST.id], out=out)
    spoil(out / FIRST.id)
    (outcome,) = reproduce([FIRST.id], out=out)
    assert not outcome.reused
    assert outcome.note.startswith(note)
    assert outcome.held
    assert reproduce([FIRST.id], out=out)[0].reused


def test_a_change_of_its_module_makes_a_result_stale(stand_ins, out):
    reproduce(out=out)
    Path(stand_ins[FIRST.id].__file__).write_text("# other code\n")
    assert [outcome.reused for outcome in reproduce(out=out)] == [False, True]


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_an_interrupted_run_keeps_the_finished_ones_and_nothing_else(stand_ins, out):
    stand_ins[SECOND.id].run = interrupt
    with pytest.raises(Interrupted) as stop:
        reproduce(out=out)
    assert [outcome.entry for outcome in stop.value.outcomes] == [FIRST]
    assert files(out) == sorted(["index.html", FIRST.id, *RESULT])
    assert "<code>stand-in-two</code> (no result yet)" in (out / "index.html").read_text()


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("older", [False, True])
def test_an_interrupted_save_is_never_believed(stand_ins, out, monkeypatch, at, older):
    if older:
        reproduce([FIRST.id], preset="full", out=out)
    replace, calls = os.replace, []

    def stop_at(source, target):
        calls.append(target)
        return interrupt() if len(calls) == at else replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop_at)
        with pytest.raises(Interrupted):
            reproduce([FIRST.id], out=out, force=True)
    assert not [name for name in files(out) if "staging" in name]
    assert Store(out).up_to_date(FIRST, stand_ins[FIRST.id].PRESETS["quick"]) is False
    if at > 1 or not older:
        with pytest.raises((Damaged, FileNotFoundError)):
            Store(out).record(FIRST.id)
    assert reproduce([FIRST.id], out=out, force=True)[0].held


def test_an_interrupted_drawing_leaves_the_older_result_alone(stand_ins, out, monkeypatch):
    before = reproduce([FIRST.id], out=out)[0].record
    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", interrupt)
        with pytest.raises(Interrupted):
            reproduce([FIRST.id], out=out, force=True)
    assert files(out) == sorted(["index.html", FIRST.id, *RESULT])
    assert Store(out).record(FIRST.id) == before


def test_an_experiment_that_fails_is_an_outcome(stand_ins, out):
    def run(config, progress):
        raise RuntimeError("no such luck")

    good, stand_ins[FIRST.id].run = stand_ins[FIRST.id].run, run
    failed, made = reproduce(out=out)
    assert made.held
    assert not failed.held
    assert failed.record is None
    assert failed.note.startswith("RuntimeError: no such luck (traceback in ")
    assert "no such luck" in (out / FIRST.id / ERROR).read_text()
    assert "no such luck" in (out / "index.html").read_text()
    stand_ins[FIRST.id].run = good
    assert reproduce(out=out)[0].held
    assert files(out / FIRST.id) == sorted([DATA, PNG, SVG, RECORD])


def test_a_failed_check_is_a_result_that_does_not_hold(stand_ins, out):
    stand_ins[FIRST.id].checks = lambda data: [check(5.0), check(1.0)]
    assert not reproduce([FIRST.id], out=out)[0].held
    assert not reproduce([FIRST.id], out=out)[0].held  # kept, and still failed
    stand_ins[SECOND.id].checks = lambda data: []
    assert not reproduce([SECOND.id], out=out)[0].held  # nothing was checked


def test_where_nothing_can_be_written_no_work_starts(stand_ins, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="the output folder's parent must exist, got"):
        reproduce(out=tmp_path / "missing" / "results")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="the output folder must be a folder, got the file"):
        reproduce(out=tmp_path / "file")

    def read_only(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    with pytest.raises(
        ValueError, match=r"must be writable, got .* \(Permission denied\): choose another --out"
    ):
        reproduce(out=tmp_path)
    assert not stand_ins[FIRST.id].ran


def test_where_the_disk_is_full_no_work_starts(stand_ins, out, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        ValueError,
        match=r"must have room for 16 MiB, got .*results \(No space left on device\): free some or",
    ):
        reproduce(out=out)
    assert not stand_ins[FIRST.id].ran
    assert files(out) == []


def test_a_disk_that_fills_during_the_work_is_an_outcome(stand_ins, out, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    reproduce(out=out)
    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", full)
        patch.setattr(runner, "write_text", full)
        first, second = reproduce(out=out, force=True)
    assert not first.held
    assert not second.held
    assert first.note.endswith("(its traceback could not be kept: No space left on device)")
    assert reproduce(out=out)[0].reused  # the older results are whole


def test_bad_arguments_are_refused_before_work(stand_ins, out, tmp_path):
    with pytest.raises(ValueError, match="unknown preset 'fast'"):
        reproduce(preset="fast", out=out)
    with pytest.raises(ValueError, match="the data folder must exist"):
        reproduce(data=tmp_path / "nowhere", out=out)
    assert not out.exists()


def test_a_run_sees_float64_and_the_data_folder_and_leaves_both_as_they_were(stand_ins, out, monkeypatch):
    seen, run = {}, stand_ins[FIRST.id].run

    def look(config, progress):
        seen.update(x64=jax.config.jax_enable_x64, data=os.environ[DATA_VARIABLE])
        return run(config, progress)

    stand_ins[FIRST.id].run = look
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    jax.config.update("jax_enable_x64", False)
    try:
        reproduce([FIRST.id], out=out, data=out.parent)
        assert not jax.config.jax_enable_x64
    finally:
        jax.config.update("jax_enable_x64", True)
    assert seen == {"x64": True, "data": str(out.parent)}
    assert DATA_VARIABLE not in os.environ


def test_progress_names_the_experiment_and_its_place(stand_ins, out):
    class Listener:
        def __init__(self):
            self.said = []

        def update(self, done, total, loss=math.nan, label=""):
            self.said.append((done, total, label))

    reproduce(out=out, progress=(listener := Listener()))
    assert listener.said[:3] == [(0, 1, "stand-in-one (1 of 2)"), (1, 2, "stand-in-one (1 of 2) half"),
                                 (1, 1, "stand-in-one (1 of 2)")]  # fmt: skip
    assert listener.said[-1] == (1, 1, "stand-in-two (2 of 2)")


def test_the_page_shows_every_result_needs_nothing_else_and_escapes(stand_ins, out):
    stand_ins[SECOND.id].checks = lambda data: [check(5.0, refutes=True), check(math.inf)]
    reproduce([FIRST.id], out=out)
    reproduce([SECOND.id], out=out)
    text = (out / page.NAME).read_text(encoding="utf-8")
    assert text.count("<section") == text.count("<svg") == 2
    assert "&lt;b&gt;escaped" in text
    assert "<b>" not in text
    assert " src=" not in text
    assert "http" not in text
    assert "prefers-color-scheme: dark" in text
    for words in ("1 held", "1 refuted, 1 failed", "✓ refuted", "✗ failed", ">not 1<", ">inf<", "arithmetic",
                  "momentumflow reproduce <span>stand-in-two</span>", "float64"):  # fmt: skip
        assert words in text


def test_the_page_leaves_out_what_is_damaged(stand_ins, out):
    reproduce(out=out)
    damage(out / SECOND.id / SVG)
    page.write(Store(out), {})
    text = (out / page.NAME).read_text()
    assert text.count("<section") == 1
    assert "<code>stand-in-two</code> (damaged: figure.svg is missing or is not what" in text
    assert "momentumflow reproduce stand-in-two" in text


def test_the_page_says_which_results_are_not_current(stand_ins, out):
    reproduce(out=out)
    edit(out / FIRST.id / RECORD, version="0.0.1")
    page.write(Store(out), {})
    text = (out / page.NAME).read_text()
    assert text.count("Not current: ") == 1
    assert "made by momentumflow 0.0.1, this is" in text


def test_the_page_shows_the_others_when_a_module_cannot_be_imported(stand_ins, out, monkeypatch):
    reproduce(out=out)
    monkeypatch.setitem(sys.modules, f"momentumflow.experiments.{FIRST.module}", None)
    page.write(Store(out), {})
    text = (out / page.NAME).read_text()
    assert "Its module cannot be imported: ModuleNotFoundError" in text
    assert text.count("<svg") == 1


def test_a_report_is_made_of_what_is_stored_and_runs_nothing(stand_ins, out):
    reproduce(out=out)
    before = (out / page.NAME).read_text()
    (out / page.NAME).unlink()
    damage(out / SECOND.id / SVG)
    (outcome,) = report(out=out)
    assert outcome.reused
    assert outcome.note.startswith("stored (quick, ")
    assert (out / page.NAME).read_text() != before
    assert [len(module.ran) for module in stand_ins.values()] == [1, 1]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], r"found none in .*: run `momentumflow reproduce all --out .*results` first"),
        ([FIRST.id], r"found none of stand-in-one in .*: run `momentumflow reproduce stand-in-one --out"),
    ],
)
def test_a_report_without_results_says_what_to_run(stand_ins, out, ids, message):
    with pytest.raises(ValueError, match=message):
        report(ids, out)
    assert not out.exists()
    reproduce([FIRST.id], out=out)
    damage(out / FIRST.id / DATA)
    with pytest.raises(ValueError, match=message):
        report(ids, out)


def test_a_figure_is_the_same_file_twice(stand_ins, out, tmp_path):
    reproduce([FIRST.id], out=out)
    shutil.copy(out / FIRST.id / SVG, tmp_path / "first.svg")
    reproduce([FIRST.id], out=out, force=True)
    assert (out / FIRST.id / SVG).read_bytes() == (tmp_path / "first.svg").read_bytes()
