"""Flips single bits of a good bundle and loads what comes out; prints how it went. Run in a process of its own.

Usage: fuzz_bundle FOLDER SEED SECONDS
"""

import random
import sys
import time
from collections import Counter
from pathlib import Path

from tests.support.malice import rewrite
from unrolled_service.errors import BundleError
from unrolled_service.models.bundle import load_bundle


def flip(content: bytes, chance: random.Random) -> bytes:
    """Return the content with one bit another."""
    flipped = bytearray(content)
    flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def main(folder: Path, seed: int, seconds: float) -> None:
    """Load bundles that differ in one bit: half of them with the sha256 of what they hold, so that it gets further."""
    chance, ends = random.Random(seed), Counter[str]()
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
                    load_bundle(folder)
                except BundleError:
                    ends["refused"] += 1
                else:
                    ends["exact"] += 1
    print(ends["refused"], ends["exact"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
