"""Bundles measured through a server whose answers are sums, backwards letters, or what a test says."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.client.fake_sequences import vectors
from tests.unit.client.fake_server import FakeServer, chunk, finish
from unrolled.v1 import bundle_pb2 as bundle
from unrolled.v1 import generation_pb2, model_pb2
from unrolled_client import Output
from unrolled_client.cli.group import unrolled
from unrolled_client.evaluation.figure import figure_of
from unrolled_client.evaluation.folder import Folder
from unrolled_client.evaluation.grading import grade_outputs, grade_vectors
from unrolled_client.evaluation.recognition import look, to_image

EVEN_ODD = bundle.Port(modality=bundle.MODALITY_LABEL, width=2, names=["even", "odd"])
CARD = "# sums\n\n## Evaluation\n\nMeasured.\n\n## Use\n\nIt.\n"
INKS = " .:-+*#@"


def write(folder: Path, manifest: bundle.Manifest, *examples: bundle.Example, card: str = CARD) -> model_pb2.Model:
    """Write a bundle as far as it is read here, and return how a server describes it."""
    folder.mkdir(exist_ok=True)
    (folder / "README.md").write_text(card)
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True)
    (folder / "manifest.json").write_text(text)
    if examples:
        items = bundle.Examples(dataset="made-up items", examples=examples)
        (folder / "examples.json").write_text(json_format.MessageToJson(items, preserving_proto_field_name=True))
    return model_pb2.Model(sha256=hashlib.sha256(text.encode()).hexdigest(), manifest=manifest)


def evaluate(fake: FakeServer, folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(unrolled, ["evaluate", str(folder), "--server", fake.target, *arguments])


def example(text: str, *wanted: int) -> bundle.Example:
    places = [ord(letter) - ord("a") for letter in text]
    return bundle.Example(inputs=bundle.Series(tokens=places), wanted=bundle.Series(tokens=wanted))


def sums(task: bundle.Task, **fields: Any) -> bundle.Manifest:
    return bundle.Manifest(name="sums", task=task, vocabulary=list("abc"), **fields)


def test_labels_of_sequences_are_right_or_wrong(fake: FakeServer, tmp_path: Path) -> None:
    items = [example("abc", 0), example("a", 1), example("ab", 0), example("b", 0)] * 20  # 3 is odd
    fake.models = [write(tmp_path, sums(bundle.TASK_CLASSIFY, output=EVEN_ODD), *items)]
    result = evaluate(fake, tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stdout == "accuracy 0.7500 over 80 labels of the bundle's 80 items (from: made-up items)\n"
    assert len(fake.requests) == 81
    line = "Through the server: **accuracy 0.7500** over 80 labels of the bundle's 80 items (from: made-up items)."
    assert (tmp_path / "README.md").read_text() == CARD.replace("\n## Use", f"\n{line}\n\n## Use")


def test_labels_of_inputs_count_each(fake: FakeServer, tmp_path: Path) -> None:
    items = [example("abc", 1, 1, 0), example("a", 0)]
    fake.models = [write(tmp_path, sums(bundle.TASK_TAG, output=EVEN_ODD), *items)]
    assert evaluate(fake, tmp_path).stdout.startswith("accuracy 0.7500 over 4 labels of the bundle's 2 items")
    (tmp_path / "examples.json").rename(tmp_path / "others.json")
    told = evaluate(fake, tmp_path, "--items", str(tmp_path / "others.json")).stdout
    assert told.startswith("accuracy 0.7500 over 4 labels of the file's 2 items")


def test_items_that_want_something_else_are_told(fake: FakeServer, tmp_path: Path) -> None:
    fake.models = [write(tmp_path, sums(bundle.TASK_TAG, output=EVEN_ODD), example("abc", 1, 1))]
    result = evaluate(fake, tmp_path)
    assert (result.exit_code, result.stderr) == (1, "error: the bundle gives 3 answers where its items want 2\n")


def test_numbers_have_a_squared_error(fake: FakeServer, tmp_path: Path) -> None:
    fake.sequences.gives_numbers = True
    pair = bundle.Port(modality=bundle.MODALITY_VECTOR, width=2)
    inputs = bundle.Series(vectors=vectors([1.0, 2.0], [0.5, 0.0]))
    item = bundle.Example(inputs=inputs, wanted=bundle.Series(vectors=vectors([3.5, 4.0])))
    manifest = bundle.Manifest(name="sums", task=bundle.TASK_CLASSIFY, input=pair, output=pair)
    fake.models = [write(tmp_path, manifest, item)]
    assert evaluate(fake, tmp_path).stdout.startswith("squared_error 2.0000 over 1 vectors of the bundle's 1 items")


def test_targets_are_right_in_every_token_or_wrong(fake: FakeServer, tmp_path: Path) -> None:
    manifest = bundle.Manifest(name="sums", task=bundle.TASK_TRANSDUCE, vocabulary=list("ABC"))
    manifest.encoder.vocabulary.extend("abc")
    items = [
        bundle.Example(source=bundle.Series(tokens=[0, 1, 2]), wanted=bundle.Series(tokens=wanted))
        for wanted in ([2, 1, 0], [2, 1, 1], [2, 1], [2, 1, 0])
    ]
    fake.models = [write(tmp_path, manifest, *items)]
    assert evaluate(fake, tmp_path).stdout.startswith("exact 0.5000 over 4 targets of the bundle's 4 items")
    assert {request.source.text for request in fake.requests[1:]} == {"abc"}


def test_written_vectors_have_an_absolute_error(fake: FakeServer, tmp_path: Path) -> None:
    pair = bundle.Port(modality=bundle.MODALITY_VECTOR, width=2)
    manifest = bundle.Manifest(name="sums", task=bundle.TASK_GENERATE, input=pair, output=pair)
    manifest.condition.port.CopyFrom(pair)
    item = bundle.Example(condition=[0.5, 0.25], wanted=bundle.Series(vectors=vectors([1.0, 0.0], [0.0, 0.0])))
    fake.models = [write(tmp_path, manifest, item)]
    piece = generation_pb2.Chunk(position=3, vectors=vectors([0.5, 0.5], [0.0, 0.25]))
    fake.script = [generation_pb2.GenerateResponse(chunk=piece), finish(generation_pb2.GenerateRequest(), 3)]
    assert evaluate(fake, tmp_path).stdout.startswith("absolute_error 0.3125 over 2 vectors of the bundle's 1 items")
    request = fake.requests[1]
    assert list(request.condition.vector.values) == [0.5, 0.25]
    assert (request.max_tokens, request.HasField("sampling")) == (0, False)


ROWS = st.lists(st.lists(st.floats(-4, 4, width=32), min_size=3, max_size=3), min_size=1, max_size=5)


@given(st.lists(st.tuples(ROWS, st.integers(0, 10**6)), min_size=1, max_size=4))
def test_figures_are_means_over_all_rows_of_all_items(items: list[tuple[list[list[float]], int]]) -> None:
    squared, absolute, right = [], [], []
    pairs = [(np.array(rows), np.random.default_rng(seed).normal(size=(len(rows), 3))) for rows, seed in items]
    for given_rows, wanted in pairs:
        series = bundle.Series(vectors=vectors(*wanted.tolist()))
        squared.append(grade_outputs([Output(values=tuple(row)) for row in given_rows.tolist()], series))
        absolute.append(grade_vectors([tuple(row) for row in given_rows.tolist()], series))
        outputs = [Output("x", tuple(row)) for row in given_rows.tolist()]
        right.append(grade_outputs(outputs, bundle.Series(tokens=wanted.argmax(axis=1).tolist())))
    differences = np.concatenate([given_rows - wanted.astype(np.float32) for given_rows, wanted in pairs])
    hits = np.concatenate([given_rows.argmax(axis=1) == wanted.argmax(axis=1) for given_rows, wanted in pairs])
    assert figure_of(squared).value == pytest.approx((differences**2).mean())
    assert figure_of(absolute).value == pytest.approx(np.abs(differences).mean())
    assert figure_of(right).value == pytest.approx(hits.mean())
    assert figure_of(right).count == len(hits)


def test_the_end_of_a_text_is_scored_in_one_call(fake: FakeServer, tmp_path: Path) -> None:
    fake.models = [write(tmp_path, sums(bundle.TASK_GENERATE))]
    text = tmp_path / "text"
    text.write_text("ab" * 50)
    result = evaluate(fake, tmp_path, "--text", str(text), "--share", "0.2")
    assert result.stdout == "nats_per_char 1.5000 over 2 characters, the last 20% of the text in one piece\n"
    assert fake.requests[1] == generation_pb2.ScoreRequest(model="sums", text="ab" * 10)
    text.write_text("ab")
    result = evaluate(fake, tmp_path, "--text", str(text))
    assert (result.exit_code, result.stderr) == (
        1,
        "error: 0.1 of 2 characters is less than the two that a score needs\n",
    )


def test_a_word_is_asked_for(fake: FakeServer, tmp_path: Path) -> None:
    fake.models = [write(tmp_path, bundle.Manifest(name="word", task=bundle.TASK_GENERATE, vocabulary=list("ehlo")))]
    fake.script = [chunk("ello", 5), finish(generation_pb2.GenerateRequest(), 5)]
    result = evaluate(fake, tmp_path)
    assert result.stdout == "exact 1.0000 over 1 prompt: 'h' is to be continued with 'ello'\n"
    assert (fake.requests[1].prompt, fake.requests[1].max_tokens) == ("h", 4)
    assert fake.requests[1].sampling == generation_pb2.Sampling(temperature=0)
    assert evaluate(fake, tmp_path, "--expect", "he=llo").stdout.startswith("exact 0.0000 over 1 prompt: 'he'")
    card = (tmp_path / "README.md").read_text()
    assert "**exact 0.0000**" in card
    assert card.count("Through the server") == 1
    assert evaluate(fake, tmp_path, "--expect", "he").exit_code == 2


def blot(row: str) -> str:
    return f"{row}\n" * 8


def test_drawings_are_shown_to_their_judge(fake: FakeServer, tmp_path: Path) -> None:
    names = bundle.Port(modality=bundle.MODALITY_LABEL, width=2, names=["even", "odd"])
    manifest = bundle.Manifest(name="draw", task=bundle.TASK_GENERATE, vocabulary=[*INKS, "\n"])
    manifest.condition.port.CopyFrom(names)
    manifest.evaluation.figures.add(name="recognised", value=0.5, count=40)
    drawer = write(tmp_path / "draw", manifest, bundle.Example(condition=[1, 0], wanted=bundle.Series(tokens=[8])))
    glimpses = bundle.Port(modality=bundle.MODALITY_VECTOR, width=16)
    judge = write(
        tmp_path / "judge", bundle.Manifest(name="sums", task=bundle.TASK_CLASSIFY, input=glimpses, output=EVEN_ODD)
    )
    fake.models = [drawer, judge]
    fake.script = [chunk(blot("@       "), 72), finish(generation_pb2.GenerateRequest(), 72)]
    result = evaluate(fake, tmp_path / "draw", "--judge", str(tmp_path / "judge"))
    assert result.exit_code == 0, result.output
    # A column of ink is in three of nine glimpses, four pixels each: 12, which is even.
    assert result.stdout == "recognised 0.5000 over 40 drawings at temperature 0.6, 20 a class, named by sums\n"
    asked = [each for each in fake.requests if isinstance(each, generation_pb2.GenerateRequest)]
    drawn = {(each.condition.label, each.seed, round(each.sampling.temperature, 3)) for each in asked}
    assert drawn == {(label, seed, 0.6) for label in ("even", "odd") for seed in range(1, 21)}
    result = evaluate(fake, tmp_path / "draw")
    assert result.stderr == ("error: draw is judged by whether its drawings are recognised: give --judge BUNDLE\n")
    result = evaluate(fake, tmp_path / "judge", "--judge", str(tmp_path / "judge"))
    assert "does not draw" in result.stderr


@given(st.lists(st.integers(0, 7), min_size=64, max_size=64))
def test_a_picture_is_looked_at_as_its_judge_was_taught(inks: list[int]) -> None:
    pixels = np.array(inks).reshape(8, 8)
    text = "".join("".join(INKS[ink] for ink in row) + "\n" for row in pixels)
    image = to_image(text, [*INKS, "\n"])
    assert np.allclose(image, pixels / 7)
    windows = np.lib.stride_tricks.sliding_window_view(pixels / 7, (4, 4))[::2, ::2].reshape(9, 16)
    assert np.allclose([*look(image, 16)], windows)
    assert np.allclose([*look(image, 64)], (pixels / 7).reshape(1, 64))
    with pytest.raises(ValueError, match="10"):
        next(look(image, 10))


def test_an_early_end_of_a_row_is_blank() -> None:
    assert to_image("@\n\n" + "@@\n", ["", "@", "\n"]) == [[1.0, 0.0], [1.0, 1.0]]


def test_another_bundle_of_the_same_name_is_not_measured(fake: FakeServer, tmp_path: Path) -> None:
    fake.models = [write(tmp_path, sums(bundle.TASK_CLASSIFY, output=EVEN_ODD), example("a", 1))]
    fake.models[0].sha256 = "0" * 64
    result = evaluate(fake, tmp_path)
    assert (result.exit_code, (tmp_path / "README.md").read_text()) == (1, CARD)
    assert result.stderr == f"error: the server's sums is another bundle than {tmp_path}\n"


def test_what_cannot_be_measured_says_why(fake: FakeServer, tmp_path: Path) -> None:
    fake.models = [write(tmp_path, sums(bundle.TASK_GENERATE))]
    assert "give --text FILE" in evaluate(fake, tmp_path).stderr
    (tmp_path / "examples.json").write_text(json.dumps({"surprise": 1}))
    assert "surprise" in evaluate(fake, tmp_path).stderr
    (tmp_path / "manifest.json").unlink()
    assert "No such file" in evaluate(fake, tmp_path).stderr


def test_the_card_keeps_one_line_a_figure(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.note("exact", "Through the server: **exact 1.0000** over 1.")
    folder.note("accuracy", "Through the server: **accuracy 0.5000** over 2.")
    folder.note("exact", "Through the server: **exact 0.0000** over 3.")
    lines = [line for line in (tmp_path / "README.md").read_text().splitlines() if line]
    assert lines == ["Through the server: **exact 0.0000** over 3.", "Through the server: **accuracy 0.5000** over 2."]


def test_the_card_is_left_alone_on_request(fake: FakeServer, tmp_path: Path) -> None:
    fake.models = [write(tmp_path, sums(bundle.TASK_CLASSIFY, output=EVEN_ODD), example("a", 1))]
    assert evaluate(fake, tmp_path, "--no-card").stdout.startswith("accuracy 1.0000 over 1 labels")
    assert (tmp_path / "README.md").read_text() == CARD
