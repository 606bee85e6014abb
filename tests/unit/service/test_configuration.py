import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from unrolled_service import cli
from unrolled_service.cli import serve
from unrolled_service.configuration import (
    Configuration,
    ConfigurationError,
    read_configuration,
    read_file,
)
from unrolled_service.configuration_page import mask, tabulate, write_toml
from unrolled_service.settings import GROUPS, Settings

FILE = """
max_rows = 1
max_steps = 1
slice_ms = 5
bundle = ["a", "b"]
"""


@pytest.fixture
def nobody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a bundle was loaded")

    monkeypatch.setattr(cli, "admit_bundle", refuse)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "unrolled.toml"
    path.write_text(FILE)
    return path


def refuse(file: Path | None = None, **flags: object) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        read_configuration(flags, file)
    return str(refusal.value)


def choose_values(name: str) -> list[Any]:
    """Return three values that a setting may have while each of the others has its first."""
    field = Settings.model_fields[name]
    if field.annotation is bool:
        return [False, True, False]
    if get_origin(field.annotation) is Literal:
        return [*get_args(field.annotation)][:3]
    if field.annotation in (int, float, int | None, float | None):
        return [(field.get_default(call_default_factory=True) or 0) + more for more in (1, 2, 3)]
    if name == "bundle":
        return [["a"], ["b"], ["c"]]
    before = "127.0.0.1:" if name.endswith("listen") else "http://h:" if name == "otlp_endpoint" else "v"
    return [f"{before}{number}" for number in (1, 2, 3)]


def print_setting(name: str, *flags: str) -> tuple[Any, str]:
    """Return what a command line says that a setting is, and where it comes from."""
    result = CliRunner().invoke(serve, ["--print-config", *flags])
    assert result.exit_code == 0, result.output
    (line,) = (line for line in result.output.splitlines() if re.match(rf"(# )?{name} +=", line))
    return tomllib.loads(line).get(name), line.rpartition("# ")[2]


@pytest.mark.usefixtures("nobody_serves")
@pytest.mark.parametrize("name", Settings.model_fields)
def test_flag_wins_over_environment_over_file_over_default(
    name: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_file, in_environment, in_flag = choose_values(name)
    file.write_text("".join(f"{each} = {json.dumps(choose_values(each)[0])}\n" for each in Settings.model_fields))
    variable, flag = f"UNROLLED_{name.upper()}", f"--{'no-' * (in_flag is False)}{name.replace('_', '-')}"
    words = [flag] if in_flag is False else [flag, *in_flag] if name == "bundle" else [flag, str(in_flag)]

    assert print_setting(name)[1] == "default"
    assert print_setting(name, "--config", str(file)) == (in_file, str(file))
    monkeypatch.setenv(variable, in_environment[0] if name == "bundle" else str(in_environment))
    assert print_setting(name, "--config", str(file)) == (in_environment, variable)
    assert print_setting(name, "--config", str(file), *words) == (in_flag, flag)


@pytest.mark.parametrize("name", [name for name, field in Settings.model_fields.items() if field.annotation is bool])
def test_a_flag_says_yes_or_no(name: str) -> None:
    flag = name.replace("_", "-")
    assert print_setting(name, f"--{flag}") == (True, f"--{flag}")
    assert print_setting(name, f"--no-{flag}") == (False, f"--no-{flag}")


def test_a_refusal_names_setting_source_and_limit(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refuse(max_rows=4097) == "max_rows (--max-rows): must be less than or equal to 4096"
    file.write_text("credit = 0\nslice_ms = nan")
    assert refuse(file) == (
        f"slice_ms ({file}): must be less than or equal to 1000; credit ({file}): must be greater than or equal to 1"
    )
    monkeypatch.setenv("UNROLLED_LOG_LEVEL", "loud")
    assert refuse() == "log_level (UNROLLED_LOG_LEVEL): must be 'debug', 'info', 'warning' or 'error'"
    monkeypatch.delenv("UNROLLED_LOG_LEVEL")
    assert refuse(store="redis://:hunter2@h").startswith("store (--store): store needs snapshot_keys")
    assert "hunter2" not in refuse(store="redis://:hunter2@h")
    assert refuse(bundle="a:" + "é" * 128) == "bundle (--bundle): a name has at most 255 bytes, not 256"
    assert refuse(bundle="aa/" * 1366) == "bundle (--bundle): a path has at most 4095 bytes, not 4097"
    assert refuse(otlp_endpoint="h:4317") == "otlp_endpoint (--otlp-endpoint): must begin with http:// or https://"


@pytest.mark.parametrize(
    ("variable", "nearest"), [("UNROLLED_MAX_ROW", "UNROLLED_MAX_ROWS"), ("unrolled_listn", "UNROLLED_LISTEN")]
)
def test_a_variable_that_is_no_setting_is_refused(variable: str, nearest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "3")
    assert refuse() == f"{variable.upper()} in the environment is no setting; the nearest is {nearest}"


@pytest.mark.parametrize(
    "variable",
    [
        "UNROLLED_SERVER",
        "UNROLLED_CONFIG",
        "UNROLLED_REQUIRE_PROGRAMS",
        "UNROLLED_SERVICE_HOST",
        "UNROLLED_SERVICE_PORT",
        "UNROLLED_SERVICE_PORT_GRPC",
        "UNROLLED_PORT",
        "UNROLLED_PORT_50051_TCP_ADDR",
        "UNROLL_MAX_ROW",
    ],
)
def test_the_variables_of_others_are_let_be(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "tcp://10.0.0.1:50051")
    assert read_configuration({}).settings == Settings()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"max_row = 1", "max_row in {} is no setting; the nearest is max_rows"),
        (b"[engine]\nmax_rows = 1", "engine in {} is no setting; the nearest is engine_threads"),
        (b"max_rows = ", "{}: is not TOML: Invalid value (at end of document)"),
        (b"a = '\xff'", "{}: is not TOML: 'utf-8' codec can't decode byte 0xff in position 5: invalid start byte"),
        (b"#" * (1 << 20) + b"\n", "{}: must have at most 1048576 bytes"),
    ],
)
def test_a_file_that_says_what_it_may_not_is_refused(content: bytes, words: str, file: Path) -> None:
    file.write_bytes(content)
    assert refuse(file) == words.format(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refuse(tmp_path / "none.toml") == f"{tmp_path / 'none.toml'}: No such file or directory"


@pytest.mark.usefixtures("nobody_serves")
def test_the_environment_names_a_file_and_the_flag_another(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLLED_CONFIG", str(file))
    other = file.with_name("other.toml")
    other.write_text("max_rows = 9")

    assert tomllib.loads(CliRunner().invoke(serve, ["--print-config"]).output)["max_rows"] == 1
    flag = ["--print-config", "--config", str(other)]
    assert tomllib.loads(CliRunner().invoke(serve, flag).output)["max_rows"] == 9


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bundle": st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=63), min_size=1
    ),
    "max_rows": st.integers(1, 4096),
    "slice_ms": st.floats(1e-300, 1000),
    "snapshot_keys": st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    "log_level": st.sampled_from(["debug", "error"]),
    "listen": st.sampled_from(["[::1]:0", "127.0.0.1:1"]),
}


