"""The load generator: a closed loop of streams in a process of its own; prints its counts as JSON.

``python -m bench.load TARGET STREAMS SECONDS``
"""

import asyncio
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass, field

from unrolled_client import AsyncClient

PROMPT = "The quick brown "
LENGTH = 200


@dataclass
class Counts:
    """What one run of the load saw; durations in seconds."""

    characters: int = 0
    messages: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    first_s: list[float] = field(default_factory=list)


async def caller(client: AsyncClient, number: int, end: float, counts: Counts) -> None:
    """Stream one generation after the other until the time is over; whole ones only."""
    seed = number << 32
    while time.perf_counter() < end:
        seed += 1
        begun = time.perf_counter()
        is_first = True
        async with client.generate(PROMPT, max_tokens=LENGTH, seed=seed) as stream:
            async for text in stream:
                if is_first:
                    counts.first_s.append(time.perf_counter() - begun)
                    is_first = False
                counts.messages += 1
                counts.characters += len(text)


async def load(target: str, streams: int, seconds: float) -> Counts:
    """Run the closed loop."""
    counts = Counts()
    async with AsyncClient(target) as client:
        started = time.perf_counter()
        await asyncio.gather(*(caller(client, i, started + seconds, counts) for i in range(streams)))
        counts.elapsed_s = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    counts.cpu_s = usage.ru_utime + usage.ru_stime
    return counts


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(load(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))))
