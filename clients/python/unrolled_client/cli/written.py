"""Writes what a model writes to standard output while it arrives: text, vectors as lines, or a picture of them.

Where a state is watched, each token or vector has a line, with what it came from.
"""

import sys

import click

from unrolled_client.cli.numbers import to_line
from unrolled_client.cli.outputs import Input, to_watched
from unrolled_client.cli.picture import Picture
from unrolled_client.cli.terminal import Terminal
from unrolled_client.stream import Stream


def write(stream: Stream, terminal: Terminal, picture: Picture | None = None) -> None:
    """Write every piece as it arrives.

    Args:
        stream: what a model writes.
        terminal: where to.
        picture: filled with the vectors in place of writing them; on a terminal it grows, elsewhere only the whole
            one is written.
    """
    drawn = 0
    for chunk in stream.chunks():
        if chunk.activations:
            items: list[Input] = [*chunk.text, *chunk.vectors]
            for written, activations in zip(items, chunk.activations, strict=True):
                terminal.note(1, "character" if chunk.text else "vector")
                click.echo(to_watched(written, activations))
            continue
        terminal.write([chunk.text] if chunk.text else ())
        for vector in chunk.vectors:
            terminal.note(1, "vector")
            if picture is None:
                click.echo(to_line(vector))
            else:
                picture.add(vector)
        if picture is not None and chunk.vectors and terminal.is_interactive:
            drawn = _draw(picture, drawn)
    if picture is not None and not drawn:
        _draw(picture, 0)


def _draw(picture: Picture, drawn: int) -> int:
    """Draw over the `drawn` lines above the cursor; return how many lines there are now."""
    lines = picture.lines()
    above = f"\x1b[{drawn}A" if drawn else ""
    sys.stdout.write(above + "".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
    return len(lines)
