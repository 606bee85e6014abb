"""`unrolled classify`: a sequence in, what it is out."""

import json
from typing import Any, TextIO

import click

from unrolled_client.answers import Classification
from unrolled_client.cli import options
from unrolled_client.cli.connection import connected
from unrolled_client.cli.given import read_all
from unrolled_client.cli.numbers import rounded, to_line
from unrolled_client.cli.outputs import describe
from unrolled_client.cli.place import Place

SHOWN = 10


@click.command()
@click.argument("text", required=False)
@options.vectors
@options.model
@options.session
@options.activations
@options.as_json
@options.priority
@options.timeout
@options.server
def classify(
    text: str | None,
    vectors: TextIO | None,
    model: str | None,
    session_id: str | None,
    is_json: bool,
    server: Place,
    **asked: Any,
) -> None:
    """Say what TEXT, or a series of vectors, is as a whole.

    Without TEXT, or with -, all of standard input is read, less one newline at its end.
    """
    given = read_all(text, vectors)
    with connected(server) as client:
        if session_id is None:
            answer = client.classify(given, model=model, **asked)
        else:
            session = client.open_session(session_id)
            answer = session.classify(given, **asked)
            model = session.info().model
        names = client.model(model).output.names if answer.probabilities else ()
    click.echo(to_json(answer, names) if is_json else to_table(answer, names))


def to_json(answer: Classification, names: tuple[str, ...]) -> str:
    """Write an answer as one line of JSON."""
    found = {"inputs": answer.inputs, "position": answer.position, **describe(answer.output)}
    if answer.probabilities:
        ranked = answer.ranked(names)
        found["probabilities"] = dict(zip(ranked, rounded(ranked.values()), strict=True))
    return json.dumps(found, ensure_ascii=False)


def to_table(answer: Classification, names: tuple[str, ...]) -> str:
    """Write the most probable labels, a line each, or the numbers."""
    ranked = [*answer.ranked(names).items()][:SHOWN] if answer.probabilities else []
    width = max((len(name) for name, _ in ranked), default=0) + 2
    lines = [f"{name:<{width}}{probability:.3f}" for name, probability in ranked] or [to_line(answer.values)]
    if answer.output.activations:
        lines.append(to_line(answer.output.activations))
    return "\n".join(lines)
