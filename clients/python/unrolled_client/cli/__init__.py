"""The command `unrolled`. Without click it says how to get it."""

import sys


def main() -> int:
    """Run the command line and return its exit status."""
    try:
        import click  # noqa: F401, PLC0415
    except ModuleNotFoundError:
        print(
            "error: the command line needs click; install it with: pip install 'unrolled[cli]'",
            file=sys.stderr,
        )
        return 1
    from unrolled_client.cli.group import unrolled  # noqa: PLC0415

    unrolled(prog_name="unrolled")
    return 0
