"""Make the small bundles that ship with the server again, or as many of them as are named.

Each is trained by a recipe into `build/runs/NAME`, exported and verified. A run that is there is continued: remove
its folder to begin anew.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNROLLED = Path(sys.executable).with_name("unrolled")
BUNDLES = ROOT / "service" / "unrolled_service" / "bundles"
RUNS = ROOT / "build" / "runs"


@dataclass(frozen=True)
class Small:
    """A recipe made small: the options of its training, and how many held-out items go with it."""

    options: tuple[str, ...] = ()
    examples: int = 0


SMALL = {
    "hello": Small(),
    "digits-glimpses": Small(("--hidden", "48"), 20),
    "digits-draw": Small(("--hidden", "80"), 10),
    "circles-quadrants": Small(("--hidden", "40"), 10),
    "tagger": Small(("--hidden", "32"), 20),
    "dates": Small(("--hidden", "64"), 50),
    "adding-problem": Small(("--hidden", "24"), 4),
    "one-to-one": Small(("--hidden", "64"), 20),
}


def main(names: list[str]) -> None:
    """Train, export and verify; the first failure ends it."""
    for name in names or SMALL:
        small, run, bundle = SMALL[name], RUNS / name, BUNDLES / name
        call("train", name, "-o", run, *small.options, "--threads", 1, "--resume")
        items = ("--examples", small.examples) if small.examples else ()
        call("export", run, "-o", bundle, "--license", "Apache-2.0", *items, "--force")
        call("verify", bundle)


def call(*words: object) -> None:
    """Run `unrolled`."""
    subprocess.run([UNROLLED, *map(str, words)], check=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except subprocess.CalledProcessError as failed:
        sys.exit(failed.returncode)
    except KeyError as unknown:
        sys.exit(f"{unknown} is none of {', '.join(SMALL)}")
