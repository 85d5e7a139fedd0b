"""A check: a computed number beside the one that a source states."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, SupportsFloat

RELATIONS: Mapping[str, Callable[[float, float, float], bool]] = {
    "within": lambda computed, expected, tolerance: abs(computed - expected) <= tolerance,
    "at most": lambda computed, expected, tolerance: computed <= expected + tolerance,
    "at least": lambda computed, expected, tolerance: computed >= expected - tolerance,
}
_NUMBERS = ("computed", "expected", "tolerance")


@dataclass(frozen=True)
class Check:
    r"""A computed number against an expected one.

    **Arguments:**

    - `name`: what is compared, in words and symbols.
    - `computed`: the number this library computes, kept as a float; NaN never holds.
    - `expected`: the number the source states, or that an independent route gives.
    - `tolerance`: $\ge 0$, absolute.
    - `relation`: "within" ($|\text{computed} - \text{expected}| \le$ tolerance), "at most"
      (computed $\le$ expected + tolerance) or "at least" (computed $\ge$ expected - tolerance).
    - `source`: where the expected number comes from, with equation numbers.
    - `refutes`: the expected number is a printed form known to be wrong, so the check holds when the
      relation fails.

    **Raises:** `ValueError` for an unknown relation, a negative or NaN tolerance, or no source.

    !!! example

        >>> Check("order of HB to (8)", 0.98, 1.0, 0.1, "within", "Kovachki & Stuart (2021), Theorem 2").held
        True
    """

    name: str
    computed: SupportsFloat
    expected: SupportsFloat
    tolerance: SupportsFloat
    relation: str
    source: str
    refutes: bool = False

    def __post_init__(self) -> None:
        for field in _NUMBERS:
            object.__setattr__(self, field, float(getattr(self, field)))
        if self.relation not in RELATIONS:
            raise ValueError(f"relation must be one of {', '.join(RELATIONS)}, got {self.relation!r}")
        if not float(self.tolerance) >= 0:
            raise ValueError(f"tolerance must be >= 0, got {self.tolerance}: it is an absolute distance")
        if not self.source.strip():
            raise ValueError(f"the check {self.name!r} must name the source of its expected number")

    @property
    def held(self) -> bool:
        """Whether the relation holds, or fails where a printed form is refuted."""
        computed, expected, tolerance = map(float, (self.computed, self.expected, self.tolerance))
        if math.isnan(computed) or math.isnan(expected):
            return False
        return RELATIONS[self.relation](computed, expected, tolerance) != self.refutes

    @property
    def verdict(self) -> str:
        """'held', 'refuted' (a printed form that fails, as it must) or 'failed'."""
        if not self.held:
            return "failed"
        return "refuted" if self.refutes else "held"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN and infinities, which JSON lacks, become text."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Check":
        """The inverse of `to_dict`."""
        return cls(**(dict(record) | {name: float(record[name]) for name in _NUMBERS}))


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
