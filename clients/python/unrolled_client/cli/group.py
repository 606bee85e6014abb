"""The command group: imports a verb's program when the verb is called, not before."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from unrolled_client.cli.failure import Failure
from unrolled_client.cli.verbs import PROGRAMS, VERBS, Verb


class LazyGroup(click.Group):
    """A group that knows its verbs by name and one line of help until one of them is called."""

    def __init__(self, *args: Any, verbs: Mapping[str, Verb] = VERBS, **options: Any) -> None:
        super().__init__(*args, **options)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Name the verbs in their order."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a verb's command."""
        verb = self._verbs.get(cmd_name)
        if verb is None:
            return None
        module, _, attribute = verb.path.partition(":")
        try:
            command: click.Command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if _is_of_the_project(error):
                raise
            raise _missing_extra(error, cmd_name, verb) from error
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; one that misses its extra only while it runs is explained too."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            name = ctx.invoked_subcommand or ""
            if name not in self._verbs or _is_of_the_project(error):
                raise
            raise _missing_extra(error, name, self._verbs[name]) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the verbs' lines of help without importing their programs."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in self._verbs.items()])


def _is_of_the_project(error: ModuleNotFoundError) -> bool:
    return _package_of(error) in PROGRAMS


def _missing_extra(error: ModuleNotFoundError, name: str, verb: Verb) -> click.ClickException:
    return Failure(
        f"unrolled {name} needs {_package_of(error) or 'a package that is missing'}; "
        f"install it with: pip install 'unrolled[{verb.extra}]'"
    )


def _package_of(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="unrolled", prog_name="unrolled")
def unrolled() -> None:
    """Stream text from recurrent models: serve them, ask them, train them."""
