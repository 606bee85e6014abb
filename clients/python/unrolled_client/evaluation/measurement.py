"""What to measure of a bundle, and how: one object for each kind of figure. Asked on an event loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from unrolled.v1 import bundle_pb2
from unrolled_client.async_client import AsyncClient
from unrolled_client.evaluation.asking import ask_all, ask_example
from unrolled_client.evaluation.figure import figure_of
from unrolled_client.evaluation.folder import Folder, NoBundle
from unrolled_client.evaluation.grading import measure_of
from unrolled_client.evaluation.recognition import DRAWINGS, TEMPERATURE, recognise
from unrolled_client.models import Figure

Advance = Callable[[], object]
HELLO = ("h", "ello")


class Measurement(Protocol):
    """A figure to be measured.

    Attributes:
        total: how many answers it takes.
        over: what it is over, in words.
    """

    @property
    def total(self) -> int:
        """Return how many answers it takes."""

    @property
    def over(self) -> str:
        """Return what it is over, in words, after the number of answers."""

    async def measure(self, client: AsyncClient, advance: Advance) -> Figure:
        """Ask the server, and call `advance` for each answer."""


@dataclass(frozen=True)
class OfExamples:
    """The held-out items that came with a bundle."""

    folder: Folder

    @property
    def total(self) -> int:
        """Return how many items there are."""
        return len(self.folder.examples.examples)

    @property
    def over(self) -> str:
        """Say where the items are from."""
        compared = {"accuracy": "labels", "exact": "targets"}.get(measure_of(self.folder.manifest), "vectors")
        whose = "the bundle's" if self.folder.items is None else "the file's"
        return f"{compared} of {whose} {self.total:,} items (from: {self.folder.examples.dataset})"

    async def measure(self, client: AsyncClient, advance: Advance) -> Figure:
        """Ask about every item."""
        manifest = self.folder.manifest
        graded = await ask_all(
            lambda example: ask_example(client, manifest, example), self.folder.examples.examples, advance
        )
        return figure_of(graded)


@dataclass(frozen=True)
class OfDrawings:
    """Drawn pictures, shown to another bundle."""

    drawer: bundle_pb2.Manifest
    judge: bundle_pb2.Manifest

    @property
    def total(self) -> int:
        """Return how many pictures are drawn."""
        return DRAWINGS * len(self.drawer.condition.port.names)

    @property
    def over(self) -> str:
        """Say how they are drawn, and who names them."""
        return f"drawings at temperature {TEMPERATURE}, {DRAWINGS} a class, named by {self.judge.name}"

    async def measure(self, client: AsyncClient, advance: Advance) -> Figure:
        """Have them drawn and named."""
        return figure_of(await recognise(client, self.drawer, self.judge, advance))


@dataclass(frozen=True)
class OfText:
    """A text, scored in one contiguous call."""

    model: str
    text: str
    share: float

    @property
    def total(self) -> int:
        """Return that it is one answer."""
        return 1

    @property
    def over(self) -> str:
        """Say which part of the text it is."""
        return f"characters, the last {self.share:.0%} of the text in one piece"

    async def measure(self, client: AsyncClient, advance: Advance) -> Figure:
        """Have the last part scored."""
        score = await client.score(self.text[-int(len(self.text) * self.share) :], model=self.model)
        advance()
        # 0 is added so that a certain text, of -0 nats, has no minus.
        return Figure("nats_per_char", score.nats_per_token + 0.0, score.tokens)


@dataclass(frozen=True)
class OfContinuation:
    """A text that must follow a prompt, greedily."""

    model: str
    prompt: str
    wanted: str

    @property
    def total(self) -> int:
        """Return that it is one answer."""
        return 1

    @property
    def over(self) -> str:
        """Say what is asked for."""
        return f"prompt: {self.prompt!r} is to be continued with {self.wanted!r}"

    async def measure(self, client: AsyncClient, advance: Advance) -> Figure:
        """Ask for it."""
        length = len(self.wanted)
        text = await client.generate(self.prompt, max_tokens=length, model=self.model, temperature=0.0).read()
        advance()
        return Figure("exact", float(text == self.wanted), 1)


def measurement_of(
    folder: Folder,
    *,
    text: str | None = None,
    share: float = 0.1,
    judge: Folder | None = None,
    expect: tuple[str, str] | None = None,
) -> Measurement:
    """Choose what to measure: what is asked for, else the items that came with the bundle.

    Args:
        folder: the bundle.
        text: a text to score the end of.
        share: how much of it, above 0 to 1.
        judge: a bundle that names what is drawn.
        expect: a prompt, and what is to follow it.

    Raises:
        NoBundle: it cannot be measured like that.
    """
    manifest = folder.manifest
    if text is not None:
        if int(len(text) * share) < 2:
            raise NoBundle(f"{share:g} of {len(text):,} characters is less than the two that a score needs")
        return OfText(manifest.name, text, share)
    if expect is not None:
        return OfContinuation(manifest.name, *expect)
    if judge is not None:
        _check_judge(manifest, judge.manifest)
        return OfDrawings(manifest, judge.manifest)
    if folder.has_examples:
        _check_figure(manifest)
        return OfExamples(folder)
    if sorted(manifest.vocabulary) == sorted({*"".join(HELLO)}):
        return OfContinuation(manifest.name, *HELLO)
    raise NoBundle(f"{folder.path} came without held-out items: give --text FILE to score the end of a text")


def _check_judge(manifest: bundle_pb2.Manifest, judge: bundle_pb2.Manifest) -> None:
    if manifest.task != bundle_pb2.TASK_GENERATE or not manifest.condition.port.names:
        raise NoBundle(f"{manifest.name} does not draw what it is told by name; there is nothing to judge")
    if not {*manifest.condition.port.names} <= {*judge.output.names}:
        raise NoBundle(f"{judge.name} does not know all names that {manifest.name} draws")


def _check_figure(manifest: bundle_pb2.Manifest) -> None:
    """Refuse to measure what would mean nothing: a bundle whose own figure is of another kind."""
    figures, name = manifest.evaluation.figures, measure_of(manifest)
    if figures and figures[0].name == "recognised" != name:
        raise NoBundle(f"{manifest.name} is judged by whether its drawings are recognised: give --judge BUNDLE")
