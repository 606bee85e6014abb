"""`unrolled step`: every input with its answer, while both arrive."""

import queue
from collections.abc import Iterator
from itertools import count
from typing import Any, TextIO

import click

from unrolled_client.answers import Item, Output
from unrolled_client.cli import options
from unrolled_client.cli.connection import streaming
from unrolled_client.cli.given import read_lines
from unrolled_client.cli.outputs import HEADER, Input, to_json, to_row
from unrolled_client.cli.place import Place
from unrolled_client.cli.terminal import Terminal
from unrolled_client.client import Client
from unrolled_client.session import Session


@click.command()
@click.argument("text", required=False)
@options.vectors
@options.model
@options.session
@options.activations
@options.as_json
@options.priority
@options.timeout
@options.server
def step(
    text: str | None,
    vectors: TextIO | None,
    model: str | None,
    session_id: str | None,
    is_json: bool,
    server: Place,
    **asked: Any,
) -> None:
    """Answer every character of TEXT, or every vector, with one output.

    Without TEXT, or with -, lines of standard input are answered as they come, newlines left out; so are vectors from
    there. The state goes on from line to line.
    """
    terminal = Terminal()
    with streaming(server, terminal) as client:
        if terminal.is_interactive and not is_json:
            click.secho(HEADER, dim=True)
        for place, (given, output, position) in zip(
            count(1), answers(client, model, session_id, read_lines(text, vectors), asked), strict=False
        ):
            click.echo(to_json(given, position, output) if is_json else to_row(given, place, output))


def answers(
    client: Client,
    model: str | None,
    session_id: str | None,
    parts: Iterator[str | list[list[float]]],
    asked: dict[str, Any],
) -> Iterator[tuple[Input, Output, int | None]]:
    """Yield every input with its answer and the position after it; a part is sent when the one before is answered.

    The parts are read on this thread: one that waits for a terminal must not outlive the program.
    """
    waiting: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
    reader: Client | Session = client
    if session_id is None:
        asked = {**asked, "model": model}
    else:
        reader = client.open_session(session_id)
    with reader.step(iter(waiting.get, None), **asked) as steps:
        for part in parts:
            waiting.put(part)
            for given in part:
                output = next(steps, None)
                if output is None:
                    return
                yield given, output, steps.position
        waiting.put(None)
        steps.read()
