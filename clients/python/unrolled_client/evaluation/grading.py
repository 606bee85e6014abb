"""What an answer is worth, by the measure that its bundle's shape asks for: as the exporter measures it."""

from collections.abc import Sequence
from typing import TypeVar

from unrolled.v1 import bundle_pb2
from unrolled_client.answers import Output, Vector
from unrolled_client.evaluation.figure import Grades

Given = TypeVar("Given")
Wanted = TypeVar("Wanted")


def measure_of(manifest: bundle_pb2.Manifest) -> str:
    """Return the name of the measure: "exact", "absolute_error", "accuracy" or "squared_error"."""
    output = manifest.output.modality
    if manifest.task in (bundle_pb2.TASK_GENERATE, bundle_pb2.TASK_TRANSDUCE):
        return "absolute_error" if output == bundle_pb2.MODALITY_VECTOR else "exact"
    return "accuracy" if output == bundle_pb2.MODALITY_LABEL else "squared_error"


def grade_outputs(outputs: Sequence[Output], wanted: bundle_pb2.Series) -> Grades:
    """Grade answers to inputs: whether the likeliest label is right, or the mean squared error of the numbers.

    Raises:
        ValueError: there are more or fewer answers, or numbers, than wanted.
    """
    if wanted.tokens:
        labels = _pairs(outputs, wanted.tokens, "answers")
        return Grades("accuracy", tuple(float(_likeliest(output) == label) for output, label in labels))
    rows = _pairs([output.values for output in outputs], [vector.values for vector in wanted.vectors], "answers")
    return Grades("squared_error", tuple(_mean([(x - y) ** 2 for x, y in _pairs(*row, "numbers")]) for row in rows))


def grade_text(text: str, wanted: str) -> Grades:
    """Grade a text: whether it is the wanted one in every token."""
    return Grades("exact", (float(text == wanted),))


def grade_vectors(vectors: Sequence[Vector], wanted: bundle_pb2.Series) -> Grades:
    """Grade vectors that a model wrote: the mean absolute error of each.

    Raises:
        ValueError: there are more or fewer vectors, or numbers, than wanted.
    """
    rows = _pairs(vectors, [vector.values for vector in wanted.vectors], "vectors")
    return Grades("absolute_error", tuple(_mean([abs(x - y) for x, y in _pairs(*row, "numbers")]) for row in rows))


def _likeliest(output: Output) -> int:
    return output.probabilities.index(max(output.probabilities)) if output.probabilities else -1


def _pairs(given: Sequence[Given], wanted: Sequence[Wanted], what: str) -> list[tuple[Given, Wanted]]:
    if len(given) != len(wanted):
        raise ValueError(f"the bundle gives {len(given)} {what} where its items want {len(wanted)}")
    return list(zip(given, wanted, strict=True))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
