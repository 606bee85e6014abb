"""``unrolled serve``: settings from flags, environment and file, then a server until a signal comes."""

import asyncio
import logging
import signal
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from rich.console import Console

from unrolled_service.configuration import FILE_VARIABLE, Configuration, ConfigurationError, read_configuration
from unrolled_service.configuration_page import tabulate, write_toml
from unrolled_service.errors import BundleError, KeyFileError, TenantFileError
from unrolled_service.models.bundle import Bundle
from unrolled_service.models.trial import admit_bundle
from unrolled_service.server import Server
from unrolled_service.settings import GROUPS, Settings
from unrolled_service.telemetry.logs import log_loop, start_logging
from unrolled_service.telemetry.traces import TracesMissing

_METAVARS = MappingProxyType({int: "INT", float: "FLOAT", str: "TEXT", Path: "FILE"})
_FAULTS = (ConfigurationError, BundleError, KeyFileError, TenantFileError, TracesMissing)
_log = logging.getLogger(__name__)


class _Serve(click.Command):
    """A command that shows its flags under the headings of the settings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the flags, those of a group together."""
        options = {each.name: each.get_help_record(ctx) for each in self.get_params(ctx)}
        grouped = {name for names in GROUPS.values() for name in names}
        for heading, names in (*GROUPS.items(), ("Other", options.keys() - grouped)):
            with formatter.section(heading):
                formatter.write_dl([record for name in names if (record := options[name])])


def _option(name: str, field: FieldInfo) -> click.Option:
    """Return the flag of a setting; pydantic checks the value."""
    flag = f"--{name.replace('_', '-')}"
    description = field.description or ""
    text = description[:1].upper() + description[1:]
    if name == "bundle":
        kind = click.Path(path_type=Path)
        return click.Option(
            [flag], type=kind, multiple=True, help=f"{text}; may be repeated. Default: the shipped one."
        )
    if get_origin(field.annotation) is Literal:
        choice = click.Choice(get_args(field.annotation))
        return click.Option([flag], type=choice, help=f"{text}. Default: {field.default}.")
    if field.annotation is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}"], default=None, help=f"{text}.")
    return click.Option(
        [flag],
        metavar=next(word for kind, word in _METAVARS.items() if field.annotation in (kind, kind | None)),
        help=text if field.get_default() is None else f"{text}. Default: {field.default}.",
    )


def _serve(config: Path | None, print_config: bool, **flags: Any) -> None:
    """Serve bundles over gRPC until SIGTERM or ^C.

    Every flag has an environment variable, UNROLLED_ and its name, and a key of the same name in the configuration
    file. A flag wins over the environment, that over the file, and that over the default.
    """
    try:
        given = {name: value for name, value in flags.items() if value not in (None, ())}
        configuration = read_configuration(given, config)
        if print_config:
            _print(configuration)
            return
        settings = configuration.settings
        start_logging(settings.log_format, settings.log_level, sys.stderr)
        bundles = _load(settings)
        asyncio.run(_run(bundles, settings))
    except (*_FAULTS, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None


serve = _Serve(
    "serve",
    callback=_serve,
    params=[
        *(_option(name, field) for name, field in Settings.model_fields.items()),
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            envvar=FILE_VARIABLE,
            help=f"TOML file of settings. Default: what {FILE_VARIABLE} names, if anything.",
        ),
        click.Option(
            ["--print-config"],
            is_flag=True,
            default=None,
            help="Check the settings, say what each is and where it comes from, and exit.",
        ),
    ],
    help=_serve.__doc__,
    short_help="Serve bundles over gRPC.",
)


def _print(configuration: Configuration) -> None:
    """Write the settings for who reads them: a person or a file."""
    if sys.stdout.isatty():
        Console().print(tabulate(configuration))
    else:
        click.echo(write_toml(configuration), nl=False)


def _load(settings: Settings) -> list[Bundle]:
    bundles: dict[str, Bundle] = {}
    for folder in settings.bundle:
        bundle = admit_bundle(folder, settings)
        if bundle.name in bundles:
            raise BundleError(f"{folder}: a bundle named {bundle.name!r} was given before")
        bundles[bundle.name] = bundle
    return list(bundles.values())


async def _run(bundles: list[Bundle], settings: Settings) -> None:
    """Serve until the first signal, then drain; a second signal ends the grace time, a third one waits for nothing."""
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    server = Server(bundles, settings)
    await server.start()
    names = ", ".join(bundle.name for bundle in bundles)
    if server.admin_address:
        click.echo(f"unrolled: admin services on {server.admin_address}")
    click.echo(f"unrolled: serving {names} on {server.address}, metrics on {server.metrics_url}")
    impulses = [asyncio.ensure_future(each) for each in (signals.get(), server.drain_wanted.wait())]
    await asyncio.wait(impulses, return_when=asyncio.FIRST_COMPLETED)
    for each in impulses:
        each.cancel()
    _log.info("draining")
    drain = asyncio.ensure_future(server.drain())
    for lose_patience in (server.end_grace, drain.cancel):
        impatient = asyncio.ensure_future(signals.get())
        await asyncio.wait((drain, impatient), return_when=asyncio.FIRST_COMPLETED)
        if drain.done():
            impatient.cancel()
            break
        lose_patience()
    await server.stop()
    _log.info("stopped")
