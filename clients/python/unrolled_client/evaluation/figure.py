"""What was measured, and how to say it."""

from collections.abc import Sequence
from dataclasses import dataclass

from unrolled_client.models import Figure


@dataclass(frozen=True)
class Grades:
    """What several answers are worth, by one measure; the figure is their mean.

    Attributes:
        name: the measure, as in a manifest's figures.
        values: a grade for each thing that is compared: an answer, an output, a target.
    """

    name: str
    values: tuple[float, ...]


def figure_of(graded: Sequence[Grades]) -> Figure:
    """Return the mean of all grades, of at least one."""
    values = [value for grades in graded for value in grades.values]
    return Figure(graded[0].name, sum(values) / len(values), len(values))
