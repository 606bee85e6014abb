"""`unrolled wrap`: a third party's ONNX file becomes a bundle. Runs without torch."""

from __future__ import annotations

from pathlib import Path

import click

from unrolled_export.cli.failure import failures_told


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the bundle.")
@click.option(
    "--state",
    "states",
    multiple=True,
    required=True,
    metavar="INPUT=OUTPUT",
    help="A state's input, and the output that feeds it at the next step. Once for each.",
)
@click.option("--vocabulary", required=True, metavar="CHARACTERS", help="The tokens in the order of the logits.")
@click.option("--token", default="token", show_default=True, help="Input that takes the token, int64.")
@click.option("--logits", default="logits", show_default=True, help="Output that gives the logits.")
@click.option("--name", help="What callers ask for.  [default: the folder's name]")
@click.option("--description", default="", help="One line for people.")
@click.option("--force", is_flag=True, help="Replace the bundle that is there.")
def wrap(
    *,
    file: Path,
    output: Path,
    states: tuple[str, ...],
    vocabulary: str,
    token: str,
    logits: str,
    name: str | None,
    description: str,
    force: bool,
) -> None:
    """Wrap FILE, an ONNX graph of one time step, as a bundle.

    The graph takes a token int64[B] and states float32[B, ...], and gives logits float32[B, V] and new states.
    """
    pairs = [state.partition("=") for state in states]
    if not all(taken and given for taken, _, given in pairs):
        raise click.UsageError("--state is INPUT=OUTPUT, for instance h=new_h")
    from unrolled_export import wrapping  # noqa: PLC0415

    naming = wrapping.Naming({taken: given for taken, _, given in pairs}, token, logits)
    with failures_told():
        manifest = wrapping.wrap(
            file,
            naming,
            vocabulary=list(vocabulary),
            name=output.resolve().name if name is None else name,
            output=output,
            description=description,
            force=force,
        )
    click.echo(f"{manifest.name}: {len(manifest.vocabulary)} tokens, {len(manifest.states)} states")
    click.echo(f"Next: unrolled verify {output}")
