"""The table that a terminal shows after `reproduce`."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import words
from .checks import Check
from .runner import Outcome


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Id, checks held, time and why it was made; under it every check that failed."""
    table = Table("experiment", "checks held", "time / s", "why", box=None, pad_edge=False)
    for outcome in outcomes:
        table.add_row(outcome.entry.id, _count(outcome), _seconds(outcome), Text(outcome.note))
    console = Console()
    console.print(table)
    for outcome in outcomes:
        for check in outcome.record.checks if outcome.record else ():
            if not check.held:
                console.print(Text(f"failed: {outcome.entry.id}: {_sentence(check)}", "red"))


def _count(outcome: Outcome) -> Text:
    if outcome.record is None:
        return Text("not made", "red")
    held = sum(check.held for check in outcome.record.checks)
    return Text(f"{held} of {len(outcome.record.checks)}", "green" if outcome.held else "red")


def _seconds(outcome: Outcome) -> str:
    return "" if outcome.record is None else f"{outcome.record.seconds:.1f}"


def _sentence(check: Check) -> str:
    wanted = words.expected(check) + words.margin(check)
    return f"{check.name}: computed {words.number(float(check.computed))}, expected {wanted} ({check.source})"
