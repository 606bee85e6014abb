from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from tests.support.alphabet import write_bundle
from unrolled_service.cli import serve
from unrolled_service.settings import Settings, shipped_bundle


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


PAIR: dict[str, object] = {"tls_cert": Path("cert"), "tls_key": Path("key")}
TOKENS: dict[str, object] = {"auth_tokens": Path("tokens")}
ISSUER: dict[str, object] = {"jwt_keys": Path("keys"), "jwt_issuer": "i", "jwt_audience": "a"}
CLIENTS: dict[str, object] = {"tls_client_ca": Path("ca")}


@pytest.mark.parametrize("name", ["listen", "metrics_listen"])
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.0.0.1", "example.com"])
def test_what_others_can_reach_needs_tls_and_authentication(name: str, host: str) -> None:
    address = {name: f"{host}:1"}
    for given, missing in (
        ({}, "tls_cert and tls_key, and one of auth_tokens, jwt_keys and tls_client_ca;"),
        (TOKENS, "needs tls_cert and tls_key;"),
        (ISSUER, "needs tls_cert and tls_key;"),
        (PAIR, "needs one of auth_tokens, jwt_keys and tls_client_ca;"),
    ):
        with pytest.raises(ValidationError, match=f"{name} is .*which other machines can reach: that .*{missing}"):
            Settings(**address, **given)  # type: ignore[arg-type]
    insecure: dict[str, object] = {"insecure": True}
    for given in (insecure, PAIR | TOKENS, PAIR | ISSUER, PAIR | CLIENTS, PAIR | TOKENS | ISSUER | CLIENTS):
        Settings(**address, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_what_is_this_machines_needs_nothing(host: str) -> None:
    for given in ({}, PAIR, TOKENS, ISSUER):
        Settings(listen=f"{host}:1", metrics_listen=f"{host}:2", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"tls_cert": Path("cert")}, "tls_cert and tls_key need each other"),
        ({"tls_key": Path("key")}, "tls_cert and tls_key need each other"),
        (CLIENTS, "tls_client_ca needs tls_cert"),
        (ISSUER | {"jwt_audience": None}, "jwt_keys, jwt_issuer and jwt_audience need each other"),
        (ISSUER | {"jwt_issuer": ""}, "at least 1 character"),
        ({"jwt_issuer": "i"}, "jwt_keys, jwt_issuer and jwt_audience need each other"),
        (ISSUER | {"jwt_leeway_s": 301}, "less than or equal to 300"),
        (ISSUER | {"jwt_tenant_claim": ""}, "at least 1 character"),
    ],
)
def test_half_of_an_access_is_refused(given: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Settings(**given)  # type: ignore[arg-type]


def test_a_server_that_others_could_reach_does_not_start_and_says_why() -> None:
    result = CliRunner().invoke(serve, ["--listen", "0.0.0.0:0"])
    assert result.exit_code == 1
    assert "listen is 0.0.0.0:0, which other machines can reach: that needs tls_cert and tls_key" in result.output


def test_a_file_of_access_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    bundle = ["--bundle", str(write_bundle(tmp_path / "alphabet")), "--listen", "127.0.0.1:0"]
    missing = str(tmp_path / "nowhere")
    for flags in (
        ["--auth-tokens", missing],
        ["--tls-cert", missing, "--tls-key", missing],
        ["--jwt-keys", missing, "--jwt-issuer", "i", "--jwt-audience", "a"],
    ):
        result = CliRunner().invoke(serve, [*bundle, "--metrics-listen", "127.0.0.1:0", *flags])
        assert result.exit_code == 1
        assert f"{missing}: No such file or directory" in result.output
