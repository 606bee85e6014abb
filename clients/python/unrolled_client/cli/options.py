"""Options and their types that several verbs share."""

from collections.abc import Callable
from typing import Any

import click

from unrolled_client.channel import DEFAULT_TARGET, TARGET_VARIABLE

SEED = click.IntRange(0, 2**64 - 1)
SECONDS = click.FloatRange(0, min_open=True)

Command = Callable[..., Any]

server = click.option(
    "--server",
    metavar="HOST:PORT",
    default=DEFAULT_TARGET,
    envvar=TARGET_VARIABLE,
    show_default=True,
    show_envvar=True,
    help="Address of the server.",
)
model = click.option("--model", metavar="NAME", help="Bundle to use; needed when several are served.")
session = click.option("--session", "session_id", metavar="ID", help="Continue this session.")
timeout = click.option("--timeout", type=SECONDS, metavar="SECONDS", help="Time for the whole call.")
vectors = click.option(
    "--vectors",
    type=click.File("r"),
    metavar="FILE",
    help="Read vectors from FILE in place of text, one a line as [0.1, 0.2]; - for stdin.",
)
as_json = click.option("--json", "is_json", is_flag=True, help="Write JSON lines.")


def to_watched(text: str) -> tuple[str, tuple[int, ...]]:
    """Read STATE or STATE:UNIT,UNIT,…: a state's name and places in it.

    Raises:
        click.BadParameter: it is neither.
    """
    state, _, units = text.partition(":")
    places = units.split(",") if units else []
    if not state or not all(place.isdecimal() for place in places):
        raise click.BadParameter(f"{text!r} is not a state and units such as h1:3,17")
    return state, tuple(map(int, places))


activations = click.option(
    "--activations", type=to_watched, metavar="STATE[:UNITS]", help="Show units of a state too, for instance h1:3,17."
)

_SAMPLING = (
    click.option("--temperature", type=click.FloatRange(0, 100), help="Divides the logits; 0 takes the most probable."),
    click.option("--top-k", type=click.IntRange(0), help="Keep this many most probable tokens."),
    click.option(
        "--top-p",
        type=click.FloatRange(0, 1, min_open=True),
        help="Keep the most probable tokens up to this sum.",
    ),
    click.option("--min-p", type=click.FloatRange(0, 1), help="Keep tokens this times as probable as the best."),
    click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be given several times."),
    click.option("--seed", type=SEED, help="Seed of the draws; the same seed gives the same text."),
)


def sampling(command: Command) -> Command:
    """Add the options that say how tokens are chosen and when they end."""
    for option in reversed(_SAMPLING):
        command = option(command)
    return command
