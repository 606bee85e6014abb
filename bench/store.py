"""What one Redis does of what servers ask it: ``python -m bench.store`` prints figures as JSON.

Sessions are claimed and written in turn, as two servers that take a session from each other would, by many callers at
once. Redis' own CPU seconds tell what it could do alone on a core.
"""

import asyncio
import json
import secrets
import time

from tests.support.redis import running_redis
from unrolled_service.storage.redis_store import RedisStore

SESSIONS = 2_000
SNAPSHOT_BYTES = 4_600  # LSTM 2x256
_CALLERS = 64
_TURNS = 3


async def _use(url: str) -> float:
    """Let every session be made, then claimed and written a few times; return the seconds of claims and writes."""
    store, other = (RedisStore.from_url(url, owner=f"server-{i}") for i in range(2))
    snapshot = secrets.token_bytes(SNAPSHOT_BYTES)
    ids = [secrets.token_urlsafe(16) for _ in range(SESSIONS)]
    gate = asyncio.Semaphore(_CALLERS)

    async def make(session_id: str) -> None:
        async with gate:
            await store.create(session_id, snapshot, 1, ttl_s=600, lease_s=0)

    async def turn(session_id: str, position: int) -> None:
        async with gate:
            user = store if position % 2 else other
            claim = await user.claim(session_id, lease_s=3, known_epoch=0)
            times = {"ttl_s": 600.0, "lease_s": 0.0}
            await user.write(
                session_id, epoch=claim.epoch, position=position, snapshot=snapshot, rewound=False, **times
            )

    await asyncio.gather(*map(make, ids))
    started = time.perf_counter()
    for position in range(2, 2 + _TURNS):
        await asyncio.gather(*(turn(each, position) for each in ids))
    seconds = time.perf_counter() - started
    for each in (store, other):
        await each.close()
    return seconds


def run() -> dict[str, float]:
    """Measure."""
    with running_redis(appendonly="yes", appendfsync="everysec") as redis, redis.connect() as client:
        before, memory = _cpu_s(client.info("cpu")), client.info("memory")["used_memory"]
        seconds = asyncio.run(_use(redis.url))
        used, grown = _cpu_s(client.info("cpu")) - before, client.info("memory")["used_memory"] - memory
    operations = 2 * _TURNS * SESSIONS
    return {
        "operations_per_s": operations / seconds,
        "redis_us_per_operation": used / (operations + SESSIONS) * 1e6,
        "bytes_per_session": grown / SESSIONS,
    }


def _cpu_s(info: dict[str, float]) -> float:
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])


if __name__ == "__main__":
    print(json.dumps(run()))
