"""What the documents tell people to type exists; tests/system runs their Python."""

import re
from pathlib import Path

import click
import pytest

from tests.contract.documents import ROOT, Block, find_blocks, find_commands
from unrolled_client.cli.group import unrolled
from unrolled_service.settings import Settings

BLOCKS = find_blocks()
COMMANDS = [
    pytest.param(words, id=f"{block.place} {' '.join(words)}")
    for block in BLOCKS
    if block.language in {"console", "sh"}
    for words in find_commands(block)
]
TARGETS = {*re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)}
OTHERS = {"UNROLLED_SERVER", "UNROLLED_TOKEN", "UNROLLED_CONFIG", "UNROLLED_ADMIN_SERVER"}
VARIABLES = {*(f"UNROLLED_{name.upper()}" for name in Settings.model_fields), *OTHERS}


def check_command(words: list[str]) -> None:
    """Raise where a command names a verb, a flag, a target or a variable that there is not."""
    while words and (match := re.fullmatch(r"([A-Z_]+)=.*", words[0])):
        assert match[1] in VARIABLES or not match[1].startswith("UNROLLED_"), f"no variable {match[1]}"
        words = words[1:]
    match [Path(words[0]).name if words else "", *words[1:]]:
        case ["make", *targets]:
            named = {target for target in targets if "=" not in target}
            assert named <= TARGETS, f"no target {named - TARGETS}"
        case ["unrolled", *arguments]:
            check_unrolled(arguments)


def check_unrolled(arguments: list[str]) -> None:
    command: click.Command = unrolled
    context = click.Context(unrolled, info_name="unrolled")
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        verb, *arguments = arguments
        found = command.get_command(context, verb)
        assert found is not None, f"no verb {verb}"
        command, context = found, click.Context(found, info_name=verb, parent=context)
    check_flags(command, context, arguments)


def check_flags(command: click.Command, context: click.Context, arguments: list[str]) -> None:
    """Parse without converting values: files that the example names need not exist."""
    _, left, _ = command.make_parser(context).parse_args(list(arguments))
    assert not left, f"nobody takes {left}"


def test_the_readme_shows_commands_and_python() -> None:
    languages = {block.language for block in BLOCKS if block.place.startswith("README.md")}
    assert "python" in languages
    assert languages & {"console", "sh"}


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_exists(words: list[str]) -> None:
    check_command(words)


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == "python"], ids=lambda each: each.place)
def test_a_python_block_compiles(block: Block) -> None:
    compile(block.body, block.place, "exec")


@pytest.mark.parametrize(
    "line",
    [
        "unrolled generate 'First' --max-tokens 40 --seed 7 | head -c 10",
        "UNROLLED_MAX_ROWS=8 .venv/bin/unrolled serve --bundle a --bundle b &",
        "unrolled --help",
        "make test",
    ],
)
def test_a_true_command_passes(line: str) -> None:
    for words in find_commands(Block("here", ("console",), f"$ {line}\noutput, unrolled nothing")):
        check_command(words)


@pytest.mark.parametrize(
    "line",
    [
        "unrolled generate 'First' --max-token-count 40",
        "unrolled dance",
        "unrolled admin dance",
        "unrolled admin load book --gracious",
        "unrolled inspect dances runs/hello",
        "unrolled inspect gradients runs/hello --lags 7",
        "UNROLLED_ROWS=8 unrolled serve",
        "cd unrolled && make coffee",
    ],
)
def test_a_false_command_is_found(line: str) -> None:
    with pytest.raises((AssertionError, click.ClickException)):
        for words in find_commands(Block("here", ("sh",), line)):
            check_command(words)
