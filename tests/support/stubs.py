"""Generates the checked-in protobuf stubs; ``make proto`` runs this file.

The generator is pinned and lives in an environment of its own, build/proto-venv: stubs must load with the
oldest protobuf that the package allows, and the generator does not go together with the newest.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
ENVIRONMENT = ROOT / "build" / "proto-venv"
REQUIREMENTS = ("grpcio-tools==1.62.3", "setuptools<80")
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


class GeneratorMissing(Exception):
    """The generator's environment could not be built; the message says why."""


def make_generator() -> Path:
    """Return the Python of the generator's environment, which is built if it is not there.

    Raises:
        GeneratorMissing: it could not be built.
    """
    python = ENVIRONMENT / "bin" / "python"
    done = ENVIRONMENT / "requirements"
    if done.exists() and done.read_text().split() == list(REQUIREMENTS):
        return python
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
    for command in ([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], install):
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if result.returncode:
            raise GeneratorMissing(f"the stubs' generator cannot be installed: {result.stderr.strip()[-500:]}")
    done.write_text("\n".join(REQUIREMENTS))
    return python


def generate_stubs(folder: Path) -> None:
    """Write the stubs of every .proto file below a folder, at the path of its package.

    Raises:
        GeneratorMissing: the generator's environment could not be built.
        subprocess.CalledProcessError: the generator refused a file.
    """
    outputs = [f"--{kind}={folder}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    command = [str(make_generator()), "-m", "grpc_tools.protoc", "-I", ".", *outputs, *files]
    subprocess.run(command, cwd=PROTO, stdin=subprocess.DEVNULL, check=True)


def find_stubs(folder: Path) -> dict[Path, bytes]:
    """Return the content of every stub below a folder, by its path from there."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.name.endswith(SUFFIXES)}


if __name__ == "__main__":
    generate_stubs(PROTO)
