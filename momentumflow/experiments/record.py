"""What is written beside an experiment's data: checks, settings, environment, and what tells it is stale."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from .._files import digest_all
from .._provenance import config_digest, environment, now, plain
from . import registry
from .checks import Check
from .registry import Entry

_HERE = Path(__file__).parent
_PACKAGE = _HERE.parent
_ABOVE = ("cli.py", "explorer", "experiments")


@dataclass(frozen=True)
class Record:
    """The content of `checks.json`, but for the checksums of the files beside it."""

    id: str
    preset: str
    config: Mapping[str, Any]
    config_sha256: str
    code_sha256: str
    version: str
    seed: int | None
    seconds: float
    date: str
    environment: Mapping[str, str]
    checks: tuple[Check, ...]

    @property
    def held(self) -> bool:
        """Whether there are checks and every one held."""
        return bool(self.checks) and all(check.held for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return fields | {"checks": [check.to_dict() | {"verdict": check.verdict} for check in self.checks]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Record":
        """The inverse of `to_dict`."""
        checks = tuple(
            Check.from_dict({name: value for name, value in check.items() if name != "verdict"})
            for check in record["checks"]
        )
        return cls(**(dict(record) | {"checks": checks}))


def describe(
    entry: Entry, preset: str, config: Any, code: str, checks: list[Check], seconds: float
) -> Record:
    """The record of a run that has just ended; `code` is the digest from before it began."""
    return Record(
        id=entry.id,
        preset=preset,
        config=plain(config),
        config_sha256=config_digest(config),
        code_sha256=code,
        version=__version__,
        seed=getattr(config, "seed", None),
        seconds=round(seconds, 3),
        date=now(),
        environment=environment(),
        checks=tuple(checks),
    )


def code_digest(entry: Entry) -> str:
    """SHA-256 of the code that a result stands on: its own module and every floor below the experiments.

    A change of the report, the command line or another experiment leaves a result as good as it was. The kept results
    that it shows are the file, or in the folder, that the module names `STORED`, if it has one.
    """
    module = registry.load(entry)
    own, kept = Path(module.__file__), getattr(module, "STORED", None)
    below = [path for path in _PACKAGE.rglob("*.py") if path.relative_to(_PACKAGE).parts[0] not in _ABOVE]
    shared = [_HERE / "checks.py", *_HERE.glob("_[a-z]*.py")]
    return digest_all([own, *sorted([*below, *shared]), *_stored(kept)])


def _stored(kept: Path | None) -> list[Path]:
    if kept is None:
        return []
    return [kept] if kept.is_file() else sorted(kept.rglob("*.json"))
