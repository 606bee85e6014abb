"""Recipes: what they teach is right, and how they are named on the command line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from unrolled_export.cli import recipes
from unrolled_export.course import prepare_lesson, read_course
from unrolled_export.lesson import Settings
from unrolled_export.recipes import RECIPES, adding, addition, circles, dates, digits_draw, digits_glimpses, reverse
from unrolled_export.recipes.tagger import NAMES, tag

Train = Callable[..., Result]


def test_every_recipe_is_listed() -> None:
    result = CliRunner().invoke(recipes, [], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for name, recipe in RECIPES.items():
        assert name in result.output
        assert recipe.goal in result.output


@pytest.mark.parametrize("recipe", [name for name, recipe in RECIPES.items() if recipe.module])
def test_seed_decides_everything(recipe: str) -> None:
    def make(seed: int) -> list[torch.Tensor]:
        lesson = prepare_lesson(recipe, Settings(seed=seed, hidden=4))
        torch.manual_seed(seed)
        return [*lesson.model.state_dict().values(), lesson.draw(3).inputs, lesson.validation.inputs]

    first, again, other = make(1), make(1), make(2)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("make", [reverse.make_pair, addition.make_pair, dates.make_pair])
def test_held_out_sources_are_never_drawn(make: Callable[[np.random.Generator], tuple[str, str]]) -> None:
    name = make.__module__.rsplit(".", 1)[-1]
    lesson = prepare_lesson(name, Settings(hidden=4))
    apart = {tuple(example.source.tokens) for example in lesson.examples.examples}
    assert len(apart) == 1000
    batch = lesson.draw(500)
    assert batch.source is not None
    assert batch.lengths is not None
    drawn = {tuple(batch.source[:length, row].tolist()) for row, length in enumerate(batch.lengths.tolist())}
    assert not drawn & apart


def test_pairs_are_right() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        word, turned = reverse.make_pair(generator)
        assert turned[::-1] == word
        terms, total = addition.make_pair(generator)
        assert sum(map(int, terms.split("+"))) == int(total)
        spelled, written = dates.make_pair(generator)
        day = date.fromisoformat(written)
        assert str(day.year) in spelled
        assert str(day.day) in spelled


def test_tags_know_case_and_beginnings() -> None:
    assert [NAMES[place] for place in tag("Ab, 7e")] == [
        "vowel, upper case, starts a word",
        "consonant, lower case",
        "mark",
        "space",
        "digit",
        "vowel, lower case",
    ]


def test_adding_problem_asks_for_the_sum_of_the_marked() -> None:
    series, sums = adding.draw_series(50, 20, torch.Generator().manual_seed(0))
    assert torch.equal(series[:, :, 1].sum(dim=0), torch.full((50,), 2.0))
    torch.testing.assert_close((series[:, :, 0] * series[:, :, 1]).sum(dim=0), sums)


def test_circle_is_painted_in_quadrants() -> None:
    quadrants = circles.paint(torch.tensor([[-0.5, -0.5, 0.4]]))
    assert quadrants.shape == (4, 1, 64)
    masses = quadrants.sum(dim=2)[:, 0]
    assert masses.argmax() == 0
    assert masses[3] < 0.01


def test_digits_are_written_in_characters_and_read_again() -> None:
    inks = len(digits_draw.INKS) - 1
    images = torch.arange(64.0).remainder(inks + 1).view(1, 8, 8) / inks
    tokens = digits_draw.to_tokens(images)
    text = "".join(digits_draw.VOCABULARY[token] for token in tokens[:, 0].tolist())
    assert text.splitlines()[0] == digits_draw.INKS
    torch.testing.assert_close(digits_draw.to_images(tokens), images)


def test_glimpses_go_from_left_to_right_and_down() -> None:
    glimpses = digits_glimpses.look(torch.arange(64.0).view(1, 8, 8))
    assert glimpses.shape == (9, 1, 16)
    assert glimpses[:, 0, 0].tolist() == [0, 2, 4, 16, 18, 20, 32, 34, 36]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tagger", "--dropout", "0.5"], ["dropout does not go with the recipe tagger"]),
        (["tagger", __file__], ["textfile does not go with the recipe tagger"]),
        (["nothing", "book.txt"], ["'nothing' is not a recipe"]),
        (["./tagger"], ["./tagger", "does not exist"]),
        (["shakespeare"], ["either TEXTFILE or --text"]),
        (["hello", "--rounds", "3"], ["--rounds goes with a recipe"]),
    ],
)
def test_mistake_on_the_command_line_is_told(
    words: list[str], told: list[str], tmp_path: Path, invoke_train: Train
) -> None:
    result = invoke_train(*words, "-o", tmp_path / "run")
    assert result.exit_code == 2
    message = " ".join(result.output.split())
    assert all(word in message for word in told), message
    assert not (tmp_path / "run").exists()


def test_recipes_on_texts_are_the_texts_own_training(tmp_path: Path, invoke_train: Train, text_file: Path) -> None:
    assert invoke_train("hello", "-o", tmp_path / "hello", "--epochs", "2").exit_code == 0
    small = ("--hidden", "8", "--epochs", "1", "--streams", "2", "--chunk", "20", "--precision", "fp32")
    result = invoke_train("shakespeare", text_file, "-o", tmp_path / "verse", *small)
    assert result.exit_code == 0, result.output
    assert read_course(tmp_path / "verse") is None


def test_run_is_not_overwritten(tmp_path: Path, invoke_train: Train) -> None:
    words = ("one-to-one", "-o", tmp_path / "run", "--rounds", "1", "--hidden", "4")
    result = invoke_train(*words)
    assert result.exit_code == 0, result.output
    assert "held out: accuracy" in result.output
    course = read_course(tmp_path / "run")
    assert course is not None
    assert course.command == "unrolled train one-to-one -o run --hidden 4 --rounds 1"
    result = invoke_train(*words)
    assert result.exit_code == 1
    assert "already holds a run" in result.output
