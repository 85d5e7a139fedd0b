"""How a number, a check and a statement are written, on the page and in a terminal."""

import inspect
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from .checks import Check

_RELATIONS = {"within": "", "at most": "≤ ", "at least": "≥ "}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(x: float) -> str:
    """Six digits, with a power of ten as it is printed.

    >>> number(-0.25), number(3.2e-5), number(1e-9)
    ('−0.25', '3.2·10⁻⁵', '10⁻⁹')
    """
    mantissa, _, exponent = f"{x:.6g}".partition("e")
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}" if exponent else ""
    shown = power if power and mantissa == "1" else "·".join(filter(None, (mantissa, power)))
    return shown.replace("-", "−")


def expected(check: Check) -> str:
    """The expected number with its relation, as "1", "≤ 1", or "not 1" for a printed form."""
    return f"{'not ' if check.refutes else ''}{_RELATIONS[check.relation]}{number(float(check.expected))}"


def margin(check: Check) -> str:
    """The tolerance, as " ± 0.1"; nothing where it is zero."""
    return f" ± {number(float(check.tolerance))}" if float(check.tolerance) else ""


def counts(checks: Iterable[Check]) -> str:
    """How many of each verdict, as "12 held, 4 refuted"."""
    verdicts = Counter(check.verdict for check in checks)
    return (
        ", ".join(f"{verdicts[v]} {v}" for v in ("held", "refuted", "failed") if verdicts[v]) or "no checks"
    )


def setting(value: Any) -> str:
    """A setting as text: lists without their brackets.

    >>> setting([1.0, [2.0, 3.0]]), setting("rest")
    ('1.0, 2.0, 3.0', 'rest')
    """
    return ", ".join(map(setting, value)) if isinstance(value, list | tuple) else str(value)


def paragraphs(docstring: str, title: str) -> tuple[str | tuple[str, ...], ...]:
    r"""A docstring as texts, one for a paragraph, and tuples of texts, one for a list.

    A first line that begins with the title is left out.

    >>> paragraphs("Title, again.\n\nOne\nline.\n\n- first\n- second", "Title")
    ('One line.', ('first', 'second'))
    """
    blocks = [block for block in inspect.cleandoc(docstring).split("\n\n") if block.strip()]
    kept = blocks[1:] if blocks and blocks[0].startswith(title) else blocks
    return tuple(_items(block) if block.startswith("- ") else " ".join(block.split()) for block in kept)


def _items(block: str) -> tuple[str, ...]:
    return tuple(" ".join(item.split()) for item in re.split(r"^- ", block, flags=re.M) if item.strip())
