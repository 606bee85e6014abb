"""Writes the tables of settings in docs/operations.md; ``make docs`` runs this file."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from unrolled_service.settings import GROUPS, Settings

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
BEGIN, END = "<!-- made by make docs -->", "<!-- end of what make docs makes -->"
_COMPUTED = {"bundle": "the shipped bundle", "engine_threads": "cores - 1, 1 to 4"}


def write_tables() -> str:
    """Return a table for each group of settings: name, default, limits, meaning."""
    return "\n".join(_lines())


def insert_tables(text: str) -> str:
    """Return a document with the tables between its marks."""
    pattern = f"{re.escape(BEGIN)}\n.*?{re.escape(END)}"
    changed, count = re.subn(pattern, lambda _: f"{BEGIN}\n{write_tables()}\n{END}", text, flags=re.S)
    if count != 1:
        raise ValueError(f"the document has {count} places for tables")
    return changed


def _lines() -> Iterator[str]:
    for group, names in GROUPS.items():
        yield from ("", f"### {group}", "", "| setting | default | limits | meaning |", "|---|---|---|---|")
        for name in names:
            field = Settings.model_fields[name]
            default = _COMPUTED[name] if field.default_factory else f"`{field.default}`"
            yield f"| `{name}` | {default} | {_limits(field)} | {field.description} |"
    yield ""


def _limits(field: FieldInfo) -> str:
    """Say what a value must be."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{each}`" for each in get_args(field.annotation))
    bounds: dict[str, Any] = {}
    for mark in field.metadata:
        bounds |= {kind: getattr(mark, kind) for kind in ("ge", "gt", "le") if hasattr(mark, kind)}
    if not bounds:
        return "-"
    low = f"above {bounds['gt']:,}" if "gt" in bounds else f"{bounds['ge']:,}"
    return f"{low} to {bounds['le']:,}"


if __name__ == "__main__":
    DOCUMENT.write_text(insert_tables(DOCUMENT.read_text()))
