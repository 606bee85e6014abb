"""`unrolled transduce`: a source in, its target out while it arrives."""

from typing import Any, TextIO

import click

from unrolled_client.cli import options
from unrolled_client.cli.connection import streaming
from unrolled_client.cli.given import read_all
from unrolled_client.cli.place import Place
from unrolled_client.cli.terminal import Terminal
from unrolled_client.cli.written import write


@click.command()
@click.argument("text", required=False)
@options.vectors
@click.option(
    "--max-tokens", type=click.IntRange(1), help="Tokens or vectors to write at most. Default: what the bundle says."
)
@options.sampling
@options.model
@options.priority
@options.timeout
@options.server
def transduce(text: str | None, vectors: TextIO | None, server: Place, **chosen: Any) -> None:
    """Stream the sequence that answers TEXT: its translation, its reverse, its sum.

    Without TEXT, or with -, the source is read from standard input, less one newline at its end. The most probable
    tokens are taken unless an option says otherwise; vectors are written as JSON lines.
    """
    source = read_all(text, vectors)
    terminal = Terminal()
    with streaming(server, terminal) as client, client.transduce(source, **chosen) as stream:
        write(stream, terminal)
    terminal.summarize(stream.finish)
    terminal.note_resumes(stream.resumes)
