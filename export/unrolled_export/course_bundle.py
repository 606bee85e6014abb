"""What came out of a recipe as a bundle, with a card."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

import torch

from unrolled.v1.bundle_pb2 import Architecture, Evaluation, Examples, Manifest
from unrolled_export.agreement import FeedReading
from unrolled_export.bptt import Batch
from unrolled_export.composition import export_shape
from unrolled_export.course import Course
from unrolled_export.lesson import Pupil
from unrolled_export.player import Feed
from unrolled_export.recipes import RECIPES
from unrolled_export.reference import Floats

KEPT_EXAMPLES, KEPT_BYTES = 100, 2**16
CARD = """\
# {name}

{description}

| | |
|---|---|
{rows}

On {dataset}, none of which was trained on. Training: {rounds} rounds; made by

```
{command}
```
{pictures}
"""


def publish_course(
    course: Course,
    folder: Path,
    output: Path,
    *,
    name: str,
    description: str,
    licence: str,
    force: bool,
    kept: int = KEPT_EXAMPLES,
) -> Manifest:
    """Write the bundle of what a recipe gave in `folder`, with the first `kept` held-out items, at least 1.

    Raises:
        CellError: the exported graphs differ from what was trained.
        BundleError: the name or the place will not do.
        OSError: the bundle cannot be written.
    """
    lesson = course.lesson()
    recipe = RECIPES[course.recipe]
    manifest = Manifest()
    manifest.CopyFrom(lesson.manifest)
    manifest.description = description or f"{course.recipe}: {recipe.about}"
    manifest.evaluation.CopyFrom(Evaluation(dataset=lesson.examples.dataset, figures=course.figures))
    manifest.architecture.CopyFrom(_describe(lesson.model))
    pictures = {file.name: file.read_bytes() for file in sorted(folder.glob("*.png"))}
    pictures |= {"curve.csv": (folder / "curve.csv").read_bytes()} if (folder / "curve.csv").is_file() else {}

    def write_card(whole: Manifest, sizes: Mapping[str, int]) -> str:
        state_bytes = 4 * sum(prod(state.shape) for state in whole.states)
        facts = [("Shape", recipe.shape)]
        facts += [(f"**{figure.name}**", f"**{figure.value:.4f}** over {figure.count:,}") for figure in course.figures]
        facts += [
            ("Parameters", f"{whole.architecture.parameters:,}"),
            ("State of one session", f"{state_bytes} bytes"),
        ]
        facts += [(f"`{file}`", f"{size:,} bytes") for file, size in sizes.items()] + [("Licence", licence)]
        return CARD.format(
            name=whole.name,
            description=whole.description,
            rows="\n".join(f"| {fact} | {value} |" for fact, value in facts),
            dataset=whole.evaluation.dataset,
            rounds=len(course.rounds),
            command=course.command,
            pictures="".join(f"\n![{file}]({file})\n" for file in pictures if file.endswith(".png")),
        )

    return export_shape(
        lesson.model.steps(),
        manifest,
        _shorten(lesson.examples, kept),
        name=name,
        output=output,
        oracles={"the model as it was trained": read_with(lesson.model)},
        write_card=write_card,
        extra_files=pictures,
        force=force,
    )


def read_with(model: Pupil) -> FeedReading:
    """Read with a model in the form in which it is trained: whole sequences at once."""

    @torch.no_grad()
    def read(feed: Feed) -> Floats:
        inputs = torch.from_numpy(feed.inputs)
        condition = None if feed.condition is None else torch.from_numpy(feed.condition)
        source = None if feed.source is None else torch.from_numpy(feed.source)
        lengths = None if source is None else torch.full((source.shape[1],), len(source))
        batch = Batch(inputs, inputs, condition=condition, source=source, lengths=lengths)
        answers, _ = model(inputs, model.begin(batch))
        found: Floats = answers.numpy()
        return found

    return read


def _shorten(examples: Examples, count: int) -> Examples:
    """Keep the first `count`, fewer where they are long: a bundle is small."""
    kept = Examples(dataset=examples.dataset, examples=examples.examples[:1])
    for example in examples.examples[1:count]:
        if kept.ByteSize() + example.ByteSize() > KEPT_BYTES:
            break
        kept.examples.append(example)
    return kept


def _describe(model: Pupil) -> Architecture:
    parameters = sum(weight.numel() for weight in model.parameters())
    config = getattr(getattr(model, "cell", None), "config", None)
    if config is None:
        return Architecture(cell=type(model).__name__.lower(), parameters=parameters)
    return Architecture(
        cell=config.cell,
        layers=config.layers,
        hidden_size=config.hidden,
        embedding_size=config.embedding,
        parameters=parameters,
    )
