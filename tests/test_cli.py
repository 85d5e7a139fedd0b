"""The command line: what it prints, where, and its exit status."""

import json
import subprocess
import sys

import jax
import pytest
from stand_ins import FIRST, SECOND, stand_ins_fixture  # noqa: F401
from typer.testing import CliRunner

import momentumflow as mf
from momentumflow import training
from momentumflow.cli import app
from momentumflow.experiments import doctor, registry
from momentumflow.training import datasets

HEAVY = {"jax", "numpy", "scipy", "matplotlib", "torch", "xarray", "rich", "jinja2"}


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def said(result):
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list"],
        ["list", "--json"],
        ["reproduce", "--help"],
        ["show", "--help"],
        ["analyze", "--help"],
        ["--version"],
    ],
)
def test_what_needs_no_numbers_loads_nothing_heavy(arguments):
    script = (
        "import sys\nsys.argv = ['momentumflow', *sys.argv[1:]]\nfrom momentumflow.cli import main\n"
        "try: main()\nexcept SystemExit as stop: assert not stop.code, stop.code\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    assert not set(done.stderr.split()) & HEAVY


def test_list_shows_every_experiment():
    result = call("list")
    assert result.exit_code == 0
    assert all(entry.id in result.stdout and entry.title in result.stdout for entry in registry.entries())
    listed = json.loads(call("list", "--json").stdout)
    assert [entry["id"] for entry in listed] == [entry.id for entry in registry.entries()]
    assert set(listed[0]) == {"id", "title", "source", "statement"}


def test_version():
    assert call("--version").stdout == f"momentumflow {mf.__version__}\n"


def test_reproduce_writes_results_and_says_what_held(stand_ins, tmp_path):
    result = call("reproduce", "all", "--out", tmp_path / "out")
    assert result.exit_code == 0
    for words in (FIRST.id, SECOND.id, "1 of 1", "no result yet", "index.html"):
        assert words in result.stdout
    assert (tmp_path / "out" / FIRST.id / "data.nc").is_file()
    assert "up to date (quick" in call("reproduce", "--out", tmp_path / "out").stdout
    assert "--force" in call("reproduce", FIRST.id, "--force", "--out", tmp_path / "out").stdout


def test_reproduce_as_json(stand_ins, tmp_path):
    result = call("reproduce", FIRST.id, "--preset", "full", "--json", "--out", tmp_path / "out")
    told = json.loads(result.stdout)
    assert told["held"] is True
    assert told["results"][0]["id"] == FIRST.id
    assert told["results"][0]["result"]["checks"][0]["verdict"] == "held"
    assert told["results"][0]["result"]["config"] == {"n": 5}


def test_a_check_that_fails_makes_the_status_1(stand_ins, tmp_path):
    check = registry.Check("the order", 0.5, 1.0, 0.1, "within", "Theorem 2")
    stand_ins[FIRST.id].checks = lambda data: [check]
    result = call("reproduce", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "failed: stand-in-one: the order: computed 0.5, expected 1 ± 0.1" in " ".join(
        result.stdout.split()
    )
    assert call("reproduce", SECOND.id, "--out", tmp_path / "out").exit_code == 0
    told = json.loads(call("reproduce", FIRST.id, "--json", "--out", tmp_path / "out").stdout)
    assert told["held"] is False


def test_an_experiment_that_cannot_be_made_makes_the_status_1(stand_ins, tmp_path):
    def run(config, progress):
        raise FileNotFoundError("no data set")

    stand_ins[FIRST.id].run = run
    result = call("reproduce", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "not made" in result.stdout
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["reproduce", "stand-in-on"],
            "momentumflow: unknown experiment 'stand-in-on': did you mean 'stand-in-one'?",
        ),
        (["reproduce", "--preset", "fast"], "momentumflow: unknown preset 'fast': did you mean"),
        (["reproduce", "--out", "{}/a/b"], "momentumflow: the output folder's parent must exist, got"),
        (["reproduce", "--data", "{}/a"], "momentumflow: the data folder must exist, got"),
        (
            ["show", "stand-in-on"],
            "momentumflow: unknown experiment 'stand-in-on': did you mean 'stand-in-one'?",
        ),
        (["train", "--method", "HBB"], "momentumflow: unknown method 'HBB': did you mean 'HB'?"),
        (["train", "--dataset", "minst"], "momentumflow: unknown data set 'minst': did you mean 'mnist'?"),
        (["train", "--epochs", "0"], "momentumflow: epochs must be an integer >= 1, got 0"),
        (["train", "--learning-rate", "-1"], "momentumflow: learning_rate must be finite and > 0, got -1.0"),
    ],
)
def test_bad_input_is_one_sentence_on_stderr_and_status_2(stand_ins, tmp_path, arguments, message):
    result = call(*[argument.format(tmp_path) for argument in arguments])
    assert result.exit_code == 2
    assert said(result).startswith(message)
    assert "Traceback" not in result.output
    assert not result.stdout


