"""Two small experiments that stand in for the registry's, so that the machinery is tested in milliseconds."""

import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from momentumflow.experiments import registry
from momentumflow.experiments.checks import Check
from momentumflow.experiments.registry import Entry

FIRST = Entry("stand-in-one", "One", "a test", "1 + 1 = 2, <b>escaped</b>.")
SECOND = Entry("stand-in-two", "Two", "a test", "The second.")


@dataclass(frozen=True)
class Config:
    """How many numbers are measured."""

    n: int = 3


def experiment(entry: Entry, folder: Path) -> types.ModuleType:
    """A module that keeps the contract and counts its runs in `ran`."""
    source = folder / f"{entry.module}.py"
    source.write_text("# the code it stands on\n")
    module = types.ModuleType(entry.module)
    module.__file__ = str(source)
    module.Config, module.PRESETS, module.ran = Config, {"quick": Config(3), "full": Config(5)}, []

    def run(config, progress):
        module.ran.append(config)
        progress.update(1, 2, label="half")
        return xr.Dataset({"square": ("n", np.arange(config.n) ** 2.0)}, {"n": np.arange(config.n)})

    def plot(data):
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot(data["n"], data["square"])
        return figure

    def checks(data):
        return [
            Check("last square", data["square"][-1], (data.sizes["n"] - 1) ** 2, 0, "within", "arithmetic")
        ]

    module.run, module.plot, module.checks = run, plot, checks
    return module


@pytest.fixture(name="stand_ins")
def stand_ins_fixture(monkeypatch, tmp_path):
    """The registry holds FIRST and SECOND only; returns their modules by id."""
    folder = tmp_path / "code"
    folder.mkdir()
    modules = {entry.id: experiment(entry, folder) for entry in (FIRST, SECOND)}
    monkeypatch.setattr(registry, "_ENTRIES", (FIRST, SECOND))
    for entry in (FIRST, SECOND):
        monkeypatch.setitem(sys.modules, f"momentumflow.experiments.{entry.module}", modules[entry.id])
    return modules
