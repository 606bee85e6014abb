"""What goes wrong and when: drawn from a seed before anything runs."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from chaos.network import Impairment

REPLICA_FAULTS = ("drain", "kill", "freeze")
LINK_FAULTS = ("delay", "silence", "reset", "slow", "cut")
PAIRS = ("client-envoy", "envoy-replica", "replica-redis")
KINDS = (
    *(f"{kind} replica" for kind in REPLICA_FAULTS),
    "kill redis",
    *(f"{kind} {pair}" for pair in PAIRS for kind in LINK_FAULTS),
)
_MEAN_GAP_S = 1.2
_CUTS = 8


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong for a while.

    Attributes:
        kind: one of ``KINDS``.
        targets: name of a process, or names of who connects and to whom.
        begin_s: seconds after the start of the run.
        end_s: when it is over: what ended is started again, what was stopped goes on, the link is sound.
        impairment: of a link.
    """

    kind: str
    targets: tuple[str, ...]
    begin_s: float
    end_s: float
    impairment: Impairment | None = None

    @property
    def verb(self) -> str:
        """Return what is done to the targets."""
        return self.kind.partition(" ")[0]


def draw_faults(seed: int, seconds: float, replicas: int) -> list[Fault]:
    """Return the faults of a run in the order of their beginnings, each kind at least once.

    In the first half of the run the store is there for everybody: nothing that was acknowledged may be lost.

    Args:
        seed: the same one draws the same faults at the same times.
        seconds: how long the run is; all faults end before.
        replicas: how many servers there are, named from ``replica-1`` on.
    """
    draw = random.Random(seed)
    kinds = _deal(draw, max(2 * len(KINDS), round(seconds / _MEAN_GAP_S)))
    gap_s = seconds * 0.9 / len(kinds)
    is_free: dict[tuple[str, ...], float] = {}
    faults = []
    for place, kind in enumerate(kinds):
        begin_s = (place + draw.random()) * gap_s
        verb, _, where = kind.partition(" ")
        targets = _choose(draw, where, replicas)
        begin_s = max(begin_s, is_free.get(targets, 0.0))
        end_s = min(begin_s + _duration_s(draw, verb) * min(1.0, gap_s), seconds)
        impairment = _impair(draw, verb) if len(targets) > 1 else None
        if begin_s < end_s:
            faults.append(Fault(kind, targets, begin_s, end_s, impairment))
            is_free[targets] = end_s + gap_s
    return sorted(faults, key=lambda fault: fault.begin_s)


def _deal(draw: random.Random, count: int) -> list[str]:
    """Return kinds: in the first half those that leave the store alone, so that nothing may be lost in it, then all."""
    alone = [kind for kind in KINDS if not kind.endswith("redis")]
    half = count // 2
    return [*islice(_shuffle(draw, alone), half), *islice(_shuffle(draw, KINDS), count - half)]


def _shuffle(draw: random.Random, kinds: Sequence[str]) -> Iterator[str]:
    """Yield kinds as from a pack that is shuffled anew whenever it is used up."""
    while True:
        yield from draw.sample(kinds, len(kinds))


def _choose(draw: random.Random, where: str, replicas: int) -> tuple[str, ...]:
    replica = f"replica-{draw.randint(1, replicas)}"
    return tuple(replica if each == "replica" else each for each in where.split("-"))


def _duration_s(draw: random.Random, verb: str) -> float:
    match verb:
        case "drain" | "kill":
            return draw.uniform(0.5, 4.0)
        case "freeze":
            return draw.uniform(0.5, 8.0)  # also longer than the lease of a session
        case _:
            return draw.uniform(0.5, 5.0)


def _impair(draw: random.Random, verb: str) -> Impairment:
    match verb:
        case "delay":
            return Impairment(delay_s=draw.uniform(0.02, 0.5))
        case "silence":
            return Impairment(is_silent=True)
        case "slow":
            return Impairment(bytes_per_s=draw.uniform(500, 20_000))
        case "cut":
            return Impairment(cuts=tuple(draw.randrange(1, 4_000) for _ in range(_CUTS)))
        case _:
            return Impairment(is_reset=True)
