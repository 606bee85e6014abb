"""The image and the compose file, as data: what they run, expose and mount is there."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from unrolled_service.address import split_address
from unrolled_service.cli import serve
from unrolled_service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SCRAPES: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
IMAGE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
PORTS = {name: split_address(Settings.model_fields[name].default)[1] for name in ("listen", "metrics_listen")}


def instructions(word: str) -> list[str]:
    return re.findall(rf"^{word}\s+(.+)$", IMAGE, re.M)


def parse_serve(arguments: list[str]) -> Settings:
    verb, *flags = arguments
    assert verb == "serve"
    context = serve.make_context("serve", flags)
    return Settings(**{name: value for name, value in context.params.items() if value not in (None, ())})


PROTECTED = {"UNROLLED_TLS_CERT": "a", "UNROLLED_TLS_KEY": "b", "UNROLLED_AUTH_TOKENS": "c"}


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (SERVICES["unrolled"]["command"], {}),
        (json.loads(instructions("CMD")[-1]), {"UNROLLED_INSECURE": "1"}),
        (json.loads(instructions("CMD")[-1]), PROTECTED),
    ],
    ids=["compose", "image behind a proxy", "image by itself"],
)
def test_the_command_line_serves_beyond_the_container(
    arguments: list[str], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = parse_serve(arguments)
    assert split_address(settings.listen) == ("0.0.0.0", PORTS["listen"])
    assert split_address(settings.metrics_listen) == ("0.0.0.0", PORTS["metrics_listen"])


def test_the_image_refuses_to_serve_others_unless_it_is_told_how() -> None:
    with pytest.raises(ValueError, match="which other machines can reach"):
        parse_serve(json.loads(instructions("CMD")[-1]))


def test_the_ports_are_the_settings_defaults() -> None:
    assert {*map(int, instructions("EXPOSE")[0].split())} == {*PORTS.values()}
    for mapping in SERVICES["unrolled"]["ports"]:
        host, outside, inside = mapping.split(":")
        assert host == "127.0.0.1"
        assert outside == inside
        assert int(inside) in PORTS.values()


def test_prometheus_scrapes_the_service_where_it_answers() -> None:
    (job,) = SCRAPES["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"unrolled:{PORTS['metrics_listen']}"]}]
    assert job.get("metrics_path", "/metrics") == "/metrics"


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_rights_to_spare(name: str) -> None:
    service = SERVICES[name]
    assert not service["user"].startswith(("0", "root"))
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+\S*", service["image"])


def test_what_is_mounted_exists() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    sources = [mount.split(":")[0] for mount in mounts]
    files = [source for source in sources if source.startswith(".")]
    assert files
    for source in files:
        assert (ROOT / source).is_file()
    assert {*sources} - {*files} == {*COMPOSE["volumes"]}


def test_a_stopping_container_has_time_to_drain() -> None:
    grace_s = float(SERVICES["unrolled"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings.model_fields["drain_grace_s"].default


def test_both_health_checks_ask_for_readiness() -> None:
    (check,) = instructions("HEALTHCHECK")
    asked = json.loads(check[check.index("[") :])
    assert ["CMD", *asked] == SERVICES["unrolled"]["healthcheck"]["test"]
    compile(asked[-1], "healthcheck", "exec")
    assert f"://127.0.0.1:{PORTS['metrics_listen']}/readyz" in asked[-1]


def test_the_image_is_small_pinned_and_not_root() -> None:
    stages = instructions("FROM")
    assert len(stages) > 1
    for stage in stages:
        assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+( AS \w+)?", stage)
    user = instructions("USER")[-1]
    assert user == SERVICES["unrolled"]["user"]
    assert user.split(":")[0] != "0"


def test_the_image_installs_the_service_by_the_constraints() -> None:
    (install,) = [command for run in instructions("RUN") for command in run.split("&&") if "pip" in command]
    words = shlex.split(install)
    assert words[words.index("-c") + 1] == "constraints.txt"
    assert words[-1] == ".[service]"
    assert "torch" not in IMAGE.replace("no torch", "")


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    for copied in instructions("COPY"):
        if copied.startswith("--from"):
            continue
        for source in copied.split()[:-1]:
            assert (ROOT / source).exists()
            assert source.split("/")[0] in kept
