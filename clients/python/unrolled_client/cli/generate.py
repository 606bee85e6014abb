"""`unrolled generate`: a prompt or a condition in; text, vectors or a picture out while it arrives."""

from typing import Any

import click

from unrolled_client.answers import Condition
from unrolled_client.cli import options
from unrolled_client.cli.connection import streaming
from unrolled_client.cli.given import read_text
from unrolled_client.cli.numbers import to_vector
from unrolled_client.cli.picture import Picture, to_size
from unrolled_client.cli.place import Place
from unrolled_client.cli.terminal import Terminal
from unrolled_client.cli.written import write
from unrolled_client.client import Client
from unrolled_client.stream import Stream

DEFAULT_TOKENS = 400


@click.command()
@click.argument("prompt", required=False)
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    help=f"Tokens or vectors to generate at most. Default: {DEFAULT_TOKENS}; with --condition what the bundle says.",
)
@click.option(
    "--condition", metavar="LABEL|JSON", help="What to generate: a name, or numbers as [0.1, 0.2], as the bundle takes."
)
@options.sampling
@click.option(
    "--picture", type=to_size, metavar="WIDTHxHEIGHT", help="Show vectors as a picture of pixels from 0 to 1."
)
@click.option("--tile", type=to_size, metavar="WIDTHxHEIGHT", help="What part each vector is. Default: whole rows.")
@options.model
@options.session
@options.activations
@options.priority
@options.timeout
@click.option("--echo/--no-echo", default=None, help="Show the prompt first. Default: only on a terminal.")
@options.server
def generate(
    prompt: str | None,
    max_tokens: int | None,
    condition: str | None,
    picture: tuple[int, int] | None,
    tile: tuple[int, int] | None,
    session_id: str | None,
    activations: tuple[str, tuple[int, ...]] | None,
    echo: bool | None,
    server: Place,
    **chosen: Any,
) -> None:
    """Stream what follows PROMPT, or what the model makes of a condition.

    Without PROMPT, or with -, the prompt is read from standard input, less one newline at its end; with --condition
    there is none unless it is given. Vectors are written as JSON lines, or shown with --picture. With --activations
    every character or vector has a line, with the state that it came from.
    """
    if picture and activations:
        raise click.UsageError("--picture has no place for --activations")
    text = "" if prompt is None and condition is not None else prompt
    text = read_text() if text is None or text == "-" else text
    canvas = None if picture is None else Picture(picture, tile)
    terminal = Terminal()
    chosen["activations"] = activations
    chosen["max_tokens"] = DEFAULT_TOKENS if max_tokens is None and condition is None else max_tokens
    chosen["condition"] = None if condition is None else to_condition(condition)
    with streaming(server, terminal) as client, open_stream(client, session_id, text, chosen) as stream:
        if text and (terminal.is_interactive and not activations if echo is None else echo):
            terminal.echo(text)
        write(stream, terminal, canvas)
    terminal.summarize(stream.finish)
    terminal.note_resumes(stream.resumes)


def open_stream(client: Client, session_id: str | None, prompt: str, chosen: dict[str, Any]) -> Stream:
    """Begin the generation, on a session if one is named.

    Raises:
        ValueError: the prompt is not valid text, or a number does not fit its wire type.
    """
    if session_id is None:
        return client.generate(prompt, **chosen)
    return client.open_session(session_id).generate(prompt, **chosen)


def to_condition(text: str) -> Condition:
    """Read a condition: a list in JSON is numbers, anything else a name.

    Raises:
        Failure: it begins like a list and is none.
    """
    return to_vector(text, "--condition") if text.lstrip().startswith("[") else text
