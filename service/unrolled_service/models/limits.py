"""How large and how odd a bundle may be, and how long its trial may take."""

from dataclasses import dataclass
from typing import Self

from unrolled_service.settings import Settings

MANIFEST_BYTES = 1 << 20
GOLDEN_BYTES = 16 << 20
NODES = 10_000
INITIALIZERS = 10_000
DEPTH = 4
FILES = 64
WIDTH = 1 << 20
STATE_NUMBERS = 1 << 20
RANK = 8
OPSETS = range(18, 24)
IR_VERSIONS = range(8, 12)


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator sets of it.

    Attributes:
        total_bytes: all files of a bundle together; so also the largest file and tensor.
        operators: allowed ones besides the standard ones; ``domain::name`` outside the standard domain.
        rows: how many rows the trial runs side by side: as many as a slice may have.
        trial_cpu_s: CPU seconds of the trial.
        trial_memory_bytes: memory of the trial, beyond that of a process that has only started.
    """

    total_bytes: int = 512 << 20
    operators: tuple[str, ...] = ()
    rows: int = 256
    trial_cpu_s: float = 30.0
    trial_memory_bytes: int = 2 << 30

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what the settings say."""
        return cls(
            total_bytes=settings.max_bundle_mib << 20,
            operators=tuple(filter(None, map(str.strip, (settings.allow_operators or "").split(",")))),
            rows=settings.max_rows,
            trial_cpu_s=settings.trial_cpu_s,
            trial_memory_bytes=settings.trial_memory_mib << 20,
        )
