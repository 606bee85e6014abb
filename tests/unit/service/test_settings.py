from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from tests.support.alphabet import write_bundle
from unrolled_service.cli import serve
from unrolled_service.settings import Settings, shipped_bundle, split_address


def test_a_flag_wins_over_the_environment_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().max_rows == 256
    monkeypatch.setenv("UNROLLED_MAX_ROWS", "12")
    monkeypatch.setenv("UNROLLED_BUNDLE", "a:b")
    assert Settings().max_rows == 12
    assert Settings().bundle == (Path("a"), Path("b"))
    assert Settings(max_rows=7).max_rows == 7


def test_a_shipped_bundle_has_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(bundle=(Path("shakespeare"),)).bundle == (shipped_bundle(),)
    assert Settings(bundle=(Path("./a/shakespeare"),)).bundle == (Path("a/shakespeare"),)
    (tmp_path / "shakespeare").mkdir()
    assert Settings(bundle=(Path("shakespeare"),)).bundle == (Path("shakespeare"),)


def test_unknown_and_impossible_settings_are_refused() -> None:
    for values in ({"max_row": 3}, {"max_rows": 0}, {"slice_ms": float("nan")}, {"credit": "many"}):
        with pytest.raises(ValidationError):
            Settings(**values)


@pytest.mark.parametrize("address", ["", "host", ":1", "host:", "host:x", "host:65536"])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        split_address(address)


def test_every_setting_is_a_flag_with_help() -> None:
    text = CliRunner().invoke(serve, ["--help"], terminal_width=200).output

    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert field.description


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-rows", "0"], "max_rows (--max-rows): must be greater than or equal to 1"),
        (["--bundle", "/nowhere"], "/nowhere/manifest.json: No such file or directory"),
        (["--listen", "nonsense"], "listen (--listen): 'nonsense' is not HOST:PORT"),
    ],
)
def test_a_server_that_cannot_start_says_why(arguments: list[str], message: str, tmp_path: Path) -> None:
    bundle = ["--bundle", str(write_bundle(tmp_path / "alphabet"))] if "--bundle" not in arguments else []
    result = CliRunner().invoke(serve, [*bundle, *arguments])

    assert result.exit_code == 1
    assert result.output == f"Error: {message}\n"


def test_two_bundles_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = str(write_bundle(tmp_path / "alphabet"))

    result = CliRunner().invoke(serve, ["--bundle", folder, "--bundle", folder])

    assert result.output == f"Error: {folder}: a bundle named 'alphabet' was given before\n"
