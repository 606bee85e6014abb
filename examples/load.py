"""Make a steady load on a server: callers that stream one text after the other, and some that talk in sessions."""

import argparse
import asyncio
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from unrolled_client import AsyncClient, UnrolledError

PROMPTS = ("ROMEO:", "JULIET:", "First Citizen:", "KING HENRY:")
PAUSE_S = 1.0
STOPS_EARLY = 0.1

Call = Callable[[AsyncClient, int], Awaitable[int]]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default=None, help="address of the server (default: that of the client)")
    parser.add_argument("--callers", type=int, default=8, help="streams at once (default: %(default)s)")
    parser.add_argument("--sessions", type=int, default=0, help="sessions at once (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=400, help="length of a text (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=None, help="when to stop (default: never)")
    return parser.parse_args(arguments)


async def stream(client: AsyncClient, tokens: int) -> int:
    """Stream a text, now and then only its beginning; return how much came."""
    stops_early = random.random() < STOPS_EARLY
    async with client.generate(random.choice(PROMPTS), max_tokens=tokens, temperature=0.8) as text:
        async for _ in text:
            if stops_early:
                break
    return len(text.text)


async def talk(client: AsyncClient, tokens: int) -> int:
    """Make a session, speak three times with pauses and let a copy go on; return how much came."""
    characters = 0
    async with client.session() as session:
        for _ in range(3):
            characters += len(await session.generate(random.choice(PROMPTS), max_tokens=tokens // 2).read())
            await asyncio.sleep(random.expovariate(1 / PAUSE_S))
        (copy,) = await session.fork()
        characters += len(await copy.generate(max_tokens=tokens // 2).read())
        await copy.delete()
    return characters


async def repeat(call: Call, client: AsyncClient, tokens: int, done: Counter[str]) -> None:
    """Make a call again and again; after a refusal, or while the server is away, not before a pause."""
    while True:
        try:
            came = await call(client, tokens)
            done.update({"characters": came, call.__name__: 1})
        except UnrolledError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            await asyncio.sleep(PAUSE_S)


async def make_load(options: argparse.Namespace) -> Counter[str]:
    """Make the load; return how many calls ended, and how many characters they brought."""
    done: Counter[str] = Counter()
    async with AsyncClient(options.target) as client:
        with suppress(TimeoutError):
            async with asyncio.timeout(options.seconds), asyncio.TaskGroup() as callers:
                for call in [stream] * options.callers + [talk] * options.sessions:
                    callers.create_task(repeat(call, client, options.tokens, done))
    return done


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        done = asyncio.run(make_load(parse()))
        print(dict(done))
        sys.exit(0 if done["characters"] else 1)
