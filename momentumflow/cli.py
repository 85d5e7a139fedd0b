"""The command line. Each command calls one function; what it needs is imported when it runs."""

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import __version__

if TYPE_CHECKING:
    from .experiments.runner import Outcome

INTERRUPTED = 130

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="What an optimiser with momentum does in continuous time: its ODEs, their orders, and what follows.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results, made when missing.")]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Folder where data sets are looked for first.")
]
Floats = list[float] | None
Ints = list[int] | None
Texts = list[str] | None


def main() -> None:
    """The command `momentumflow`."""
    try:
        app(prog_name="momentumflow")
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            # XLA cannot stop what it has begun, and an ordinary exit under it ends in a segmentation fault.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"momentumflow {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the experiments: id, title, source."""
    from .experiments.registry import entries

    if as_json:
        _print_json([entry.__dict__ for entry in entries()])
        return
    width = max(len(entry.id) for entry in entries())
    for entry in entries():
        typer.echo(f"{entry.id:{width}}  {entry.title}\n{'':{width}}  {entry.source}")


@app.command()
def reproduce(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...|all]", help="From `list`; none is all.")
    ] = None,
    preset: Annotated[str, typer.Option(metavar="quick|full", help="Seconds, or as the source.")] = "quick",
    out: Out = Path("results"),
    data: Data = None,
    force: Annotated[bool, typer.Option("--force", help="Run what is up to date, too.")] = False,
    only_report: Annotated[
        bool, typer.Option("--only-report", help="Run nothing: the page anew from stored results.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run experiments: computed numbers beside published ones.

    Exit status: 0 if every check held, 1 if not, 2 for bad input, 130 when interrupted.
    """
    with _plain_errors():
        from .experiments.registry import select

        select(ids or ())  # an unknown id is reported before JAX is loaded
        if only_report and force:
            raise ValueError("--only-report runs nothing, so it cannot be given with --force: leave one out")
        from .experiments import runner
        from .experiments.summary import print_outcomes

        chosen = ids or ()
        outcomes = runner.report(chosen, out) if only_report else _reproduce(chosen, preset, out, data, force)
    held = all(outcome.held for outcome in outcomes)
    if as_json:
        _print_json(
            {"held": held, "page": str(out / "index.html"), "results": [o.to_dict() for o in outcomes]}
        )
    else:
        print_outcomes(outcomes)
        typer.echo(f"Page: {out / 'index.html'}")
    raise typer.Exit(0 if held else 1)


def _reproduce(ids: Sequence[str], preset: str, out: Path, data: Path | None, force: bool) -> "list[Outcome]":
    from . import _deterministic, _progress

    _deterministic.prepare()  # before JAX computes
    from .experiments import runner

    try:
        with _progress.bar() as progress:
            return runner.reproduce(ids, preset, out, data, force, progress)
    except runner.Interrupted as stop:
        kept = ", ".join(outcome.entry.id for outcome in stop.outcomes) or "nothing was finished"
        typer.echo(f"momentumflow: interrupted; kept in {out}: {kept}", err=True)
        raise typer.Exit(INTERRUPTED) from None


@app.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="From `list`.")],
    out: Out = Path("results"),
    as_json: Json = False,
) -> None:
    """Show an experiment: its statement, its parameters, and the checks of its last run.

    Exit status: 0, or 2 for bad input.
    """
    with _plain_errors():
        from .experiments.registry import find

        entry = find(id)  # an unknown id is reported before JAX is loaded
        from .experiments import show as showing
        from .experiments.store import Store

        if as_json:
            _print_json(showing.to_dict(entry, Store(out)))
        else:
            showing.print_experiment(entry, Store(out))


@app.command()
def doctor(data: Data = None, as_json: Json = False) -> None:
    """Say what this machine has and lacks: versions, devices, precision, data, commands.

    Exit status: 0 if `reproduce` and `train` can run, 1 if not.
    """
    with _plain_errors():
        from .experiments import doctor as doctoring

        found = doctoring.examine(data)
    if as_json:
        _print_json(found)
    else:
        doctoring.print_findings(found)
    raise typer.Exit(0 if found["ready"] else 1)


@app.command()
def train(
    dataset: Annotated[
        str, typer.Option(metavar="mnist|digits", help="The digits need no download.")
    ] = "digits",
    data: Data = None,
    epochs: Annotated[int, typer.Option(metavar="N", help="Passes over the images, in file order.")] = 10,
    learning_rate: Annotated[float, typer.Option(metavar="h", help="Of every method.")] = 0.125,
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="GF, HB, NAG, Wilson, HB-mu, NAG-mu; repeatable, none is all."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Images a step; the data set has its own.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of the initial weights, the same for every method.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Train an autoencoder with momentum methods, side by side.

    Exit status: 0 (a run that diverges is a result), 2 for bad input, 130 when interrupted.
    """
    with _plain_errors():
        from . import _progress, training

        images = training.load(dataset, data)
        with _progress.bar() as progress:
            result = training.run_methods(images, epochs, learning_rate, method, batch_size, seed, progress)
    if as_json:
        _print_json(training.to_dict(result))
        return
    from rich.console import Console

    Console().print(training.table_of_losses(result))
    Console().print(training.table(result))


@app.command()
def sweep(
    out: Out = Path("sweep"),
    dataset: Annotated[str, typer.Option(metavar="mnist|digits")] = "mnist",
    data: Data = None,
    epochs: Annotated[int, typer.Option(metavar="N", help="Passes over the images.")] = 500,
    method: Annotated[Texts, typer.Option(metavar="NAME", help="As of `train`; repeatable.")] = None,
    learning_rate: Annotated[Floats, typer.Option(metavar="h", help="Repeatable; none: 2^0 … 2^-6.")] = None,
    momentum: Annotated[float, typer.Option(metavar="λ", help="Of GF, HB and NAG.")] = 0.9,
    strong_convexity: Annotated[Floats, typer.Option(metavar="μ", help="Of the others; repeatable.")] = None,
    seed: Annotated[Ints, typer.Option(metavar="N", help="Of the initial weights; repeatable.")] = None,
    order: Annotated[Ints, typer.Option(metavar="N", help="Seed of a shuffle; repeatable.")] = None,
    initializer: Annotated[str, typer.Option(metavar="glorot_uniform|glorot_normal")] = "glorot_uniform",
    hidden: Annotated[str, typer.Option(metavar="relu|tanh|sigmoid|linear")] = "relu",
    code: Annotated[str, typer.Option(metavar="…", help="Likewise, of the code layer.")] = "linear",
    output: Annotated[str, typer.Option(metavar="…", help="Likewise, of the output layer.")] = "linear",
    dtype: Annotated[str, typer.Option(metavar="float32|float64")] = "float32",
    layout: Annotated[
        str, typer.Option(metavar="auto|apart|together", help="How runs share a program; auto measures.")
    ] = "auto",
    lockstep: Annotated[
        bool, typer.Option("--lockstep/--alone", help="Measure the distance to the limit (Figure 7), or not.")
    ] = True,
    most: Annotated[int | None, typer.Option(metavar="N", help="Runs in one program at most.")] = None,
    checkpoint_every: Annotated[int, typer.Option(metavar="N", help="Epochs between checkpoints.")] = 10,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoints in --out.")] = False,
    minutes: Annotated[
        float | None, typer.Option(metavar="N", help="Stop at a checkpoint after that time.")
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", help="Processes of a local cluster; 0 trains in this process.")
    ] = 1,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a dask.distributed scheduler that has workers.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write final errors as CSV, too.")] = None,
    as_json: Json = False,
) -> None:
    """Train the runs of Figures 6 and 7, or others, with checkpoints, here or on many machines.

    Exit status: 0 (a run that diverges is a result), 1 if time ran out before the end, 2 for bad input, 130 when
    interrupted: `--resume` goes on.
    """
    with _plain_errors():
        from . import _deterministic, _progress

        _deterministic.prepare()  # before JAX is imported
        from . import training

        network = {"initializer": initializer, "hidden": hidden, "code": code, "output": output}
        others: dict[str, Any] = network | {"dataset": dataset, "momentum": momentum, "dtype": dtype}
        runs = training.grid(method, learning_rate, strong_convexity, seed, order, epochs, **others)
        with _progress.bar() as progress:
            swept = training.sweep(
                runs, out, data, layout, lockstep, most, checkpoint_every, resume,
                math.inf if minutes is None else minutes, workers, scheduler, progress=progress,
            )  # fmt: skip
    if csv is not None:
        csv.write_text(training.as_csv(swept), encoding="utf-8")
    if as_json:
        _print_json(training.swept_to_dict(swept))
    else:
        from rich.console import Console

        Console().print(training.table_of_sweep(swept))
    raise typer.Exit(1 if swept.unfinished else 0)


@app.command()
def analyze(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FUNCTION", help="FUNCTION() returns (loss, params) or (loss, params, batches)."
        ),
    ],
    learning_rate: Annotated[float, typer.Option(metavar="h", help="Step size, > 0.")],
    momentum: Annotated[float, typer.Option(metavar="λ", help="In [0, 1); 0 is gradient descent.")] = 0.9,
    lookahead: Annotated[float, typer.Option(metavar="a", help="0 is heavy ball.")] = 0.0,
    nesterov: Annotated[bool, typer.Option("--nesterov", help="Look-ahead a = λ.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write JSON, too; - prints it instead.")
    ] = None,
    plot_file: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the plane of hk and λ: .png, .svg, .pdf."),
    ] = None,
) -> None:
    """Say what momentum does on a loss at its params: stability, regimes, which model to trust, a tuning.

    The module is looked for in the current folder, too. Exit status: 0, or 2 for bad input.
    """
    with _plain_errors():
        if nesterov and lookahead:
            raise ValueError(f"--nesterov sets a = λ, so --lookahead {lookahead:g} must be left out")
        from .methods.momentum import momentum_method
        from .study import target as problem

        method = momentum_method(learning_rate, momentum, momentum if nesterov else lookahead)
        analysis = problem.analyze_target(target, method)
        if plot_file is not None:
            problem.save_plane(analysis, plot_file)
        if json_file is not None and str(json_file) != "-":
            json_file.write_text(_json(analysis.to_dict()) + "\n", encoding="utf-8")
    if json_file is not None and str(json_file) == "-":
        _print_json(analysis.to_dict())
        return
    from rich.console import Console

    Console().print(analysis)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def _print_json(value: Any) -> None:
    typer.echo(_json(value))


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Bad input as one sentence on stderr and exit status 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        typer.echo(f"momentumflow: {error}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("momentumflow: interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
