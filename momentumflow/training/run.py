"""One run of a sweep by its settings, and its result as a small file."""

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import _files, _validate
from ..methods.linear_memory import AbstractLinearMemory
from ..problems.networks import Autoencoder
from .datasets import DATASETS
from .loop import outcome
from .methods import METHOD_NAMES, STRONGLY_CONVEX_NAMES, six_methods

REFERENCES = {"HB": "GF", "NAG": "GF", "HB-mu": "Wilson", "NAG-mu": "Wilson"}
"""Against which discretised limit the params of a method are compared: (35) or (36)."""


@dataclass(frozen=True)
class Run:
    r"""All that the numbers of a run depend on; its `digest` names its files.

    **Arguments:**

    - `method`: a name from `METHOD_NAMES`.
    - `learning_rate`: $h > 0$.
    - `epochs`: at least 1.
    - `dataset`: "mnist" or "digits".
    - `momentum`: λ of GF, HB and NAG; `strong_convexity`: μ of the others. The one that the method does not use
      is dropped, so that it does not tell equal runs apart.
    - `batch_size`: images a step; 0 is the data set's own.
    - `seed`: of the initial params.
    - `order`: of the images: `None` is file order, a number is the seed of one shuffle before the first epoch.
    - `hidden`, `code`, `output`, `initializer`: of the `Autoencoder`.
    - `dtype`: "float32" or "float64".

    **Raises:** `ValueError` for values outside these ranges.

        >>> from momentumflow.training import Run
        >>> run = Run("HB", 0.25, epochs=2, dataset="digits", strong_convexity=3.0)
        >>> run == Run("HB", 0.25, epochs=2, dataset="digits"), len(run.digest)
        (True, 16)
    """

    method: str
    learning_rate: float
    epochs: int
    dataset: str = "mnist"
    momentum: float | None = 0.9
    strong_convexity: float | None = 1.0
    batch_size: int = 0
    seed: int = 0
    order: int | None = None
    hidden: str = "relu"
    code: str = "linear"
    output: str = "linear"
    initializer: str = "glorot_uniform"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        known = {"method": METHOD_NAMES, "dataset": DATASETS, "dtype": ("float32", "float64")}
        for field, names in known.items():
            if getattr(self, field) not in names:
                raise _validate.unknown(field, getattr(self, field), names)
        for field, least in (("epochs", 1), ("batch_size", 0), ("seed", 0), ("order", 0)):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, _validate.count(field, getattr(self, field), least))
        if self.seed >= 2**32:
            raise ValueError(f"seed must be below 2^32, got {self.seed}: it is one word of a random key")
        unused = "momentum" if self.method in STRONGLY_CONVEX_NAMES else "strong_convexity"
        object.__setattr__(self, unused, None)
        for field in ("learning_rate", "momentum", "strong_convexity"):  # equal runs must have equal digests
            if getattr(self, field) is not None:
                object.__setattr__(self, field, float(getattr(self, field)))
        self.build()  # checks h, λ, μ
        Autoencoder((1, 1), self.hidden, self.code, self.output, self.initializer)  # checks the names

    def build(self) -> AbstractLinearMemory:
        """The method itself."""
        momentum = 0.0 if self.momentum is None else self.momentum
        convexity = 1.0 if self.strong_convexity is None else self.strong_convexity
        return six_methods(self.learning_rate, momentum, convexity, [self.method])[self.method]

    @property
    def digest(self) -> str:
        """16 hex digits of the settings."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def reference(self) -> "Run | None":
        """The run of the discretised limit at the same h, λ or μ and params; None for a limit itself."""
        name = REFERENCES.get(self.method)
        return None if name is None else dataclasses.replace(self, method=name)

    @property
    def label(self) -> str:
        """Method, h, and what is not as in the paper: "HB, h = 2^-6, seed 1"."""
        power = math.log2(self.learning_rate)
        h = f"2^{round(power)}" if power == round(power) else f"{self.learning_rate:g}"
        symbols = {"momentum": "λ = ", "strong_convexity": "μ = ", "seed": "seed ", "order": "order "}
        others = [
            f"{symbols.get(field.name, '')}{getattr(self, field.name)}"
            for field in dataclasses.fields(self)
            if field.name in (*symbols, "hidden", "code", "output", "initializer", "dtype")
            and getattr(self, field.name) not in (None, field.default)
        ]
        return ", ".join([self.method, f"h = {h}", *others])


@dataclass(frozen=True)
class Result:
    """What a run has shown, ready for JSON; `None` stands for what is not finite or not known.

    **Fields:** `run`; `pixels`; `diverged_at` (step, -1); `losses` of every epoch; `errors` by epoch (0, some, the
    last); `largest` and `distances` from the run's `reference` after every epoch, empty where it did not run beside;
    `provenance`. Losses and errors are means over the pixels.
    """

    run: Run
    pixels: int
    diverged_at: int
    losses: tuple[float | None, ...]
    errors: Mapping[int, float | None]
    largest: tuple[float | None, ...]
    distances: tuple[float | None, ...]
    provenance: Mapping[str, str]

    @property
    def initial_error(self) -> float:
        """Mean-squared error per pixel over all images, before the first step."""
        return number(self.errors[0])

    @property
    def final_error(self) -> float:
        """The same after the last epoch; NaN for a run that diverged."""
        return number(self.errors.get(self.run.epochs))

    @property
    def status(self) -> str:
        """As that of a `TrainingRun`."""
        return outcome(self.initial_error, self.final_error, self.diverged_at)

    @property
    def succeeded(self) -> bool:
        """Whether the error is finite and below the initial one."""
        return self.status == "completed"

    def to_json(self) -> str:
        fields = dataclasses.asdict(self) | {"errors": {str(e): x for e, x in self.errors.items()}}
        return json.dumps(fields, allow_nan=False, ensure_ascii=False, separators=(", ", ": ")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Result":
        """The inverse of `to_json`. **Raises:** `ValueError` for text that is not one."""
        try:
            fields = json.loads(text)
            lists = {name: tuple(fields[name]) for name in ("losses", "largest", "distances")}
            errors = {int(epoch): x for epoch, x in fields["errors"].items()}
            return cls(**fields | lists | {"run": Run(**fields["run"]), "errors": errors})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not the result of a run: {error}") from error

    def save(self, folder: Path) -> Path:
        """Writes `DIGEST.json`, at once or not at all."""
        path = folder / f"{self.run.digest}.json"
        _files.write_text(path, self.to_json())
        return path


def find(run: Run, folders: Iterable[Path]) -> Result | None:
    """The result of a run in the first folder that holds one; None for none, or one that cannot be read."""
    for folder in folders:
        path = folder / f"{run.digest}.json"
        try:
            result = Result.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if result.run == run:
            return result
    return None


def number(x: float | None) -> float:
    """NaN for None."""
    return math.nan if x is None else x


def finite(x: float) -> float | None:
    """None for what is not, all digits of what is."""
    return float(x) if math.isfinite(x) else None


def known(x: float) -> float | None:
    """None for what is not finite, else seven digits, which is what float32 holds."""
    return float(f"{x:.7g}") if math.isfinite(x) else None


def grid(
    methods: Iterable[str] | None = None,
    learning_rates: Iterable[float] | None = None,
    strong_convexities: Iterable[float] | None = None,
    seeds: Iterable[int] | None = None,
    orders: Iterable[int | None] | None = None,
    epochs: int = 500,
    **settings: Any,
) -> list[Run]:
    """All combinations; what is left out is as in Kovachki & Stuart (2021), Figure 6: six methods, h = 2^0 … 2^-6.

    `settings` are the other ones of `Run`. A run that does not depend on μ is there once.

    >>> from momentumflow.training import grid
    >>> runs = grid()
    >>> len(runs), runs[0].label, runs[-1].label
    (42, 'GF, h = 2^0', 'NAG-mu, h = 2^-6')
    """
    axes = (
        (None,) if orders is None else orders,
        (0,) if seeds is None else seeds,
        [2.0**-k for k in range(7)] if learning_rates is None else learning_rates,
        (1.0,) if strong_convexities is None else strong_convexities,
        METHOD_NAMES if methods is None else methods,
    )
    runs = (
        Run(name, h, epochs, strong_convexity=mu, seed=seed, order=order, **settings)
        for order, seed, h, mu, name in itertools.product(*axes)
    )
    return list(dict.fromkeys(runs))
