"""Options and their types that several verbs share."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from unrolled_client import credentials
from unrolled_client.channel import DEFAULT_TARGET, TARGET_VARIABLE
from unrolled_client.cli.place import to_place

SEED = click.IntRange(0, 2**64 - 1)
SECONDS = click.FloatRange(0, min_open=True)

Command = Callable[..., Any]

_FILE = click.Path(dir_okay=False, path_type=Path)
_PLACE = (
    click.option("--tls", is_flag=True, help="Talk TLS; the certificates below imply it."),
    click.option(
        "--ca",
        type=_FILE,
        metavar="FILE",
        help="Certificates that sign the server's. Default: the public ones.",
    ),
    click.option("--cert", type=_FILE, metavar="FILE", help="Certificate to show, if the server asks for one."),
    click.option("--key", type=_FILE, metavar="FILE", help="Its private key."),
    click.option(
        "--token",
        type=_FILE,
        metavar="FILE",
        help=f"File of the token to show. Default: {credentials.VARIABLE} itself.",
    ),
)


def placed(server: Command) -> Callable[[Command], Command]:
    """Return what adds an option for a server's address, and those for what is shown to it.

    The command gets them as one `Place` by the name of ``server``; None where there is no address.
    """

    def add(command: Command) -> Command:
        @wraps(command)
        def run(*args: Any, server: str | None, **given: Any) -> Any:
            shown = {name: given.pop(name) for name in ("tls", "ca", "cert", "key", "token")}
            return command(*args, server=None if server is None else to_place(server, **shown), **given)

        for option in reversed((server, *_PLACE)):
            run = option(run)
        return run

    return add


server = placed(
    click.option(
        "--server",
        metavar="HOST:PORT",
        default=DEFAULT_TARGET,
        envvar=TARGET_VARIABLE,
        show_default=True,
        show_envvar=True,
        help="Address of the server; of several, with commas between them.",
    )
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

priority = click.option(
    "--priority",
    type=click.Choice(["interactive", "batch"]),
    help="How soon it is served where rows are scarce; batch lets other calls go first. Default: interactive.",
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
