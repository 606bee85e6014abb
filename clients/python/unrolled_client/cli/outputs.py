"""Answers to inputs as people and programs read them."""

import json
from collections.abc import Sequence
from typing import Any

from unrolled_client.answers import Output
from unrolled_client.cli.numbers import rounded, to_line

Input = str | Sequence[float]
HEADER = f"{'input':<8}{'label':<20}probability"


def describe(output: Output) -> dict[str, Any]:
    """Return what an answer has, by name."""
    found: dict[str, Any] = {}
    if output.label:
        found = {"label": output.label, "probability": rounded([output.probability])[0]}
        found["probabilities"] = rounded(output.probabilities)
    if output.values:
        found["values"] = rounded(output.values)
    if output.activations:
        found["activations"] = rounded(output.activations)
    return found


def to_json(given: Input, position: int | None, output: Output) -> str:
    """Write an input and its answer as one line of JSON."""
    read = given if isinstance(given, str) else rounded(given)
    return json.dumps({"input": read, "position": position, **describe(output)}, ensure_ascii=False)


def to_row(given: Input, place: int, output: Output) -> str:
    """Write an input, a vector by its place, and its answer as a line of a table."""
    shown = printable(given) if isinstance(given, str) else f"#{place}"
    answer = f"{output.label:<19} {output.probability:.3f}" if output.label else to_line(output.values)
    watched = f"  {to_line(output.activations)}" if output.activations else ""
    return f"{shown:<8}{answer}{watched}"


def to_watched(written: Input, activations: Sequence[float]) -> str:
    """Write a token, or a vector, and the state that it came from as a line of a table."""
    shown = f"{printable(written):<8}" if isinstance(written, str) else f"{to_line(written)}  "
    return f"{shown}{to_line(activations)}"


def printable(text: str) -> str:
    """Return a text as it is, or as it is escaped where it would not show."""
    return text if text.isprintable() else repr(text)[1:-1]
