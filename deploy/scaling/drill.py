"""Three replicas, measured beside what is computed of them: who serves whom, and what the store is asked.

Sessions take turns in rounds: with all replicas, with one killed, and with that one back.
"""

import asyncio
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from deploy.cluster.fleet import Fleet
from deploy.cluster.member import Member
from deploy.scaling.maglev import Maglev
from unrolled_client import AsyncClient
from unrolled_client.async_session import AsyncSession

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "service" / "unrolled_service" / "bundles" / "hello"
_TOKENS = 20
_AT_ONCE = 32
_LIMIT_S = 20.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Round:
    """What one turn of every session was.

    Attributes:
        name: what was special.
        streams: by replica, measured.
        computed: by replica, from the table.
        claims: of the store, measured; one a stream is computed.
        writes: of the store, measured; one a stream is computed.
        repeated: calls that the balancer sent to a second replica, as the first did not take them; none is computed.
    """

    name: str
    streams: Counter[str]
    computed: Counter[str]
    claims: int
    writes: int
    repeated: int


def drill(folder: Path, sessions: int) -> list[Round]:
    """Start a cluster, let sessions take their turns, and stop it."""
    with Fleet(folder, bundles=[BUNDLE], settings={"store_interval_s": 3.0}) as fleet:
        return asyncio.run(_take_turns(fleet, sessions))


async def _take_turns(fleet: Fleet, sessions: int) -> list[Round]:
    async with AsyncClient(fleet.front) as client, AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(client.session(seed=i)) for i in range(sessions)]
        victim = fleet.replicas[1]
        rounds = [await _measure("all there", fleet, callers, fleet.replicas)]
        victim.signal(signal.SIGKILL)
        await asyncio.to_thread(fleet.wait_balanced, _LIMIT_S, servers=len(fleet.replicas) - 1)
        others = [each for each in fleet.replicas if each is not victim]
        rounds.append(await _measure(f"{victim.name} killed", fleet, callers, others))
        await asyncio.to_thread(victim.stop)
        victim.start()
        await asyncio.to_thread(victim.wait_ready, _LIMIT_S)
        await asyncio.to_thread(fleet.wait_balanced, _LIMIT_S)
        rounds.append(await _measure(f"{victim.name} back", fleet, callers, fleet.replicas))
        return rounds


async def _measure(name: str, fleet: Fleet, callers: Sequence[AsyncSession], there: Sequence[Member]) -> Round:
    before, repeated = {each.name: _read(fleet.metrics[each.name]) for each in there}, fleet.count_repeated()
    gate = asyncio.Semaphore(_AT_ONCE)

    async def talk(session: AsyncSession) -> None:
        async with gate:
            await session.generate("h", max_tokens=_TOKENS).read()

    await asyncio.gather(*map(talk, callers))
    await asyncio.to_thread(_settle, fleet, there, before, len(callers))
    grown = {each.name: _read(fleet.metrics[each.name]) - before[each.name] for each in there}
    names = {each.address: each.name for each in there}
    table = Maglev([*names])
    return Round(
        name,
        streams=Counter({replica: figures["streams"] for replica, figures in grown.items()}),
        computed=Counter(names[table.place(session.id)] for session in callers),
        claims=sum(figures["claim"] for figures in grown.values()),
        writes=sum(figures["write"] for figures in grown.values()),
        repeated=fleet.count_repeated() - repeated,
    )


def _settle(fleet: Fleet, there: Sequence[Member], before: dict[str, Counter[str]], streams: int) -> None:
    """Wait until the last stream is counted and its session stored."""
    deadline = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline:
        grown = [_read(fleet.metrics[each.name]) - before[each.name] for each in there]
        if min(sum(figures[what] for figures in grown) for what in ("streams", "write")) >= streams:
            return
        time.sleep(_POLL_S)


def _read(metrics: str) -> Counter[str]:
    """Return what a server has done: streams ended, and calls of the store by their name."""
    found: Counter[str] = Counter()
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=_LIMIT_S) as answer:
        page = answer.read().decode()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "unrolled_streams_total":
                found["streams"] += int(sample.value)
            elif sample.name == "unrolled_store_operation_seconds_count":
                found[sample.labels["operation"]] += int(sample.value)
    return found
