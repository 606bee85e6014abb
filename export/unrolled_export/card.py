"""The model card: README.md of a bundle, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from unrolled.v1.bundle_pb2 import Golden, Manifest
from unrolled_export.replay import Cell, Drawing, generate
from unrolled_export.shape import CELL_FILE
from unrolled_export.trained import Trained
from unrolled_export.variant import STREAMS

SAMPLE_LENGTH = 400
SAMPLE_TEMPERATURE = 0.8
NAMES = {
    "rnn": "Elman network (tanh)",
    "gru": "gated recurrent unit (GRU)",
    "lstm": "long short-term memory (LSTM)",
    "mingru": "minimal gated recurrent unit (minGRU)",
    "minlstm": "minimal long short-term memory (minLSTM)",
}

CARD = """\
# {name}

{description}

| | |
|---|---|
{rows}

## Evaluation

{evaluation}
{precisions}{curve}
## Training

Best epoch {epoch} of {epochs}, in {precision}; made by

```
{command}
```

## Sample

After a prompt of {prompt_length}, at temperature {temperature}, seed {seed}, as the model gives it:

```
{text}
```

## Use

```
unrolled verify PATH
unrolled serve --bundle PATH
unrolled generate
```
"""

PRECISIONS = """
| precision | file | size | nats/char | bits/char | loss against fp32 |
|---|---|---|---|---|---|
{rows}

Each measured in onnxruntime in the same way on {dataset}: {characters:,} characters predicted in up to {streams}
contiguous streams side by side, the true character fed and the state carried throughout.
"""


@dataclass(frozen=True)
class ModelCard:
    """Write the card of a trained character model.

    Attributes:
        trained: the model.
        licence: licence of the weights, in words.
        has_curve: whether curve.png lies beside the card.
    """

    trained: Trained
    licence: str
    has_curve: bool

    def __call__(self, manifest: Manifest, golden: Golden, cell: Cell, sizes: Mapping[str, int]) -> str:
        """Give the card in Markdown."""
        trained = self.trained
        return CARD.format(
            name=manifest.name,
            description=manifest.description,
            rows="\n".join(f"| {name} | {value} |" for name, value in self._facts(manifest, sizes[CELL_FILE])),
            evaluation=_evaluation(trained),
            precisions=_precisions(manifest, sizes),
            curve="\n![Loss by epoch](curve.png)\n" if self.has_curve else "",
            epoch=trained.epoch,
            epochs=trained.settings["epochs"],
            precision=trained.settings["precision"],
            command=trained.command,
            prompt_length=len(golden.prompt),
            temperature=SAMPLE_TEMPERATURE,
            seed=golden.seed,
            text=_sample(manifest, golden, cell),
        )

    def _facts(self, manifest: Manifest, size_bytes: int) -> list[tuple[str, str]]:
        model = self.trained.model
        state_bytes = 4 * sum(prod(state.shape) for state in manifest.states)
        return [
            ("Cell", NAMES[model.cell]),
            ("Layers", str(model.layers)),
            ("Units a layer", f"{model.hidden:,}"),
            ("Input", f"embedding of {model.embedding}" if model.embedding else "one-hot"),
            ("Vocabulary", f"{len(manifest.vocabulary)} characters"),
            ("Parameters", f"{manifest.architecture.parameters:,}"),
            ("`cell.onnx`", f"{size_bytes / 1e6:,.2f} MB, fp32"),
            ("State of one session", f"{state_bytes:,} bytes"),
            ("Licence", self.licence),
        ]


def _precisions(manifest: Manifest, sizes: Mapping[str, int]) -> str:
    """Compare the variants with fp32, a row each; nothing where there are none."""
    if not manifest.variants:
        return ""
    first = manifest.variants[0]
    measured = [("fp32", CELL_FILE, first.baseline, "")]
    for variant in manifest.variants:
        loss = variant.evaluation.nats_per_char - variant.baseline.nats_per_char
        measured.append((variant.precision, variant.cell, variant.evaluation, f"{loss:+.4f} nats/char"))
    rows = "\n".join(
        f"| {precision} | `{file}` | {sizes[file] / 1e6:,.2f} MB "
        f"| {found.nats_per_char:.4f} | {found.bits_per_char:.4f} | {loss} |"
        for precision, file, found, loss in measured
    )
    return PRECISIONS.format(
        rows=rows, dataset=first.baseline.dataset, characters=first.baseline.characters, streams=STREAMS
    )


def _sample(manifest: Manifest, golden: Golden, cell: Cell) -> str:
    """Generate text; control characters other than line ends, and fences, are shown as spaces."""
    prompt = list(golden.prompt)
    choices = generate(cell, prompt, SAMPLE_LENGTH, Drawing(golden.seed, SAMPLE_TEMPERATURE))
    tokens = [*prompt, *(choice.token for choice in choices)]
    text = "".join(manifest.vocabulary[token] for token in tokens)
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text).replace("```", "   ")


def _evaluation(trained: Trained) -> str:
    measured = trained.evaluation
    if measured is None:
        return f"Nothing was held out. Training loss: {trained.train_nats:.4f} nats per character."
    how = "one contiguous stream" if measured.streams == 1 else f"{measured.streams} contiguous streams"
    return (
        f"**{measured.nats_per_char:.4f} nats ({measured.bits_per_char:.4f} bits) per character** on "
        f"{trained.dataset}: {measured.characters:,} characters predicted in {how}, "
        "the state carried throughout."
    )
