"""The learning curve: a row an epoch, as a table."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass, field, fields


@dataclass(frozen=True)
class CurveRow:
    """Hold what an epoch gave.

    Attributes:
        epoch: from 1.
        step: updates made so far.
        train_nats: mean training loss over the epoch, nats per character.
        validation_nats: the same on held-out text; None when none is held out.
        learning_rate: rate after the epoch.
        chars_per_s: characters trained on per second of the epoch.
    """

    epoch: int
    step: int
    train_nats: float
    validation_nats: float | None
    learning_rate: float
    chars_per_s: float

    @property
    def judged(self) -> float:
        """Give the loss that decides which epoch is best: held-out where there is any."""
        return self.train_nats if self.validation_nats is None else self.validation_nats


@dataclass
class Curve:
    """Hold the rows so far and the seconds spent training."""

    rows: list[CurveRow] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def best(self) -> CurveRow | None:
        """Give the first row with the smallest judged loss."""
        return min(self.rows, key=lambda row: row.judged, default=None)

    def to_csv(self) -> str:
        """Write the rows as CSV, with bits per character beside nats."""
        out = io.StringIO()
        names = [item.name for item in fields(CurveRow)]
        writer = csv.DictWriter(out, [*names, "train_bits", "validation_bits"], lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            bits = {"train_bits": row.train_nats / math.log(2)}
            if row.validation_nats is not None:
                bits["validation_bits"] = row.validation_nats / math.log(2)
            numbers = {**asdict(row), **bits}
            writer.writerow({key: _shown(value) for key, value in numbers.items()})
        return out.getvalue()


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
