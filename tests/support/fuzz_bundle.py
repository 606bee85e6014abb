"""Flips single bits of a good bundle of the alphabet cell and loads what comes out. Run in a process of its own.

Usage: fuzz_bundle FOLDER SEED SECONDS

Prints how many were refused, and how many loaded and gave the tokens of the good one, as far as its golden run reaches;
each of the others is a line on standard error, and ends the process with status 1.
"""

import random
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.alphabet import GOLDEN_STEPS
from tests.support.malice import rewrite
from unrolled_service.errors import BundleError
from unrolled_service.graphs.program import NOT_FORCED, Batch, Program
from unrolled_service.models.bundle import Bundle, load_bundle


def flip(content: bytes, chance: random.Random) -> bytes:
    """Return the content with one bit another."""
    flipped = bytearray(content)
    flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def play(bundle: Bundle) -> NDArray[np.int64]:
    """Return what it generates greedily from each of its tokens, and drawn from the first one, int64[K, V + 1]."""
    assert isinstance(bundle.program, Program)
    size = len(bundle.vocabulary)
    forced = np.full((GOLDEN_STEPS, size + 1), NOT_FORCED, np.int64)
    forced[0] = [*range(size), 0]
    batch = Batch(
        token=np.zeros(size + 1, np.int64),
        forced=forced,
        position=np.ones(size + 1, np.int64),
        seed=np.zeros(size + 1, np.uint64),
        temperature=np.array([[0.0]] * size + [[1.0]], np.float32),
    )
    return bundle.program.run(batch, np.tile(bundle.program.initial, (size + 1, 1))).tokens


def main(folder: Path, seed: int, seconds: float) -> None:
    """Load bundles that differ in one bit: half of them with the sha256 of what they hold, so that it gets further."""
    chance, ends, others = random.Random(seed), Counter[str](), []
    wanted = play(load_bundle(folder))
    good = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for name, whole in good.items():
            for is_listed in (False, True):
                for each, content in good.items():
                    (folder / each).write_bytes(content)
                content = flip(whole, chance)
                if is_listed and name != "manifest.json":
                    rewrite(folder, name, content)
                else:
                    (folder / name).write_bytes(content)
                try:
                    given = play(load_bundle(folder))
                except BundleError:
                    ends["refused"] += 1
                    continue
                ends["exact"] += 1
                if not np.array_equal(given, wanted) or (name != "manifest.json" and not is_listed):
                    others.append(f"{name}, listed {is_listed}: {content!r}")
    if others:
        sys.exit("\n".join(others))
    print(ends["refused"], ends["exact"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