def test_an_interrupted_reproduce_says_what_is_kept(stand_ins, tmp_path):
    def run(config, progress):
        raise KeyboardInterrupt

    stand_ins[SECOND.id].run = run
    result = call("reproduce", "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert said(result) == f"momentumflow: interrupted; kept in {tmp_path / 'out'}: stand-in-one"
    stand_ins[FIRST.id].run = run
    result = call("reproduce", "--force", "--out", tmp_path / "out")
    assert said(result).endswith(": nothing was finished")


@pytest.mark.parametrize(("status", "said"), [(130, "flushed"), (1, "flushedteardown")])
def test_an_interrupted_process_leaves_at_once(status, said):
    script = (
        "import atexit\nfrom momentumflow import cli\natexit.register(lambda: print('teardown', end=''))\n"
        f"def stop(**_): print('flushed', end=''); raise SystemExit({status})\ncli.app = stop\ncli.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, said)


def test_train_shows_a_table_or_json():
    arguments = ["train", "--epochs", 1, "--method", "HB", "--batch-size", 300, "--seed", 3]
    result = call(*arguments)
    assert result.exit_code == 0
    assert "HB" in result.stdout
    assert "completed" in result.stdout
    told = json.loads(call(*arguments, "--json").stdout)
    assert (told["dataset"], told["seed"], told["batch_size"], list(told["runs"])) == (
        "digits",
        3,
        300,
        ["HB"],
    )
    assert told["runs"]["HB"]["final_error_per_pixel"] < told["runs"]["HB"]["initial_error_per_pixel"]


def test_an_interrupted_train_has_status_130(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "run_methods", interrupt)
    result = call("train", "--epochs", 1)
    assert (result.exit_code, said(result)) == (130, "momentumflow: interrupted")


def test_the_help_of_train_names_the_methods_and_data_sets():
    text = " ".join(call("train", "--help").stdout.split())
    assert ", ".join(training.METHOD_NAMES) in text
    assert "mnist|digits" in text


def test_only_report_makes_the_page_anew_or_says_what_to_run(stand_ins, tmp_path):
    out = tmp_path / "out"
    result = call("reproduce", "--only-report", "--out", out)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said(result) == (
        f"momentumflow: a report needs whole results, found none in {out}: "
        f"run `momentumflow reproduce all --out {out}` first"
    )
    assert not out.exists()
    call("reproduce", "--out", out)
    (out / "index.html").unlink()
    result = call("reproduce", "--only-report", "--out", out)
    assert result.exit_code == 0
    assert "stored (quick" in result.stdout
    assert (out / "index.html").is_file()
    assert [len(module.ran) for module in stand_ins.values()] == [1, 1]
    result = call("reproduce", "--only-report", "--force", "--out", out)
    assert (result.exit_code, "cannot be given with --force" in said(result)) == (2, True)


def test_refused_input_shows_no_progress(stand_ins, tmp_path):
    refused = call("reproduce", "--preset", "fast", "--out", tmp_path / "out")
    assert refused.stderr == said(refused) + "\n"
    assert "1/1" in call("reproduce", "--out", tmp_path / "out").stderr


def test_show_prints_statement_parameters_and_checks(stand_ins, tmp_path):
    stand_ins[FIRST.id].__doc__ = "One.\n\nThe statement in\nour words.\n\n- first\n- second"
    result = call("show", FIRST.id, "--out", tmp_path / "out")
    assert result.exit_code == 0
    for words in (FIRST.title, FIRST.source, FIRST.statement, "The statement in our words.", "• second", "quick",
                  "no result yet", f"momentumflow reproduce {FIRST.id}"):  # fmt: skip
        assert words in " ".join(result.stdout.split())
    assert ["n", "3", "5"] in [line.split() for line in result.stdout.splitlines()]
    call("reproduce", FIRST.id, "--out", tmp_path / "out")
    shown = " ".join(call("show", FIRST.id, "--out", tmp_path / "out").stdout.split())
    for words in ("1 held: preset quick", "held last square 4 4 arithmetic"):
        assert words in shown
    assert "Not current" not in shown
    (tmp_path / "out" / FIRST.id / "figure.svg").unlink()
    assert "damaged: figure.svg is missing" in call("show", FIRST.id, "--out", tmp_path / "out").stdout
    assert len(stand_ins[FIRST.id].ran) == 1


def test_show_as_json(stand_ins, tmp_path):
    told = json.loads(call("show", FIRST.id, "--out", tmp_path / "out", "--json").stdout)
    assert told["presets"] == {"quick": {"n": 3}, "full": {"n": 5}}
    assert (told["stale"], told["result"]) == ("no result yet", None)
    call("reproduce", FIRST.id, "--preset", "full", "--out", tmp_path / "out")
    told = json.loads(call("show", FIRST.id, "--out", tmp_path / "out", "--json").stdout)
    assert (told["stale"], told["result"]["checks"][0]["verdict"]) == (None, "held")


@pytest.mark.parametrize("entry", registry.entries(), ids=lambda entry: entry.id)
def test_show_knows_every_experiment(entry, tmp_path):
    assert entry.statement.split()[0] in call("show", entry.id, "--out", tmp_path).stdout


def test_doctor_says_what_is_here_and_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("MOMENTUMFLOW_DATA", str(tmp_path))
    monkeypatch.setattr(datasets.pooch, "os_cache", lambda project: tmp_path / "cache")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"half")
    result = call("doctor")
    shown = " ".join(result.stdout.split())
    assert result.exit_code == 0
    for words in (f"momentumflow {mf.__version__}", "cpu", "float64 by default", "needs >=0.10", "reproduce ready",
                  "wrong magic number", "3 of 4 files are in no place", "come with scikit-learn"):  # fmt: skip
        assert words in shown
    assert "".join(str(tmp_path).split()) in "".join(result.stdout.split())
    told = json.loads(call("doctor", "--json", "--data", tmp_path / "cache").stdout)
    assert told["ready"] is True
    assert told["data"]["places"] == [str(tmp_path / "cache"), str(tmp_path), str(tmp_path / "cache")]
    assert told["missing"]["reproduce"] == []


def test_doctor_names_a_package_that_is_missing_or_too_old(monkeypatch):
    real = doctor.metadata.version

    def version(name):
        if name == "diffrax":
            raise doctor.metadata.PackageNotFoundError
        return "0.4" if name == "equinox" else real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    result = call("doctor")
    shown = " ".join(result.stdout.split())
    assert result.exit_code == 1
    assert "diffrax is not installed: pip install 'diffrax>=" in shown
    assert "equinox 0.4 is installed: pip install 'equinox>=" in shown


def test_doctor_goes_on_where_jax_does_not_start(monkeypatch):
    def devices():
        raise RuntimeError("no driver")

    monkeypatch.setattr(jax, "devices", devices)
    result = call("doctor")
    assert result.exit_code == 1
    assert "JAX does not start: RuntimeError: no driver" in " ".join(result.stdout.split())
