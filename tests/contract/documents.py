"""The fenced blocks of README.md and docs/, by what they are for."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=indent)```\s*$", re.M | re.S)
_ENDS = {"|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "2>&1"}


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        place: file and line, for people.
        words: its info string, for instance ``("python", "no-run")``.
        body: what it says, without the fence's indentation.
    """

    place: str
    words: tuple[str, ...]
    body: str

    @property
    def language(self) -> str:
        """Its first word, or nothing."""
        return self.words[0] if self.words else ""


def find_blocks() -> list[Block]:
    """Return the blocks of README.md and of everything below docs/."""
    found = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = path.read_text()
        for match in _FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            body = re.sub(rf"^{match['indent']}", "", match["body"], flags=re.M)
            place = f"{path.relative_to(ROOT)}:{line}"
            found.append(Block(place, tuple(match["info"].split()), body))
    return found


def find_commands(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command of a ``console`` or ``sh`` block, without what is piped or redirected.

    In a ``console`` block a command begins with ``$``; the rest is output.
    """
    for line in block.body.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            text = line[2:]
        elif block.language == "sh":
            text = line
        else:
            continue
        lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in _ENDS:
                words.append(word)
                continue
            if words:
                yield words
            words = []


def find_runs(block: Block) -> Iterator[tuple[list[str], str]]:
    """Yield the words of each command of a ``console`` block with the output that is shown after it."""
    for part in re.split(r"^\$ ", block.body.replace("\\\n", " "), flags=re.M)[1:]:
        command, _, shown = part.partition("\n")
        yield shlex.split(command), shown
