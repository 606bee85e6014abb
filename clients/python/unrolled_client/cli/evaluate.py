"""`unrolled evaluate`: how well a bundle does, measured through a server."""

import asyncio
import time
from contextlib import ExitStack
from typing import TextIO

import click
from rich.console import Console
from rich.progress import Progress

from unrolled_client.cli import options
from unrolled_client.cli.advice import explain
from unrolled_client.cli.failure import Failure
from unrolled_client.cli.place import Place
from unrolled_client.errors import UnrolledError
from unrolled_client.evaluation.folder import Folder, NoBundle, find_bundle
from unrolled_client.evaluation.measurement import Measurement, measurement_of
from unrolled_client.evaluation.serving import NoServer, serving
from unrolled_client.models import Figure

MOST_PROMPT_TOKENS = 1_000_000


def to_expected(text: str) -> tuple[str, str]:
    """Read PROMPT=TEXT.

    Raises:
        click.BadParameter: one of the two is missing.
    """
    prompt, _, wanted = text.partition("=")
    if not (prompt and wanted):
        raise click.BadParameter(f"{text!r} is not a prompt and a text such as h=ello")
    return prompt, wanted


@click.command()
@click.argument("bundle")
@click.option("--text", type=click.File("r", encoding="utf-8"), metavar="FILE", help="Score the end of a text instead.")
@click.option(
    "--share", type=click.FloatRange(0, 1, min_open=True), default=0.1, show_default=True, help="How much of it."
)
@click.option("--judge", metavar="BUNDLE", help="Have the drawings named by this bundle instead.")
@click.option("--expect", type=to_expected, metavar="PROMPT=TEXT", help="Ask what follows a prompt, greedily, instead.")
@click.option("--precision", default="fp32", show_default=True, help="Form of the cells that is served.")
@click.option("--card/--no-card", default=True, show_default=True, help="Write the figure into the bundle's README.md.")
@options.placed(
    click.option("--server", metavar="HOST:PORT", help="Ask this server. Default: its own, which ends afterwards.")
)
def evaluate(
    bundle: str,
    text: TextIO | None,
    share: float,
    judge: str | None,
    expect: tuple[str, str] | None,
    precision: str,
    card: bool,
    server: Place | None,
) -> None:
    """Measure BUNDLE, a folder or the name of a shipped one, through a server: by the held-out items that came with it.

    Many items are asked at once. The figure is the one of the bundle's shape: the accuracy of labels, the share of
    texts that are right in every character, the mean error of numbers. It is printed with what it is over, and
    written into the card; the bundle stays what it is.
    """
    folders = [Folder(find_bundle(each)) for each in (bundle, judge) if each is not None]
    settings = {"precision": precision} | ({} if text is None else {"max-prompt-tokens": str(MOST_PROMPT_TOKENS)})
    try:
        measurement = measurement_of(
            folders[0],
            text=None if text is None else text.read(),
            share=share,
            judge=folders[1] if judge is not None else None,
            expect=expect,
        )
        with ExitStack() as stack:
            place = server or Place(stack.enter_context(serving([each.path for each in folders], settings)))
            begin_s = time.perf_counter()
            figure = asyncio.run(measure(place, folders, measurement))
            elapsed_s = time.perf_counter() - begin_s
        line = f"{figure.name} {figure.value:.4f}"
        over = f"over {figure.count:,} {measurement.over}"
        click.echo(f"{line} {over}")
        how = precision if server is None else f"by the server at {server}"
        click.secho(f"{elapsed_s:.1f} s, {how}", dim=True, err=True)
        if card:
            folders[0].note(figure.name, f"Through the server: **{line}** {over}.")
    except UnrolledError as error:
        raise explain(error, server or "the address of its own server") from error
    except (NoBundle, NoServer, ValueError, OSError) as error:
        raise Failure(str(error)) from error


async def measure(place: Place, folders: list[Folder], measurement: Measurement) -> Figure:
    """Ask the server, with a bar that shows how far it is where a person looks on.

    Raises:
        NoBundle: the server serves other bundles than the folders'.
        UnrolledError: a call failed.
        ValueError: an answer has another form than what is wanted.
    """
    async with place.async_client() as client:
        for folder in folders:
            name = folder.manifest.name
            if (await client.model(name)).sha256 != folder.sha256:
                raise NoBundle(f"the server's {name} is another bundle than {folder.path}")
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task(folders[0].manifest.name, total=measurement.total)
            return await measurement.measure(client, lambda: progress.advance(bar))
