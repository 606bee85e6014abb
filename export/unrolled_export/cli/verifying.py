"""`unrolled verify`: a bundle is checked and its golden run repeated. Runs without torch."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from unrolled_export.cli.failure import failures_told


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
def verify(bundle: Path) -> None:
    """Check BUNDLE: checksums, manifest, graph, and the golden run. Exits with 1 if anything differs."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from unrolled_export.verification import verify_bundle  # noqa: PLC0415

    with failures_told():
        verification = verify_bundle(bundle)
    table = Table(box=None, padding=(0, 2), show_header=False)
    for check in verification.checks:
        answer = Text("ok", "green") if check.is_ok else Text("DIFFERS", "bold red")
        table.add_row(answer, Text(check.name), Text(check.detail, "dim" if check.is_ok else ""))
    console = Console(highlight=False)
    console.print(table)
    if verification.identity:
        console.print(f"\nidentity {verification.identity}", soft_wrap=True)
    if not verification.is_ok:
        sys.exit(1)
