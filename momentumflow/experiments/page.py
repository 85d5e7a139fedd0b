"""The page of results: one HTML file that needs no network and no other file."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup, escape

from .. import __version__
from .._files import write_text
from . import words
from .checks import Check
from .record import Record
from .registry import Entry, entries, load
from .store import SVG, Damaged, Store
from .svg import inline

NAME = "index.html"
_FOLDED = 16
"""More checks than this are folded away unless one of them failed."""
_SOURCES = {  # what an entry's source mentions -> the heading of its group
    "Kovachki & Stuart": "The paper: Kovachki & Stuart (2021)",
    "Qian": "The poster on Qian (1999)",
    "Ghosh et al.": "The slides: Ghosh et al. (ICLR 2023)",
}
_MARKS = re.compile(  # `code`, an index of a letter that stands alone, a power
    r"`(?P<code>[^`]+)`|(?:(?<=(?<!\w)[^\W\d_])_|\^)(?:\{(?P<group>[^}]*)\}"
    r"|(?P<one>\([^)]*\)|[-−]?\d+(?!_)|[-−]?[^\W\d_](?![a-z_])))"
)
_BEYOND = "Across the sources, and beyond them"


@dataclass(frozen=True)
class Section:
    """What the page shows of an experiment: its record and figure, or in `error` why there is none.

    `text` are the paragraphs of the statement, a tuple for a list; `note` says why the result is not current.
    """

    entry: Entry
    record: Record | None = None
    figure: str = ""
    text: tuple[Any, ...] = ()
    error: str = ""
    note: str = ""

    @property
    def checks(self) -> tuple[Check, ...]:
        return self.record.checks if self.record else ()

    @property
    def held(self) -> bool:
        return self.record is not None and self.record.held

    @property
    def folded(self) -> bool:
        return self.held and len(self.checks) > _FOLDED


@dataclass(frozen=True)
class Group:
    """The sections of one source."""

    title: str
    sections: tuple[Section, ...]

    @property
    def checks(self) -> tuple[Check, ...]:
        return tuple(check for section in self.sections for check in section.checks)


def write(store: Store, errors: Mapping[str, str]) -> None:
    """Writes `index.html` over every whole result of the store.

    **Arguments:** `errors`: id -> why it could not be made just now; such an id shows that, and no old result.
    """
    sections, missing = [], {}
    for i, entry in enumerate(entries()):
        if entry.id in errors:
            sections.append(Section(entry, error=errors[entry.id]))
            continue
        try:
            sections.append(_section(store, entry, f"f{i}"))
        except FileNotFoundError:
            missing[entry.id] = "no result yet"
        except (Damaged, OSError) as error:
            missing[entry.id] = f"damaged: {error}"
    write_text(store.folder / NAME, render(sections, missing))


def render(sections: Sequence[Section], missing: Mapping[str, str]) -> str:
    """The page as text; every value is escaped. `missing`: id -> why the page does not show it."""
    loader = jinja2.PackageLoader("momentumflow.experiments")
    env = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters |= {
        name: getattr(words, name) for name in ("number", "expected", "margin", "counts", "setting")
    }
    env.filters["prose"] = prose
    return env.get_template("page.html").render(
        groups=_grouped(sections), sections=sections, missing=missing, version=__version__
    )


def _section(store: Store, entry: Entry, prefix: str) -> Section:
    record = store.record(entry.id)
    try:
        experiment = load(entry)
    except Exception as error:  # a module of the reader's own making, perhaps; the others are shown
        return Section(entry, error=f"Its module cannot be imported: {type(error).__name__}: {error}")
    svg = (store.folder / entry.id / SVG).read_text(encoding="utf-8")
    try:
        figure = Markup(inline(svg, prefix, f"{entry.title}. {entry.statement}"))
    except ValueError as error:
        raise Damaged(f"{SVG}: {error}") from error
    presets = experiment.PRESETS
    reason = store.reason_to_run(entry, presets.get(record.preset, presets["quick"]))
    return Section(
        entry, record, figure, words.paragraphs(experiment.__doc__ or "", entry.title), note=reason or ""
    )


def _grouped(sections: Iterable[Section]) -> list[Group]:
    found: dict[str, list[Section]] = {title: [] for title in (*_SOURCES.values(), _BEYOND)}
    for section in sections:
        named = [title for words, title in _SOURCES.items() if words in section.entry.source]
        found[named[0] if len(named) == 1 else _BEYOND].append(section)
    return [Group(title, tuple(members)) for title, members in found.items() if members]


def prose(text: str) -> Markup:
    """Escaped, with `code` in backticks, and indices and powers as they are printed: u_n, 2^-4, e^{-t}."""

    def printed(found: re.Match[str]) -> str:
        tag = "code" if found["code"] else "sub" if found[0][0] == "_" else "sup"
        return f"<{tag}>{found['code'] or found['group'] or found['one']}</{tag}>"

    return Markup(_MARKS.sub(printed, str(escape(text))))
