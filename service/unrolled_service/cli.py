"""``unrolled serve``: settings from flags and environment, then a server until a signal comes."""

import asyncio
import logging
import signal
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from unrolled_service.errors import BundleError, KeyFileError, TenantFileError
from unrolled_service.models.bundle import Bundle, load_bundle
from unrolled_service.server import Server
from unrolled_service.settings import Settings


def _option(name: str, field: FieldInfo) -> click.Option:
    """Return the flag of a setting; pydantic checks the value."""
    flag = f"--{name.replace('_', '-')}"
    text = (field.description or "").capitalize()
    if name == "bundle":
        kind = click.Path(path_type=Path)
        return click.Option(
            [flag], type=kind, multiple=True, help=f"{text}; may be repeated. Default: the shipped one."
        )
    if get_origin(field.annotation) is Literal:
        choice = click.Choice(get_args(field.annotation))
        return click.Option([flag], type=choice, help=f"{text}. Default: {field.default}.")
    return click.Option(
        [flag],
        metavar=getattr(field.annotation, "__name__", "value").upper(),
        help=text if field.default_factory else f"{text}. Default: {field.default}.",
    )


def _serve(**flags: Any) -> None:
    """Serve bundles over gRPC until SIGTERM or ^C.

    Every flag has an environment variable, UNROLLED_ and its name; a flag wins.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = Settings(**{name: value for name, value in flags.items() if value not in (None, ())})
        bundles = _load(settings)
        asyncio.run(_run(bundles, settings))
    except ValidationError as error:
        faults = "; ".join(": ".join((*map(str, fault["loc"]), fault["msg"])) for fault in error.errors())
        raise click.ClickException(faults) from None
    except (BundleError, KeyFileError, TenantFileError, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None


serve = click.Command(
    "serve",
    callback=_serve,
    params=[_option(name, field) for name, field in Settings.model_fields.items()],
    help=_serve.__doc__,
    short_help="Serve bundles over gRPC.",
)


def _load(settings: Settings) -> list[Bundle]:
    bundles: dict[str, Bundle] = {}
    for folder in settings.bundle:
        bundle = load_bundle(folder, settings.precision)
        if bundle.name in bundles:
            raise BundleError(f"{folder}: a bundle named {bundle.name!r} was given before")
        bundles[bundle.name] = bundle
    return list(bundles.values())


async def _run(bundles: list[Bundle], settings: Settings) -> None:
    """Serve until the first signal, then drain; a second signal ends the grace time."""
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    server = Server(bundles, settings)
    await server.start()
    names = ", ".join(bundle.name for bundle in bundles)
    click.echo(f"unrolled: serving {names} on {server.address}, metrics on http://{server.metrics_address}")
    await signals.get()
    click.echo("unrolled: draining", err=True)
    drain = asyncio.ensure_future(server.drain())
    impatient = asyncio.ensure_future(signals.get())
    await asyncio.wait((drain, impatient), return_when=asyncio.FIRST_COMPLETED)
    for task in (drain, impatient):
        task.cancel()
    await server.stop()
