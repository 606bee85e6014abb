"""What the figures should be, and one line for each that says whether they are."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.row import Row

_REFERENCE = "2x256"


@dataclass(frozen=True)
class Target:
    """A figure and its bound.

    Attributes:
        name: measure, precision and streams; the shape too where it is not 2x256.
        measured: the figure.
        bound: what it should reach, or stay within.
        is_upper: the bound is not to be exceeded.
    """

    name: str
    measured: float
    bound: float
    is_upper: bool = False

    @property
    def is_met(self) -> bool:
        """Return whether the figure keeps to its bound."""
        keeps = operator.le if self.is_upper else operator.ge
        return bool(keeps(self.measured, self.bound))

    def __str__(self) -> str:
        return f"target {self.name} {self.measured:.3g} {self.bound} {'ok' if self.is_met else 'short'}"


@dataclass(frozen=True)
class _RowBound:
    ratio: str
    streams: int
    bound: float
    precisions: tuple[str, ...] = ("fp32", "int8")
    cell: str = _REFERENCE
    is_upper: bool = False


_ROW_BOUNDS = (
    _RowBound("served/R0", 64, 1.0, ("fp32",)),
    _RowBound("served/R0", 256, 1.0, ("fp32",)),
    _RowBound("served/R0", 64, 2.2, ("int8",)),
    _RowBound("served/R0", 256, 2.2, ("int8",)),
    _RowBound("engine/R1", 64, 0.95),
    _RowBound("served/R1", 64, 0.9, cell="2x512"),
    _RowBound("CPU/R0", 64, 0.6, ("int8",), is_upper=True),
    _RowBound("first/step", 64, 30.0, is_upper=True),
)
_SCENARIO_BOUNDS = {
    "single-characters": (("ratio", "served/min(R1,RT)", 1, 0.75, False),),
    "crowd": (("ratio", "joining/before", 64, 3.0, True),),
    "many": (
        ("memory/raw", "sessions-memory/raw", 100_000, 1.3, True),
        ("creations_per_s", "sessions-created/s", 100_000, 20_000, False),
    ),
    "idle": (("cores", "idle-cores", 10_000, 0.01, True), ("effect", "idle-effect", 16, 0.05, True)),
}


def compare(rows: Sequence[Row], scenarios: Mapping[str, Mapping[str, float]]) -> Iterator[Target]:
    """Yield the targets whose figures were measured.

    Args:
        rows: of the table.
        scenarios: figures by "scenario-precision".
    """
    found = {(row.cell, row.precision, row.streams): row.ratios for row in rows}
    for wanted in _ROW_BOUNDS:
        for precision in wanted.precisions:
            ratios = found.get((wanted.cell, precision, wanted.streams), {})
            if wanted.ratio in ratios:
                shape = "" if wanted.cell == _REFERENCE else f"{wanted.cell}-"
                name = f"{wanted.ratio}-{shape}{precision}-{wanted.streams}"
                yield Target(name, ratios[wanted.ratio], wanted.bound, wanted.is_upper)
    for place, figures in scenarios.items():
        scenario, _, precision = place.rpartition("-")
        for figure, name, streams, bound, is_upper in _SCENARIO_BOUNDS.get(scenario, ()):
            yield Target(f"{name}-{precision}-{streams}", figures[figure], bound, is_upper)
