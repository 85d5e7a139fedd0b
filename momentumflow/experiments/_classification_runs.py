"""The runs of `slides-classification`: the grid of (h, λ), each run kept on disk, and a study kept with the package.

The study of the package was made by

    python -m momentumflow.experiments._classification_runs --data DIR
"""

import argparse
import functools
import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .. import _progress, _provenance
from .._files import digest_all, write_text
from ..problems.convolutional import ConvolutionalNetwork
from ..training import datasets
from ..training.classification import Classification, Curves, classification, train_seeds
from ..training.labelled import load_labelled

ID = "slides-classification"
STORED = Path(__file__).parent / "stored" / "classification_cifar10.json"
_PACKAGE = Path(__file__).parents[1]
_SOURCES = (
    *(_PACKAGE / "training" / f"{name}.py" for name in ("cifar", "classification", "ensemble", "labelled")),
    _PACKAGE / "problems" / "convolutional.py",
    *sorted((_PACKAGE / "methods").glob("*.py")),
)
_DIGITS = 6
_CURVES = ("train_loss", "test_accuracy")

Run = tuple[float, float, int]
"""h, λ, seed."""


@dataclass(frozen=True)
class Config:
    """The data set, with numbers of its images, 0 for all; the network; batch, epochs; the smallest learning rate h₀,
    and the exponents of the grid; seeds; runs in one program; whether each run is kept on disk; the epochs, the last
    ones, over which accuracies are taken.

    **Raises:** `ValueError` for numbers out of range.
    """

    dataset: str = "digits"
    train_images: int = 0
    test_images: int = 0
    channels: tuple[int, ...] = (8, 16)
    strides: tuple[int, ...] = (2, 2)
    batch_size: int = 32
    epochs: int = 20
    smallest: float = 2.0**-6
    doublings: int = 4
    effective: int = 3
    seeds: int = 8
    together: int = 96
    kept: bool = False
    last: int = 10

    def __post_init__(self) -> None:
        _require("seeds", self.seeds, 2, None, "a standard error needs two, 5 or more are better")
        _require(
            "epochs", self.epochs, 3, None, "the variation is about a straight line through the last ones"
        )
        _require(
            "last", self.last, 3, self.epochs, "the variation about a line needs three, of those trained"
        )
        _require("doublings", self.doublings, 1, None, "a trend needs two learning rates")
        _require(
            "effective", self.effective, 0, self.doublings, "the fixed h/(1-λ) is one of the rates of SGD"
        )
        _require("together", self.together, 1, None, "1 trains run by run")


def _require(name: str, value: Any, least: int, most: int | None, remedy: str) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        limits = f">= {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be an integer {limits}, got {value!r}: {remedy}")


STUDY = Config(
    "cifar10",
    train_images=10_000,
    test_images=2_000,
    channels=(16, 32),
    batch_size=50,
    epochs=20,
    smallest=2.0**-7,
    seeds=5,
    together=1,
    kept=True,
)


def grid(config: Config) -> list[tuple[float, float]]:
    """(h, λ) of the three series, each pair once; powers of two, so that equal rates are equal floats.

    SGD: h = h₀2^j, λ = 0. At fixed h = h₀: 1-λ = 2^-j. At a fixed effective rate h/(1-λ) = h₀2^k: 1-λ = 2^-j.
    """
    h, powers = config.smallest, range(config.doublings + 1)
    plain = [(h * 2.0**j, 0.0) for j in powers]
    fixed_rate = [(h, 1 - 2.0**-j) for j in powers]
    fixed_effective = [(h * 2.0 ** (config.effective - j), 1 - 2.0**-j) for j in powers]
    return list(dict.fromkeys([*plain, *fixed_rate, *fixed_effective]))


def measure(config: Config, progress: _progress.Progress) -> xr.Dataset:
    """Training loss and test accuracy after every epoch, for every (h, λ) and seed."""
    progress.update(0, 1, label="data")
    settings, seeds = grid(config), range(config.seeds)
    runs = [(h, lam, seed) for h, lam in settings for seed in seeds]
    task, name = _task(config)
    curves = _run(config, task, name, runs, progress)
    shape = (len(settings), config.seeds, config.epochs)
    loss, accuracy = (np.array([curves[run][i] for run in runs]).reshape(shape) for i in (0, 1))
    dims = ("setting", "seed", "epoch")
    return xr.Dataset(
        {
            "train_loss": (dims, loss, {"symbol": "Φ, mean over the batches of an epoch"}),
            "test_accuracy": (dims, accuracy, {"symbol": "share of the test images"}),
            "h": ("setting", [h for h, _ in settings], {"symbol": "h"}),
            "momentum": ("setting", [lam for _, lam in settings], {"symbol": "λ"}),
            "effective": ((), config.smallest * 2.0**config.effective, {"symbol": "h/(1-λ)"}),
            "last": ((), config.last, {"symbol": "epochs"}),
            "images": ((), len(task.labels), {"symbol": "training images"}),
            "tests": ((), len(task.test_labels), {"symbol": "test images"}),
            "batch": ((), task.batch_size, {"symbol": "images in a batch"}),
        },
        {
            "setting": np.arange(len(settings)),
            "seed": list(seeds),
            "epoch": ("epoch", np.arange(1, config.epochs + 1), {"symbol": "epochs"}),
            "study": _name(name, config),
        },
    )


def _name(data_set: str, config: Config) -> str:
    return f"{data_set}, {config.train_images} images" if config.train_images else data_set


def _task(config: Config) -> tuple[Classification, str]:
    data = load_labelled(config.dataset, None, config.train_images or None, config.test_images or None)
    data = data.standardised()
    network = ConvolutionalNetwork(data.shape, config.channels, config.strides, classes=data.classes)
    return classification(network, data, config.batch_size), data.name


