"""An experiment in a terminal: what it states, its parameters, and the checks of its last run."""

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from .._provenance import plain
from . import words
from .record import Record
from .registry import Entry, Experiment, load
from .store import Damaged, Store


def print_experiment(entry: Entry, store: Store) -> None:
    """Title, source, statement, presets, checks, and the command that makes it."""
    console, experiment = Console(), load(entry)
    record, reason = _last(entry, experiment, store)
    console.print(Text(entry.title, "bold"))
    console.print(Text(f"{entry.id} · {entry.source}", "dim"), Text(entry.statement), sep="\n\n")
    for block in words.paragraphs(experiment.__doc__ or "", entry.title):
        lines = [block] if isinstance(block, str) else [f"• {item}" for item in block]
        console.print(Padding(Text("\n".join(lines)), (1, 0, 0, 0)))
    console.print(Padding(_presets(experiment), (1, 0, 0, 0)))
    console.print(Padding(_headline(record, reason, store), (1, 0, 0, 0)))
    if record:
        console.print(_checks(record))
    console.print(
        Padding(Text(f"momentumflow reproduce {entry.id} --out {store.folder}", "bold"), (1, 0, 0, 0))
    )


def to_dict(entry: Entry, store: Store) -> dict[str, Any]:
    """The same as plain values for JSON; `result` is None without one, `stale` says why it is not current."""
    experiment = load(entry)
    record, reason = _last(entry, experiment, store)
    return {
        **entry.__dict__,
        "text": experiment.__doc__,
        "presets": {name: plain(config) for name, config in experiment.PRESETS.items()},
        "stale": reason,
        "result": None if record is None else record.to_dict(),
    }


def _last(entry: Entry, experiment: Experiment, store: Store) -> tuple[Record | None, str | None]:
    """The stored record, and why it is not there or not current."""
    presets = experiment.PRESETS
    try:
        record = store.record(entry.id)
    except FileNotFoundError:
        return None, "no result yet"
    except (Damaged, OSError) as error:
        return None, f"damaged: {error}"
    return record, store.reason_to_run(entry, presets.get(record.preset, presets["quick"]))


def _presets(experiment: Experiment) -> Table:
    configs = {name: plain(config) for name, config in experiment.PRESETS.items()}
    columns = (Column(name, overflow="fold") for name in configs)
    table = Table("parameter", *columns, box=None, pad_edge=False)
    for parameter in next(iter(configs.values())):
        values = (words.setting(config[parameter]) for config in configs.values())
        table.add_row(parameter, *map(Text, values))
    return table


def _headline(record: Record | None, reason: str | None, store: Store) -> Text:
    if record is None:
        return Text(f"No checks in {store.folder}: {reason}.")
    made = (
        f"{words.counts(record.checks)}: preset {record.preset}, {record.seconds:.1f} s, {record.date[:10]}"
    )
    text = Text(made, "green" if record.held else "red")
    return text.append(f"\nNot current: {reason}.", "yellow") if reason else text


def _checks(record: Record) -> Table:
    titles = ("verdict", "check", "computed", "expected", "source")
    table = Table(*(Column(title, overflow="fold") for title in titles), box=None, pad_edge=False)
    for check in record.checks:
        table.add_row(
            Text(check.verdict, "green" if check.held else "red"),
            Text(check.name),
            Text(words.number(float(check.computed)), no_wrap=True),
            Text(words.expected(check) + words.margin(check)),
            Text(check.source, "dim"),
        )
    return table
