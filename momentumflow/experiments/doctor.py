"""What this machine has and lacks: versions, devices, precision, data, and what that means for each command."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from .. import __version__

_EXTRAS = {
    "sweep": "sweep with workers",
    "dev": "the tests (make test)",
    "torch": "the comparisons with PyTorch",
}


def examine(data: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """What was found, as plain values for JSON; nothing is downloaded.

    **Arguments:** `data`: folder where data sets are looked for first.

    **Returns:** versions, `packages`, `devices`, `precision`, `data`; `missing`: command -> what it lacks; `ready`:
    whether `reproduce` and `train` can run.
    """
    packages, devices, found = list(_packages()), _devices(), _data(data)
    lacking = [_remedy(row) for row in packages if not row["extra"] and not row["ok"]]
    if not devices["found"]:
        lacking.append(devices["problem"])
    return {
        "momentumflow": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "packages": packages,
        "devices": devices["found"],
        "precision": devices["precision"],
        "data": found,
        "missing": {
            "reproduce": lacking,
            "train --dataset digits": lacking,
            "train --dataset mnist": [*lacking, *_mnist_lacks(found)],
            **{words: _extra_lacks(packages, extra) for extra, words in _EXTRAS.items()},
        },
        "ready": not lacking,
    }


def _packages() -> Iterator[dict[str, Any]]:
    """Every requirement of this package, with what is installed."""
    for text in metadata.requires("momentumflow") or ():
        requirement = Requirement(text)
        extra = next((name for name in _EXTRAS if _only_for(requirement, name)), "")
        installed = _version(requirement.name)
        ok = installed is not None and requirement.specifier.contains(installed, prereleases=True)
        row = {"name": requirement.name, "installed": installed, "needed": str(requirement.specifier)}
        yield row | {"extra": extra, "ok": ok}


def _only_for(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _remedy(row: Mapping[str, Any]) -> str:
    have = f"{row['installed']} is installed" if row["installed"] else "is not installed"
    return f"{row['name']} {have}: pip install '{row['name']}{row['needed']}'"


def _extra_lacks(packages: Sequence[Mapping[str, Any]], extra: str) -> list[str]:
    return [_remedy(row) for row in packages if row["extra"] == extra and not row["ok"]]


def _devices() -> dict[str, Any]:
    """The devices that JAX computes on, and its precision."""
    try:
        import jax

        found = [f"{device.platform}: {device.device_kind}" for device in jax.devices()]
    except Exception as error:  # whatever a driver raises, the rest is still worth knowing
        problem = f"JAX does not start: {type(error).__name__}: {error}"
        return {"found": [], "precision": "unknown", "problem": problem}
    usual = "float64" if jax.config.read("jax_enable_x64") else "float32"
    precision = f"{usual} by default, jax_enable_x64 changes it; reproduce computes in float64"
    return {"found": found, "precision": precision, "problem": ""}


def _data(folder: str | os.PathLike[str] | None) -> dict[str, Any]:
    """The places looked at, and for each file of MNIST where it is or what is wrong with it."""
    try:
        from ..training import datasets
    except ImportError as error:
        return {"places": [], "mnist": {}, "problem": str(error)}
    files = {}
    for file, checksum in datasets.MNIST_MD5.items():
        path = datasets.locate(file, folder)
        try:
            files[file] = None if path is None else str(path)
            if path is not None:
                datasets.read_idx(path, checksum)
        except (ValueError, OSError) as error:
            files[file] = f"damaged: {error}"
    return {"places": [str(place) for place in datasets.places(folder)], "mnist": files, "problem": ""}


def _mnist_lacks(data: Mapping[str, Any]) -> list[str]:
    if data["problem"]:
        return [f"the data sets cannot be read: {data['problem']}"]
    damaged = [where for where in data["mnist"].values() if where and where.startswith("damaged")]
    absent = [file for file, where in data["mnist"].items() if where is None]
    note = f"{len(absent)} of {len(data['mnist'])} files are in no place below: they would be downloaded"
    return [*damaged, *([note] if absent else [])]


def print_findings(found: Mapping[str, Any]) -> None:
    """The same for a terminal: what each command lacks first."""
    console = Console()
    commands = Table(Column("command"), Column("state", overflow="fold"), box=None, pad_edge=False)
    for command, lacks in found["missing"].items():
        state = Text("\n".join(lacks), "yellow") if lacks else Text("ready", "green")
        commands.add_row(command, state)
    console.print(commands)
    console.print()
    about = Table(Column(), Column(overflow="fold"), show_header=False, box=None, pad_edge=False)
    for name, text in _facts(found):
        about.add_row(Text(name, "dim"), Text(text))
    console.print(about)


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "momentumflow", found["momentumflow"]
    yield "python", f"{found['python']}, {found['platform']}, {found['processors']} processors"
    yield "devices", ", ".join(found["devices"]) or "none"
    yield "precision", found["precision"]
    for row in found["packages"]:
        if not row["extra"] or row["installed"]:
            yield (
                row["name"],
                f"{row['installed'] or 'not installed'} (needs {row['needed'] or 'any version'})",
            )
    order = "(--data, MOMENTUMFLOW_DATA, then the cache)"
    yield "data looked for in", "\n".join([*found["data"]["places"], order])
    for file, where in found["data"]["mnist"].items():
        yield file, where or "not found"
    yield "digits", "come with scikit-learn"
