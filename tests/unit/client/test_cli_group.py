import importlib.abc
import importlib.util
import subprocess
import sys
import types
from importlib.machinery import ModuleSpec
from importlib.metadata import version

import click
import pytest
from click.testing import CliRunner

from unrolled_client.cli.group import LazyGroup, unrolled
from unrolled_client.cli.verbs import PROGRAMS, VERBS, Verb

HEAVY = (
    "grpc",
    "google.protobuf",
    "numpy",
    "onnx",
    "onnxruntime",
    "rich",
    "torch",
    "unrolled_service",
    "unrolled_export",
)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_help_names_every_verb_and_loads_nothing_heavy() -> None:
    done = run_python(
        "import sys\nfrom unrolled_client.cli import main\n"
        "sys.argv = ['unrolled', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)"
    )
    assert done.stderr.strip() == "[]"
    for name, verb in VERBS.items():
        assert f"  {name} " in done.stdout
        assert verb.help in done.stdout


def test_version_is_the_distributions() -> None:
    result = CliRunner().invoke(unrolled, ["--version"])
    assert result.output == f"unrolled, version {version('unrolled')}\n"


def test_an_unknown_verb_is_a_usage_error() -> None:
    result = CliRunner().invoke(unrolled, ["sreve"])
    assert result.exit_code == 2
    assert "No such command" in result.output


def test_verbs_point_into_the_programs_and_name_real_extras() -> None:
    for verb in VERBS.values():
        assert verb.path.partition(".")[0] in PROGRAMS
        assert verb.extra in {"cli", "service", "export"}


@pytest.mark.parametrize(
    "verb",
    [
        "generate",
        "step",
        "classify",
        "transduce",
        "evaluate",
        "models",
        "sessions",
        "fork",
        "rewind",
        "snapshot",
        "restore",
    ],
)
def test_the_clients_verbs_load(verb: str) -> None:
    result = CliRunner().invoke(unrolled, [verb, "--help"])
    assert result.exit_code == 0
    assert "--server" in result.output


class Absent(importlib.abc.MetaPathFinder):
    """Makes one package look as if it was not installed."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname.partition(".")[0] == self._package:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [Absent("rich"), *sys.meta_path])
    for module in [name for name in sys.modules if name == "unrolled_client.cli.models" or name.startswith("rich")]:
        monkeypatch.delitem(sys.modules, module)
    result = CliRunner().invoke(unrolled, ["models"])
    assert result.exit_code == 1
    assert "unrolled models needs rich; install it with: pip install 'unrolled[cli]'" in result.output


def test_an_extra_that_is_missed_only_while_a_verb_runs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def needy() -> None:
        raise ModuleNotFoundError("No module named 'onnxruntime.capi'", name="onnxruntime.capi")

    module = types.ModuleType("needy_program")
    module.needy = needy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "needy_program", module)
    group = LazyGroup(verbs={"needy": Verb("needy_program:needy", "service", "Needs something.")})
    result = CliRunner().invoke(group, ["needy"])
    assert result.exit_code == 1
    assert "needs onnxruntime; install it with: pip install 'unrolled[service]'" in result.output


def test_a_missing_module_of_the_project_is_a_defect_and_not_an_extra() -> None:
    group = LazyGroup(verbs={"lost": Verb("unrolled_client.lost:lost", "service", "Is not there.")})
    result = CliRunner().invoke(group, ["lost"])
    assert isinstance(result.exception, ModuleNotFoundError)


def test_without_click_the_command_says_how_to_get_it() -> None:
    done = run_python(
        "import sys\nsys.modules['click'] = None\nfrom unrolled_client.cli import main\nsys.exit(main())",
    )
    assert done.returncode == 1
    assert done.stderr == "error: the command line needs click; install it with: pip install 'unrolled[cli]'\n"
