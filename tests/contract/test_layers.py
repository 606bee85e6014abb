"""Who imports whom: the layers of the service, and the borders between the three programs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import unrolled_service

ROOT = Path(__file__).resolve().parents[2]
SERVICE = ROOT / "service" / "unrolled_service"
PROGRAMS = {
    "unrolled_client": ROOT / "clients" / "python" / "unrolled_client",
    "unrolled_export": ROOT / "export" / "unrolled_export",
    "unrolled_service": SERVICE,
}
# A module imports only from those above it; from `bridge` on, it is asyncio.
PACKAGES = (
    ("", "address settings configuration errors watched"),
    ("tenants", "allowance budget terms occupancy quotas"),
    ("snapshots", "keys envelope snapshot numerics"),
    (
        "graphs",
        "state sampling runtime nodes branches draws fusion parting flattening graph sequence_graph"
        " program sequence_program rehearsal",
    ),
    ("sessions", "arena history session residency holdings"),
    (
        "rows",
        "delivery finish slice trail row text_row sequence_row generation stops stream scoring reading drawing source",
    ),
    (
        "models",
        "vocabulary probe beginning shape limits operators inspection bundle_files contents golden assembly bundle"
        " trial abilities",
    ),
    ("lanes", "table line pace places scheduler lane text_lane sequence_lane"),
    ("", "registry lineup opening session_calls stream_calls engine tally metrics"),
    ("telemetry", "outlines calls logs traces access"),
    ("bridge", "outbox driver workers catalog completion"),
    ("storage", "gate store scripts redis_store custody keeper idempotency"),
    ("callers", "identity scopes tokens claims authentication certificates issuing"),
    (
        "rpc",
        "fields convert convert_sequences chunks status caller arrival guard preemption claim relay feeder generation"
        " sequence model session admin",
    ),
    ("", "http descriptors garbage server configuration_page cli __main__"),
)
LAYERS = tuple(
    layer
    for package, modules in PACKAGES
    for layer in ([package] if package else []) + [f"{package}.{name}".strip(".") for name in modules.split()]
)
SYNCHRONOUS = LAYERS[: LAYERS.index("tally")]
SHELL_ONLY = {"asyncio", "threading", "concurrent", "grpc", "grpc_health", "grpc_reflection", "google"}
STORED = {
    "models.bundle_files",
    "snapshots.envelope",
    "snapshots.snapshot",
}  # what they read and write are protobuf messages
OWNERS = {
    "jwt": {"callers.claims"},
    "onnxruntime": {"graphs.runtime"},
    "prometheus_client": {"metrics", "tally", "http"},
    "redis": {"storage.scripts"},
    "opentelemetry": {"telemetry.traces"},
}


def find_modules(folder: Path) -> dict[str, Path]:
    """Return the modules below a package's folder by their dotted names from there."""
    files = {path.relative_to(folder).with_suffix("").parts: path for path in sorted(folder.rglob("*.py"))}
    named = {(parts[:-1] if parts[-1] == "__init__" else parts): path for parts, path in files.items()}
    return {".".join(parts): path for parts, path in named.items()}


def find_imports(path: Path) -> Iterator[str]:
    """Yield what a module imports when it runs, also inside of functions: ``module`` and ``module.name``."""
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            todo.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        todo.extend(ast.iter_child_nodes(node))


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in find_imports(path)}


SERVICE_MODULES = find_modules(SERVICE)


def test_every_module_of_the_service_has_its_layer() -> None:
    assert {*SERVICE_MODULES} - {""} == {*LAYERS}


def test_the_packages_own_words_name_the_layers_in_this_order() -> None:
    last_words = [layer.rpartition(".")[2] for layer in LAYERS]
    named = re.findall(r"``(\w+)``", unrolled_service.__doc__ or "")
    places = [last_words.index(name) for name in named if name in last_words]
    assert places == sorted(places)
    assert {*places} >= {i for i, layer in enumerate(LAYERS) if not layer.startswith(("rpc.", "__"))}


@pytest.mark.parametrize("module", LAYERS)
def test_a_module_imports_only_from_above(module: str) -> None:
    own = "unrolled_service."
    imported = {name.removeprefix(own) for name in find_imports(SERVICE_MODULES[module]) if name.startswith(own)}
    above = {*LAYERS[: LAYERS.index(module)]}
    assert {name for name in imported if name in LAYERS} <= above


@pytest.mark.parametrize("module", SYNCHRONOUS)
def test_the_core_knows_neither_asyncio_nor_grpc_nor_threads(module: str) -> None:
    allowed = {"google"} if module in STORED else set()
    assert tops(SERVICE_MODULES[module]) & SHELL_ONLY <= allowed


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_has_its_owners(library: str) -> None:
    users = {name for name, path in SERVICE_MODULES.items() if library in tops(path)}
    assert users == OWNERS[library]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_never_import_each_other(program: str) -> None:
    for path in PROGRAMS[program].rglob("*.py"):
        assert not tops(path) & ({*PROGRAMS} - {program}), path


@pytest.mark.parametrize("program", ["unrolled_client", "unrolled_service"])
def test_only_the_exporter_knows_torch(program: str) -> None:
    for path in PROGRAMS[program].rglob("*.py"):
        assert not tops(path) & {"torch", "onnxscript"}, path
