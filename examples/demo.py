"""Show the whole service: start it, stream from it, load it, look at its metrics, stop it.

Everything runs on this machine, on ports that are free, and ends within a minute.
"""

import asyncio
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from unrolled_client import AsyncClient, Client

PROMPT = "ROMEO:"
SEED = 7
TOKENS = 400
STREAMS = 8
LIMIT_S = 60.0
EXIT_S = 15.0
READY = re.compile(r"unrolled: serving (?P<models>.+) on (?P<target>\S+), metrics on (?P<metrics>http://\S+)")
METRICS = re.compile(r"unrolled_(tokens_total|streams_total|streams_active|time_to_first_token_seconds_count)\b")

console = Console(highlight=False)


@dataclass(frozen=True)
class Server:
    """A running server: what it serves, where it listens, where its metrics are."""

    models: str
    target: str
    metrics: str


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server for a `with` block; it is stopped in any case, and must then exit with status 0."""
    command = [sys.executable, "-m", "unrolled_service"]
    listen = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]
    with subprocess.Popen([*command, *listen], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        log: list[str] = []
        reader = threading.Thread(target=log.extend, args=(process.stderr,), daemon=True)
        reader.start()
        watchdog = threading.Timer(LIMIT_S, process.kill)
        watchdog.start()
        try:
            ready = READY.match(process.stdout.readline())
            if ready is None:
                process.kill()
                reader.join()
                raise SystemExit(f"the server did not start:\n{''.join(log)}")
            yield Server(**ready.groupdict())
            process.send_signal(signal.SIGTERM)
            status = process.wait(EXIT_S)
        finally:
            watchdog.cancel()
            process.kill()
    if status != 0:
        raise SystemExit(f"the server exited with status {status}:\n{''.join(log)}")


def title(text: str) -> None:
    """Begin a part of the show."""
    console.print(Text(f"\n{text}", style="bold cyan"))


def show_stream(server: Server) -> None:
    """Stream one text to the terminal while it arrives."""
    title(f"One stream: {TOKENS} characters after {PROMPT!r}, seed {SEED}")
    with (
        Client(server.target) as client,
        client.generate(PROMPT, max_tokens=TOKENS, temperature=0.8, seed=SEED, timeout=LIMIT_S) as stream,
    ):
        console.print(Text(PROMPT, style="dim"), end="")
        for piece in stream:
            print(piece, end="", flush=True)
        print()
        finish = stream.finish
    assert finish is not None
    line = f"{finish.generated_tokens} tokens, first after {finish.first_token_s * 1e3:.1f} ms"
    console.print(Text(f"{line}, all after {finish.total_s:.2f} s, ended by {finish.reason}", style="dim"))


async def show_concurrency(server: Server) -> None:
    """Run several streams at once through the asynchronous client."""
    title(f"{STREAMS} streams at once")
    async with AsyncClient(server.target) as client:
        begin_s = time.perf_counter()
        streams = [client.generate(PROMPT, max_tokens=TOKENS, seed=SEED + n, timeout=LIMIT_S) for n in range(STREAMS)]
        texts = await asyncio.gather(*(stream.read() for stream in streams))
        elapsed_s = time.perf_counter() - begin_s
    characters = sum(map(len, texts))
    console.print(f"{characters:,} characters in {elapsed_s:.2f} s: {characters / elapsed_s:,.0f} characters/s")


def show_metrics(server: Server) -> None:
    """Print what the server counted meanwhile."""
    url = server.metrics if server.metrics.endswith("/metrics") else f"{server.metrics}/metrics"
    title(f"Metrics from {url}")
    with urllib.request.urlopen(url, timeout=5) as reply:
        for line in reply.read().decode().splitlines():
            if METRICS.match(line):
                console.print(line, soft_wrap=True)


def main() -> None:
    """Run the show."""
    title("Starting: unrolled serve")
    with serving() as server:
        console.print(f"{server.models} on {server.target}")
        show_stream(server)
        asyncio.run(show_concurrency(server))
        show_metrics(server)
        title("Stopping: SIGTERM")
    console.print("The server drained and exited with status 0.")


if __name__ == "__main__":
    main()
