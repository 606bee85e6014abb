"""The settings on one page: as a table for people, and as a TOML file that says the same again."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from unrolled_service.configuration import DEFAULT, Configuration
from unrolled_service.settings import GROUPS, Settings

_MASK = "***"
_COLUMN = 42


def tabulate(configuration: Configuration) -> Table:
    """Lay out one row a setting: name, value, origin."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for group, names in GROUPS.items():
        table.add_row(Text(group, "bold"))
        for name in names:
            origin = configuration.origins[name]
            value = _show(mask(getattr(configuration.settings, name)))
            row = map(Text, (f"  {name}", value, origin))
            table.add_row(*row, style="dim" if origin == DEFAULT else "")
    return table


def write_toml(configuration: Configuration) -> str:
    """Return a configuration file with what every setting is, and a comment on where it came from.

    What is not set, or has a secret, is a comment as a whole.
    """
    return "\n".join(_lines(configuration)) + "\n"


def mask(value: Any) -> Any:
    """Return a value without what may be secret in a URL: its user part and the values of its query."""
    if not isinstance(value, str) or "://" not in value:
        return value
    return re.sub(r"([?&][^=&]*=)[^&]*", rf"\1{_MASK}", re.sub(r"//.*@", f"//{_MASK}@", value))


def _lines(configuration: Configuration) -> Iterator[str]:
    width = max(map(len, Settings.model_fields))
    for group, names in GROUPS.items():
        yield from ([f"# {group}"] if group == next(iter(GROUPS)) else ["", f"# {group}"])
        for name in names:
            value = getattr(configuration.settings, name)
            masked, origin = mask(value), configuration.origins[name]
            if value is None:
                yield f"{f'# {name} =':<{_COLUMN}} # {origin}"
            elif masked != value:
                yield f"{f'# {name} = {_write(masked)}':<{_COLUMN}} # {origin}; {_MASK} stands for a secret"
            else:
                yield f"{f'{name:<{width}} = {_write(value)}':<{_COLUMN}} # {origin}"


def _write(value: Any) -> str:
    """Return a value as TOML, whose strings are written like those of JSON."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_write, value))}]"
    if isinstance(value, bool | str | Path):
        text = json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
        return text.replace("\x7f", "\\u007f")
    return repr(value)


def _show(value: Any) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
