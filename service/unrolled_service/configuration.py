"""Where the settings come from: flags over UNROLLED_ environment over a TOML file over defaults.

Knows sources, not what a setting means. What no source may say is refused with the name, the source and the limit.
"""

import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from unrolled_service.settings import Settings

PREFIX = "UNROLLED_"
FILE_VARIABLE = "UNROLLED_CONFIG"
OTHERS_VARIABLES = frozenset(
    {"UNROLLED_SERVER", "UNROLLED_ADMIN_SERVER", "UNROLLED_TOKEN", "UNROLLED_REQUIRE_PROGRAMS"}
)
"""Variables of the client and of the tests."""
DEFAULT = "default"

# Kubernetes puts these into every container beside a Service that is named unrolled.
_SERVICE_LINK = re.compile(r"UNROLLED_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
_FILE_LIMIT_BYTES = 1 << 20


class ConfigurationError(Exception):
    """A source says what it may not. The message names the setting, the source and the limit."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is set, and by whom.

    Attributes:
        settings: the valid whole.
        origins: for every setting the flag, the variable or the file that it comes from, or ``default``.
    """

    settings: Settings
    origins: Mapping[str, str]


def read_configuration(flags: Mapping[str, Any], file: Path | None = None) -> Configuration:
    """Gather the settings from all sources.

    Args:
        flags: settings by name, only those that are given.
        file: a TOML file with settings by name.

    Raises:
        ConfigurationError: a name is no setting, a value is out of its limits, or the file cannot be read.
    """
    for variable in filter(_is_ours, os.environ):
        _check_name(variable.upper(), [PREFIX + name.upper() for name in Settings.model_fields], "the environment")
    from_file = read_file(file) if file else {}
    from_environment = EnvSettingsSource(Settings)()
    sources = (
        (from_file, lambda _: str(file)),
        (from_environment, lambda name: PREFIX + name.upper()),
        (flags, lambda name: f"--{'no-' * (flags[name] is False)}{name.replace('_', '-')}"),
    )
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, DEFAULT)
    for source, name_origin in sources:
        values.update(source)
        origins.update({name: name_origin(name) for name in source})
    try:
        return Configuration(Settings(**values), origins)
    except ValidationError as error:
        raise ConfigurationError("; ".join(_explain(fault, origins) for fault in error.errors())) from None


def read_file(file: Path) -> dict[str, Any]:
    """Return the settings of a TOML file, by name and not yet checked.

    Raises:
        ConfigurationError: it cannot be read, is not TOML, is larger than 1 MiB, or names what is no setting.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(_FILE_LIMIT_BYTES + 1)
        if len(content) > _FILE_LIMIT_BYTES:
            raise ConfigurationError(f"{file}: must have at most {_FILE_LIMIT_BYTES} bytes")
        values = tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{file}: is not TOML: {error}") from None
    for name in values:
        _check_name(name, Settings.model_fields, str(file))
    return values


def _is_ours(variable: str) -> bool:
    """Return whether a variable ought to be a setting of the server."""
    name = variable.upper()
    foreign = name == FILE_VARIABLE or name in OTHERS_VARIABLES or _SERVICE_LINK.fullmatch(name)
    return name.startswith(PREFIX) and not foreign


def _check_name(name: str, known: Collection[str], source: str) -> None:
    if name not in known:
        nearest = get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise ConfigurationError(f"{name} in {source} is no setting; the nearest is {nearest}")


def _explain(fault: Any, origins: Mapping[str, str]) -> str:
    """Say what is wrong with a setting: its name, who set it, and the limit."""
    words = fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    if fault["loc"]:
        name, *path = map(str, fault["loc"])
        return f"{'.'.join((name, *path))} ({origins.get(name, DEFAULT)}): {words}"
    named = [name for name, origin in origins.items() if origin != DEFAULT and re.search(rf"\b{name}\b", words)]
    return ": ".join(filter(None, (", ".join(f"{name} ({origins[name]})" for name in named), words)))
