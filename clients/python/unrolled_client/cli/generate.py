"""`unrolled generate`: a prompt in, text out while it arrives."""

import sys

import click

from unrolled_client.cli import options
from unrolled_client.cli.advice import explain
from unrolled_client.cli.failure import Failure
from unrolled_client.cli.terminal import Terminal, abandon_output
from unrolled_client.client import Client
from unrolled_client.errors import UnrolledError
from unrolled_client.stream import Stream
from unrolled_client.wire.options import GenerateOptions

INTERRUPTED_STATUS = 130


@click.command()
@click.argument("prompt", required=False)
@click.option(
    "--max-tokens", type=click.IntRange(1), default=400, show_default=True, help="Tokens to generate at most."
)
@click.option("--temperature", type=click.FloatRange(0, 100), help="Divides the logits; 0 takes the most probable.")
@click.option("--top-k", type=click.IntRange(0), help="Keep this many most probable tokens.")
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    help="Keep the most probable tokens up to this sum.",
)
@click.option("--min-p", type=click.FloatRange(0, 1), help="Keep tokens this times as probable as the best.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be given several times.")
@click.option("--seed", type=options.SEED, help="Seed of the draws; the same seed gives the same text.")
@click.option("--model", metavar="NAME", help="Bundle to use; needed when several are served.")
@click.option("--session", "session_id", metavar="ID", help="Continue this session.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Time for the whole text.")
@click.option("--echo/--no-echo", default=None, help="Show the prompt first. Default: only on a terminal.")
@options.server
def generate(
    prompt: str | None,
    max_tokens: int,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    stop: tuple[str, ...],
    seed: int | None,
    model: str | None,
    session_id: str | None,
    timeout: float | None,
    echo: bool | None,
    server: str,
) -> None:
    """Stream the text that follows PROMPT.

    Without PROMPT, or with -, the prompt is read from standard input, less one newline at its end.
    """
    text = read_prompt() if prompt is None or prompt == "-" else prompt
    terminal = Terminal()
    chosen: GenerateOptions = {
        "model": model,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "stop": stop,
        "seed": seed,
        "timeout": timeout,
    }
    try:
        with Client(server) as client, open_stream(client, session_id, text, max_tokens, chosen) as stream:
            if terminal.is_interactive if echo is None else echo:
                terminal.echo(text)
            terminal.write(stream)
    except UnrolledError as error:
        terminal.end_line()
        raise explain(error, server) from error
    except ValueError as error:
        raise Failure(str(error)) from error
    except KeyboardInterrupt:
        click.echo()
        raise SystemExit(INTERRUPTED_STATUS) from None
    except BrokenPipeError:
        raise SystemExit(abandon_output()) from None
    terminal.end_line()
    terminal.summarize(stream.finish)
    terminal.note_resumes(stream.resumes)


def open_stream(
    client: Client, session_id: str | None, prompt: str, max_tokens: int, chosen: GenerateOptions
) -> Stream:
    """Begin the generation, on a session if one is named.

    Raises:
        ValueError: the prompt is not valid text, or a number does not fit its wire type.
    """
    if session_id is None:
        return client.generate(prompt, max_tokens=max_tokens, **chosen)
    return client.open_session(session_id).generate(prompt, max_tokens=max_tokens, **chosen)


def read_prompt() -> str:
    """Read the prompt from standard input, less one newline at its end."""
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise Failure(f"the prompt on standard input is not text: {error}") from error
