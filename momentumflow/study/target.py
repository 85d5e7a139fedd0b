"""A loss and its params by name, MODULE:FUNCTION, as a command line gives them."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import PyTree

from .. import _validate
from .._errors import unknown
from ..methods.linear_memory import AbstractLinearMemory
from . import full_batch
from .analyze import Analysis, analyze

_SHAPE = "(loss, params), or (loss, params, batches) for a loss(params, batch)"


class Target(NamedTuple):
    """What MODULE:FUNCTION stands for: loss, params, and batches or None."""

    loss: Callable[..., Any]
    params: PyTree
    batches: PyTree | None


def load(name: str) -> Target:
    """Imports MODULE, also from the current folder, and takes FUNCTION: the tuple itself, or a function that makes it.

    **Arguments:** `name`: "package.module:function"; the function needs no arguments and returns (loss, params), or
    (loss, params, batches).

    **Raises:** `ValueError` with cause and remedy for a name that is no such thing.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise ValueError(
            f"the loss must be given as MODULE:FUNCTION, got {name!r}: for instance mine.training:problem"
        )
    module = _import(module_name)
    if not hasattr(module, attribute):
        raise unknown(f"name in {module_name}", attribute, [n for n in vars(module) if not n.startswith("_")])
    found = getattr(module, attribute)
    if callable(found):
        found = _call(name, found)
    if not isinstance(found, tuple) or len(found) not in (2, 3) or not callable(found[0]):
        raise ValueError(f"{name} must give {_SHAPE}, got {_described(found)}: return such a tuple")
    return Target(*found, *(None,) * (3 - len(found)))


def analyze_target(name: str, method: AbstractLinearMemory) -> Analysis:
    """`momentumflow.analyze` of MODULE:FUNCTION; every error is a `ValueError` that names it."""
    loss, params, batches = load(name)
    try:
        params, batches = _validate.as_params(params), full_batch.as_batches(batches)
        full_batch.check(loss, params, batches)
    except Exception as error:  # whatever a foreign loss raises is the cause to be told
        raise ValueError(f"{name} gives no loss at its params: {_cause(error)}") from error
    return analyze(loss, params, method, batches)


def save_plane(analysis: Analysis, file: Path) -> None:
    """`Analysis.plot` as a picture, of the kind that the file's name ends with."""
    from .. import _plot
    from . import plane

    with _plot.style():
        figure = _plot.figure(7.0, 4.6)
        analysis.plot(figure.subplots())
        figure.legend(handles=plane.handles(), loc="outside lower center", ncols=4)
        figure.savefig(file)


def _import(module_name: str) -> Any:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(module_name)
    except Exception as error:  # whatever a foreign module raises is the cause to be told
        raise ValueError(
            f"{module_name} cannot be imported: {_cause(error)}. Run from the folder that holds it, or install it"
        ) from error


def _call(name: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:
        raise ValueError(
            f"{name}() failed: {_cause(error)}. It must need no arguments and return {_SHAPE}"
        ) from error


def _cause(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _described(found: Any) -> str:
    if isinstance(found, tuple):
        return f"({', '.join(type(part).__name__ for part in found)})"
    return type(found).__name__
