"""Errors that need no JAX, so that the command line can raise them at once."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, value: str, known: Iterable[str]) -> ValueError:
    """The error for an id that does not exist, with the nearest one that does."""
    known = list(known)
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(value.casefold(), folded, n=1, cutoff=0.0)
    hint = f"did you mean {folded[near[0]]!r}? " if near else ""
    return ValueError(f"unknown {kind} {value!r}: {hint}known: {', '.join(known)}")
