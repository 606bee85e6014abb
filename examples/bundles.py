"""Make the small bundles that ship with the server again, or as many of them as are named.

Each is trained by a recipe into `build/runs/NAME`, exported and verified. A run that is there is continued: remove
its folder to begin anew.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNROLLED = Path(sys.executable).with_name("unrolled")
BUNDLES = ROOT / "service" / "unrolled_service" / "bundles"
RUNS = ROOT / "build" / "runs"


# Held-out items that go with each; hello has none.
SMALL = {
    "hello": 0,
    "digits-glimpses": 20,
    "digits-draw": 10,
    "circles-quadrants": 10,
    "tagger": 20,
    "dates": 50,
    "adding-problem": 4,
    "one-to-one": 20,
}


def main(names: list[str]) -> None:
    """Train, export and verify; the first failure ends it."""
    for name in names or SMALL:
        examples, run, bundle = SMALL[name], RUNS / name, BUNDLES / name
        call("train", name, "-o", run, "--threads", 1, "--resume")
        items = ("--examples", examples) if examples else ()
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