def _run(
    config: Config, task: Classification, data_set: str, runs: Sequence[Run], progress: _progress.Progress
) -> dict[Run, np.ndarray]:
    """(train loss, test accuracy) of every run, shape (2, epochs); those on disk are not run again."""
    settings = _settings(config, data_set)
    found = {run: kept for run in runs if config.kept and (kept := _read(settings, run)) is not None}
    missing = [run for run in runs if run not in found]
    for group in _groups(missing, config.together):
        progress.update(len(found), len(runs), label=_label(group))
        curves = train_seeds(task, group, config.epochs)
        for run, values in zip(group, _values(curves), strict=True):
            found[run] = values
            if config.kept:
                _keep(settings, run, values)
    return found


def _groups(runs: Sequence[Run], size: int) -> Iterator[Sequence[Run]]:
    return (runs[i : i + size] for i in range(0, len(runs), size))


def _label(group: Sequence[Run]) -> str:
    h, lam, seed = group[0]
    return f"h = {h:g}, λ = {lam:g}, seed {seed}" if len(group) == 1 else f"{len(group)} runs at once"


def _values(curves: Curves) -> np.ndarray:
    """Shape (runs, 2, epochs), in a few significant digits, so that a kept run is the same as a fresh one."""
    return _rounded(np.stack([np.asarray(x, float) for x in curves], axis=1))


def _rounded(values: np.ndarray) -> np.ndarray:
    plain = [float(f"{value:.{_DIGITS}g}") for value in values.flat]
    return np.array(plain).reshape(values.shape)


def home() -> Path:
    """The folder of kept runs, in the cache of the data sets."""
    return datasets.places()[-1] / "classification-runs"


def _settings(config: Config, data_set: str) -> dict[str, Any]:
    """All that a run depends on but for (h, λ, seed) and the code: the images are those of the data set that was read,
    a copy or not."""
    settings = _provenance.plain(config)
    for free in ("smallest", "doublings", "effective", "seeds", "together", "kept", "last"):
        del settings[free]
    precision = _provenance.environment()["precision"]
    return settings | {"data set": data_set, "precision": precision, "significant digits": _DIGITS}


def _file(settings: dict[str, Any], run: Run) -> Path:
    """Named after settings, numbers and code; not after how many run at once, which changes what is rounded away."""
    text = json.dumps([settings, run, _code()], sort_keys=True)
    return home() / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


@functools.cache
def _code() -> str:
    """Only of what makes a run: a change of a plot or a statistic leaves weeks of runs as good as they were."""
    return digest_all(_SOURCES)


def _keep(settings: dict[str, Any], run: Run, values: np.ndarray) -> None:
    path = _file(settings, run)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"run": run, "settings": settings, "curves": _no_nan(values)}
    write_text(path, json.dumps(content, allow_nan=False) + "\n")


def _read(settings: dict[str, Any], run: Run) -> np.ndarray | None:
    """The curves of a run; None for one that is not there, not whole, or of another run or other settings."""
    try:
        content = json.loads(_file(settings, run).read_bytes())
        values = np.array(content["curves"], float)
        same = content["run"] == list(run) and content["settings"] == settings
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return values if same and values.shape == (2, settings["epochs"]) else None


def _no_nan(values: np.ndarray) -> list:
    """JSON has no NaN: null stands for it, and comes back as NaN."""
    plain = values.astype(object)
    plain[~np.isfinite(values)] = None
    return plain.tolist()


def stored() -> xr.Dataset | None:
    """The study of the package; None if it was made with other settings than `STUDY`, or is damaged, with a warning."""
    try:
        content = json.loads(STORED.read_bytes())
        if content["config_sha256"] != _provenance.config_digest(STUDY):
            return None
        data = xr.Dataset.from_dict(content["data"])
        curves = {name: data[name].astype(float) for name in _CURVES}
        return data.assign(curves).assign_coords(study=_name(content["data set"], STUDY))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        warnings.warn(
            f"{STORED.name} is damaged and is left out ({type(error).__name__}: {error}): install the package again",
            stacklevel=2,
        )
        return None


def _content(config: Config, data: xr.Dataset, commit: str, seconds: float) -> dict[str, Any]:
    plain = data.to_dict()
    for name in _CURVES:
        plain["data_vars"][name]["data"] = _no_nan(data[name].values)
    return {
        "id": ID,
        "command": "python -m momentumflow.experiments._classification_runs --data DIR",
        "data set": str(data["study"].item()).split(",")[0],
        "commit": commit,
        "date": _provenance.now(),
        "seconds": round(seconds),
        "environment": _provenance.environment(),
        "config": _provenance.plain(config),
        "config_sha256": _provenance.config_digest(config),
        "data": plain,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the study of the package, run by run, and writes it."""
    parser = argparse.ArgumentParser(description="Make the study of CIFAR-10 that is kept with the package.")
    parser.add_argument("--data", metavar="DIR", help="folder where CIFAR-10 is looked for first")
    folder = parser.parse_args(arguments).data
    if folder is not None and not Path(folder).is_dir():
        parser.error(
            f"--data must name a folder that exists, got {folder}: mend the name, or leave it out to download"
        )
    if folder is not None:
        os.environ[datasets.VARIABLE] = folder
    start, commit = time.perf_counter(), _provenance.commit()
    with _progress.bar() as progress:
        data = measure(STUDY, progress)
    STORED.parent.mkdir(exist_ok=True)
    content = _content(STUDY, data, commit, time.perf_counter() - start)
    write_text(STORED, json.dumps(content, allow_nan=False, ensure_ascii=False) + "\n")
    print(f"{STORED}: {STORED.stat().st_size} bytes")


if __name__ == "__main__":
    main()
