"""An analysis as tables of rich."""

import math
from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from .findings import Finding, Suggestion
from .local_models import ModelError
from .modes import Mode
from .quantities import Quantity


def of(
    title: str,
    findings: tuple[Finding, ...],
    suggestion: Suggestion | str,
    quantities: tuple[Quantity, ...],
    modes: tuple[Mode, ...],
    models: tuple[ModelError, ...],
) -> Iterator[RenderableType]:
    """Findings first, then the numbers behind them."""
    yield Text(title, "bold")
    sentences = [finding.text for finding in findings]
    if isinstance(suggestion, str):
        sentences.append(f"No tuning is suggested: {suggestion}.")
    for sentence in sentences:
        yield Padding(Text(f"• {sentence}"), (0, 0, 0, 2))
    yield Padding(_quantities(quantities), (1, 0, 0, 0))
    yield Padding(_modes(modes), (1, 0, 0, 0))
    if models:
        yield Padding(_models(models), (1, 0, 0, 0))


def _quantities(quantities: tuple[Quantity, ...]) -> Table:
    columns = (Column("symbol"), _right("value"), Column("unit"), Column("", overflow="fold"))
    table = _table("quantity", *columns)
    for quantity in quantities:
        row = (quantity.name, quantity.symbol, _value(quantity.value), quantity.unit, quantity.note)
        table.add_row(*map(Text, row))
    return table


def _modes(modes: tuple[Mode, ...]) -> Table:
    headings = ("curvature k", "max |ρ|", "1/|log|ρ||", "period")
    caption = "max |ρ| per iteration, e-fold time 1/|log|ρ|| and period in iterations"
    table = _table("regime", *map(_right, headings), caption=caption)
    for mode in modes:
        numbers = (mode.curvature, mode.factor, mode.time_constant, mode.period)
        table.add_row(mode.regime, *(_value(number, 6) for number in numbers))
    return table


def _models(models: tuple[ModelError, ...]) -> Table:
    headings = ("drift", "of the way", "after", "in layer")
    caption = (
        "what the model misses to leading order: drift in params per unit of time, and as a share of the speed λ̄|f|; "
        "in params, in all, after the initial layer and at most within it (0: of the next order)"
    )
    table = _table("model", *map(_right, headings), Column("valid", overflow="fold"), caption=caption)
    for model in models:
        share = "n/a" if model.relative is None else f"{100 * model.relative:.3g} %"
        drift, offset, layer = (_value(x, 3) for x in (model.drift, model.offset, model.layer))
        holds = {True: "yes, ", False: "no, ", None: "n/a, "}[model.holds]
        table.add_row(Text(model.model), drift, share, offset, layer, Text(holds + model.reason))
    return table


def _table(first: str, *columns: Column, caption: str | None = None) -> Table:
    heading = Column(first, overflow="fold", min_width=min(len(first), 8))
    return Table(heading, *columns, box=None, pad_edge=False, caption=caption, caption_justify="left")


def _right(heading: str) -> Column:
    return Column(heading, justify="right", no_wrap=True)


def _value(x: float | None, digits: int = 5) -> str:
    if x is None or math.isnan(x):
        return "n/a"
    return "–" if math.isinf(x) else f"{x:.{digits}g}"
