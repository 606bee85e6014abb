"""``python -m deploy.cluster.rolling``: restart one server after the other under streams; what do readers notice?

All streams have the same prompt and seed, so that every text must be the beginning of one text, which a server then
writes in one piece. A stream lasts for a time; what came to a reader before its end counts.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from deploy.cluster.fleet import START_LIMIT_S, Fleet
from deploy.cluster.member import Member, MemberFailed
from unrolled_client import AsyncClient, AsyncSession, UnrolledError

PROMPT, SEED = "ROMEO:", 7
ENDLESS = 1_000_000_000
STALL_LIMIT_S = 2.0
LIMITS = {"max_tokens": ENDLESS, "max_prompt_tokens": 1_000_000}
"""Settings of servers that are to serve such streams."""
PATIENCE_S = 240.0


@dataclass(frozen=True)
class Read:
    """What one reader saw.

    Attributes:
        text: all that came.
        stall_s: the longest time without anything, from the first piece on.
        resumes: how often the client went on elsewhere.
        error: the error that reached the reader; empty for none.
    """

    text: str
    stall_s: float
    resumes: int
    error: str = ""


@dataclass(frozen=True)
class Outcome:
    """What all of them saw.

    Attributes:
        reads: one of each reader.
        restarts_s: how long each server was away, from its signal until it served again.
        is_whole: every text is a beginning of the one that is written without a break.
    """

    reads: tuple[Read, ...]
    restarts_s: tuple[float, ...]
    is_whole: bool

    @property
    def errors(self) -> list[str]:
        """Return the errors that readers saw."""
        return [each.error for each in self.reads if each.error]

    @property
    def stall_s(self) -> float:
        """Return the longest time for which a reader got nothing."""
        return max(each.stall_s for each in self.reads)

    def __str__(self) -> str:
        characters = sum(len(each.text) for each in self.reads)
        stalls = sorted(each.stall_s for each in self.reads)
        away = ", ".join(f"{each:.1f}" for each in self.restarts_s)
        return "\n".join(
            (
                f"streams {len(self.reads)}, characters {characters:,}",
                f"servers restarted {len(self.restarts_s)}, away for {away} s",
                f"streams resumed {sum(each.resumes for each in self.reads)} times",
                f"visible errors {len(self.errors)} {[*{*self.errors}] if self.errors else ''}".rstrip(),
                f"longest stall of a reader {stalls[-1]:.2f} s, median {stalls[len(stalls) // 2]:.2f} s",
                f"every text is the unbroken one: {'yes' if self.is_whole else 'NO'}",
            )
        )


async def roll(fleet: Fleet, *, streams: int, seconds: float, prompt: str = PROMPT, sessionless: int = 0) -> Outcome:
    """Restart every server of a fleet while streams run.

    Args:
        fleet: serves with `LIMITS`.
        streams: how many readers.
        seconds: how long each reads, and on until the last server is back.
        prompt: of all of them.
        sessionless: how many have no session: their text is fed again to the server that goes on.
    """
    rolled = asyncio.Event()
    async with AsyncClient(fleet.front) as client:
        readers = [
            asyncio.create_task(_read(client, prompt, seconds, rolled, has_session=number >= sessionless))
            for number in range(streams)
        ]
        try:
            restarts_s = [await asyncio.to_thread(_restart, fleet, replica) for replica in fleet.replicas]
        finally:
            rolled.set()
        reads = tuple(await asyncio.gather(*readers))
        longest = max(len(each.text) for each in reads)
        text = await client.generate(prompt, max_tokens=max(longest, 1), seed=SEED).read()
    return Outcome(reads, tuple(restarts_s), all(text.startswith(each.text) for each in reads))


def _restart(fleet: Fleet, replica: Member) -> float:
    """Drain a server, start it again, and return the seconds until it gets calls."""
    begin_s = time.monotonic()
    if status := replica.stop(START_LIMIT_S):
        raise MemberFailed(f"{replica.name} exited with status {status}")
    replica.start()
    replica.wait_ready(START_LIMIT_S)
    fleet.wait_balanced(START_LIMIT_S)
    return time.monotonic() - begin_s


async def _read(client: AsyncClient, prompt: str, seconds: float, rolled: asyncio.Event, *, has_session: bool) -> Read:
    begin_s = time.monotonic()
    latest_s, stall_s = 0.0, 0.0
    info = await client.create_session(seed=SEED) if has_session else None
    model = AsyncSession(client, info.id, info.position) if info else client
    async with model.generate(prompt, max_tokens=ENDLESS, seed=SEED, timeout=seconds + PATIENCE_S) as stream:
        error = ""
        try:
            async for _ in stream:
                now_s = time.monotonic()
                stall_s = max(stall_s, now_s - (latest_s or now_s))
                latest_s = now_s
                if rolled.is_set() and now_s >= begin_s + seconds:
                    break
        except UnrolledError as failure:
            error = f"{type(failure).__name__}: {failure}"
    return Read(stream.text, stall_s, stream.resumes, error)


def main() -> None:
    """Run it on a cluster of its own; the status is 1 where a reader noticed something."""
    parser = argparse.ArgumentParser(prog="python -m deploy.cluster.rolling", description=main.__doc__)
    parser.add_argument("--streams", type=int, default=200, help="readers (default: %(default)s)")
    parser.add_argument("--sessionless", type=int, default=0, help="how many of them have no session (default: 0)")
    parser.add_argument("--seconds", type=float, default=60, help="how long they read (default: %(default)g)")
    parser.add_argument("--grace", type=float, default=5, help="drain_grace_s of the servers (default: %(default)g)")
    parser.add_argument("--replicas", type=int, default=3, help="servers (default: %(default)s)")
    options = parser.parse_args()
    settings = {**LIMITS, "drain_grace_s": options.grace}
    with (
        tempfile.TemporaryDirectory(prefix="unrolled-cluster-") as folder,
        Fleet(Path(folder), replicas=options.replicas, settings=settings) as fleet,
    ):
        outcome = asyncio.run(
            roll(fleet, streams=options.streams, seconds=options.seconds, sessionless=options.sessionless)
        )
    print(outcome)
    sys.exit(bool(outcome.errors or not outcome.is_whole or outcome.stall_s > STALL_LIMIT_S))


if __name__ == "__main__":
    main()
