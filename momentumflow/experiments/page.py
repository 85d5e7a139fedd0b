"""The page of results: one HTML file that needs no network and no other file."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import jinja2

from .. import __version__
from .registry import Entry, entries
from .store import SVG, Damaged, Store, write_text

NAME = "index.html"


def write(store: Store, errors: Mapping[str, str]) -> None:
    """Writes `index.html` over every whole result of the store.

    **Arguments:** `errors`: id -> why it could not be made just now; such an id shows that, and no old result.
    """
    write_text(store.folder / NAME, render(_sections(store, errors)))


def render(sections: Iterable[Mapping[str, Any]]) -> str:
    """The page as text; every value is escaped."""
    loader = jinja2.PackageLoader("momentumflow.experiments")
    env = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters["number"] = lambda x: f"{x:.6g}"
    return env.get_template("page.html").render(sections=list(sections), version=__version__)


def _sections(store: Store, errors: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    for entry in entries():
        if entry.id in errors:
            yield {"entry": entry, "record": None, "error": errors[entry.id], "figure": None}
            continue
        try:
            record = store.record(entry.id)
        except (Damaged, OSError):
            continue
        yield {"entry": entry, "record": record, "error": None, "figure": _figure(store, entry)}


def _figure(store: Store, entry: Entry) -> str:
    # An image, not inline SVG: matplotlib's ids would clash between the figures of one page.
    svg = (store.folder / entry.id / SVG).read_bytes()
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