@given(values=st.fixed_dictionaries(VALUES))
@settings(max_examples=30, deadline=None)
def test_what_is_printed_is_a_configuration_that_says_the_same(values: dict[str, Any], tmp_path_factory: Any) -> None:
    chosen = read_configuration(values).settings
    file = tmp_path_factory.getbasetemp() / "printed.toml"
    file.write_text(write_toml(read_configuration(values)), newline="")

    assert read_configuration({}, file).settings == chosen


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:hunter2@h", "redis://***@h"),
        ("redis://u:hun@ter2@h/0?password=hunter2&x=y", "redis://***@h/0?password=***&x=***"),
        ("127.0.0.1:1", "127.0.0.1:1"),
    ],
)
def test_secrets_of_urls_are_masked(url: str, masked: str) -> None:
    assert mask(url) == masked


def test_nothing_printed_has_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    secret = "redis://:hunter2@h"
    read = read_configuration({"store": secret, "snapshot_keys": "k", "otlp_endpoint": "http://u:hunter2@h"})
    text = write_toml(read)
    Console(width=200).print(tabulate(read))
    table = capsys.readouterr().out

    assert "hunter2" not in text + table
    assert "***" in text
    assert "***" in table
    assert not {"store", "otlp_endpoint"} & tomllib.loads(text).keys()


def test_every_setting_is_printed_with_its_origin() -> None:
    read = read_configuration({"max_rows": 3})
    lines = write_toml(read).splitlines()

    for name in Settings.model_fields:
        (line,) = (line for line in lines if line.lstrip("# ").startswith(f"{name} ") and "=" in line)
        assert line.endswith(f"# {read.origins[name]}")
    assert [line[2:] for line in lines if line.startswith("# ") and "=" not in line] == [*GROUPS]


def test_a_person_gets_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    cli._print(Configuration(Settings(listen="[::1]:7"), dict.fromkeys(Settings.model_fields, "default")))
    words = click.unstyle(capsys.readouterr().out).split()
    assert words[:3] == ["setting", "value", "from"]
    assert "[::1]:7" in words


def test_the_file_has_no_more_than_names() -> None:
    assert read_file(Path("/dev/null")) == {}


def test_help_has_every_flag_under_its_heading() -> None:
    text = CliRunner().invoke(serve, ["--help"], terminal_width=200).output
    sections = {part.partition(":\n")[0]: part for part in text.split("\n\n")}
    for heading, names in GROUPS.items():
        for name in names:
            assert f"--{name.replace('_', '-')} " in sections[heading]
    for flag in ("--config", "--print-config", "--help"):
        assert flag in sections["Other"]
