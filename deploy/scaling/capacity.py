"""How many replicas a load takes, and what is full first."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Replica:
    """What one replica of two cores does, as measured.

    Attributes:
        tokens_per_s: that its engine makes at 64 streams and more.
        messages_per_s: that its event loop writes.
        session_bytes: memory of an idle session.
        memory_bytes: for sessions.
    """

    tokens_per_s: float
    messages_per_s: float
    session_bytes: float
    memory_bytes: float


@dataclass(frozen=True)
class Shared:
    """What all replicas share, as measured.

    Attributes:
        store_operations_per_s: of one Redis on one core.
        store_session_bytes: of a stored session.
        store_memory_bytes: for sessions.
        front_message_s: CPU seconds of Envoy for a message.
        front_call_s: CPU seconds of Envoy for a call, without its messages.
    """

    store_operations_per_s: float
    store_session_bytes: float
    store_memory_bytes: float
    front_message_s: float
    front_call_s: float


MEASURED = Replica(tokens_per_s=110_000, messages_per_s=19_000, session_bytes=5_000, memory_bytes=2.0**30)
"""LSTM 2x256 in int8 on an AMD EPYC without AMX: docs/performance.md; ``session_memory_mib`` as it is by default."""

SHARED = Shared(
    store_operations_per_s=20_000,
    store_session_bytes=6_050,
    store_memory_bytes=2.0**30,
    front_message_s=18e-6,
    front_call_s=190e-6,
)
"""One Redis and one thread of Envoy on a core each: ``python -m bench.store`` and ``python -m bench.front``."""


@dataclass(frozen=True)
class Load:
    """What callers want.

    Attributes:
        streams: at the same time.
        tokens_per_s: of each stream.
        messages_per_s: of each stream.
        sessions: that are kept, used or not.
        turns_per_s: streams on sessions that begin in a second.
        interval_s: between two writes of a session while a stream runs.
    """

    streams: int
    tokens_per_s: float
    messages_per_s: float
    sessions: int
    turns_per_s: float
    interval_s: float = 1.0

    @property
    def store_operations_per_s(self) -> float:
        """A claim and a write a turn, and one write in an interval for every stream."""
        return 2 * self.turns_per_s + self.streams / self.interval_s


@dataclass(frozen=True)
class Plan:
    """What it takes.

    Attributes:
        replicas: of the kind that was measured, with one to spare.
        limit: what decides their number.
        store_share: of what one Redis does, in operations.
        store_memory_share: the same, in memory.
        front_threads: of Envoy, as a fraction.
    """

    replicas: int
    limit: str
    store_share: float
    store_memory_share: float
    front_threads: float


def plan(load: Load, replica: Replica, shared: Shared, *, fill: float = 0.7) -> Plan:
    """Return what a load takes.

    Args:
        load: what callers want.
        replica: what one does.
        shared: what store and balancer do.
        fill: how much of a replica is used; the rest is for bursts and for those whose replica is away.
    """
    wanted = {
        "engine": load.streams * load.tokens_per_s / replica.tokens_per_s,
        "messages": load.streams * load.messages_per_s / replica.messages_per_s,
        "memory": load.sessions * replica.session_bytes / replica.memory_bytes,
    }
    limit = max(wanted, key=lambda name: wanted[name])
    return Plan(
        replicas=math.ceil(wanted[limit] / fill) + 1,
        limit=limit,
        store_share=load.store_operations_per_s / shared.store_operations_per_s,
        store_memory_share=load.sessions * shared.store_session_bytes / shared.store_memory_bytes,
        front_threads=load.streams * load.messages_per_s * shared.front_message_s
        + load.turns_per_s * shared.front_call_s,
    )
