"""The image and the compose file, as data: valid, confined, and what they run, expose, mount and set is there."""

import argparse
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from click.testing import CliRunner

from tests.support.access import Ca
from tests.support.alphabet import write_bundle
from tests.support.envoy import read_envoy, read_listeners
from tests.support.programs import demand
from tests.support.redis import RedisServer, running_redis
from tests.support.server import ServerProcess, running_server, wait_until
from tests.support.windows import SMALL_WINDOW
from unrolled_client import Client
from unrolled_service.address import split_address
from unrolled_service.cli import serve
from unrolled_service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
UNROLLED = SERVICES["unrolled"]
SCRAPES: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
IMAGE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
GRAFANA = ROOT / "deploy" / "grafana" / "provisioning"
PORTS = {name: split_address(Settings.model_fields[name].default)[1] for name in ("listen", "metrics_listen")}
ENVOY = {each["name"]: each["address"]["socket_address"]["port_value"] for each in read_listeners()}
PREFIX = "UNROLLED_"
ENDLESS = 100_000_000
KEYS = "a:" + 64 * "0"
UNITS = {"m": 2**20, "mb": 2**20, "g": 2**30}


def instructions(word: str) -> list[str]:
    return re.findall(rf"^{word}\s+(.+)$", IMAGE, re.M)


def read_size(text: str) -> int:
    """Return the bytes of a size such as ``512mb``."""
    match = re.fullmatch(r"(\d+)([a-z]+)", text.lower())
    assert match
    return int(match[1]) * UNITS[match[2]]


def read_limits(name: str) -> dict[str, Any]:
    limits: dict[str, Any] = SERVICES[name]["deploy"]["resources"]["limits"]
    return limits


def parse_serve(arguments: list[str], environment: dict[str, str]) -> Settings:
    """Return the settings of a command line, which the program itself must accept."""
    verb, *flags = arguments
    assert verb == "serve"
    shown = CliRunner(env=environment).invoke(serve, [*flags, "--print-config"])
    assert shown.exit_code == 0, shown.output
    context = serve.make_context("serve", flags)
    given = {name: value for name, value in context.params.items() if value not in (None, ())}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return Settings(**{name: value for name, value in given.items() if name in Settings.model_fields})


@pytest.fixture
def in_container(tmp_path: Path) -> dict[str, str]:
    """The environment of the service, with its key where a test can read it."""
    keys = tmp_path / "snapshot.keys"
    keys.touch(0o600)
    keys.write_text(KEYS)
    given: dict[str, str] = UNROLLED["environment"]
    return given | {f"{PREFIX}SNAPSHOT_KEYS": str(keys)}


@pytest.mark.program("check-jsonschema")
def test_the_compose_file_follows_the_compose_specification() -> None:
    result = subprocess.run(
        [demand("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.program("hadolint")
def test_the_image_file_is_clean() -> None:
    result = subprocess.run([demand("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_service_runs_with_its_command_line_and_environment(in_container: dict[str, str]) -> None:
    settings = parse_serve(UNROLLED["command"], in_container)
    assert split_address(settings.listen) == ("0.0.0.0", PORTS["listen"])
    assert split_address(settings.metrics_listen) == ("0.0.0.0", PORTS["metrics_listen"])
    assert settings.store == "redis://redis:6379"
    assert settings.engine_threads < float(read_limits("unrolled")["cpus"])
    assert settings.session_memory_mib * 2**20 <= read_size(read_limits("unrolled")["memory"]) / 2


PROTECTED = {"UNROLLED_TLS_CERT": "a", "UNROLLED_TLS_KEY": "b", "UNROLLED_AUTH_TOKENS": "c"}


@pytest.mark.parametrize("environment", [PROTECTED, {"UNROLLED_INSECURE": "1"}], ids=["protected", "insecure"])
def test_the_image_runs_with_its_own_command_line_once_it_is_told_how(environment: dict[str, str]) -> None:
    settings = parse_serve(json.loads(instructions("CMD")[-1]), environment)
    assert {split_address(settings.listen)[1], split_address(settings.metrics_listen)[1]} == {*PORTS.values()}


def test_the_image_refuses_to_serve_others_unless_it_is_told_how() -> None:
    _, *flags = json.loads(instructions("CMD")[-1])
    refused = CliRunner().invoke(serve, [*flags, "--print-config"])
    assert refused.exit_code == 1
    assert "which other machines can reach" in refused.output


def test_every_variable_of_the_service_is_a_setting() -> None:
    names = {name for name in UNROLLED["environment"] if name.startswith(PREFIX)}
    assert names == {*UNROLLED["environment"]}
    assert {name.removeprefix(PREFIX).lower() for name in names} <= {*Settings.model_fields}


def test_the_ports_are_those_that_are_listened_on() -> None:
    assert {*map(int, instructions("EXPOSE")[0].split())} == {*PORTS.values()}
    for name, service in SERVICES.items():
        for mapping in service.get("ports", []):
            host, outside, inside = mapping.split(":")
            assert host == "127.0.0.1"
            assert outside == inside
            if name == "unrolled":
                assert int(inside) in PORTS.values()
            elif name == "envoy":
                assert int(inside) == ENVOY["front"]
            else:
                assert f":{inside}/" in shlex.join(service["healthcheck"]["test"])


def test_prometheus_scrapes_the_service_where_it_answers() -> None:
    servers, envoy = SCRAPES["scrape_configs"]
    assert (servers["job_name"], servers.get("metrics_path", "/metrics")) == ("unrolled", "/metrics")
    (names,) = servers["dns_sd_configs"]
    assert (names["names"], names["type"], names["port"]) == (["replicas"], "A", PORTS["metrics_listen"])
    (names,) = envoy["dns_sd_configs"]
    assert (names["names"], names["type"], names["port"]) == (["envoy"], "A", ENVOY["operators"])
    assert "front" in {*SERVICES["prometheus"]["networks"]} & {*SERVICES["envoy"]["networks"]}


def test_envoy_and_prometheus_look_up_every_server() -> None:
    """The one that is published has the name of the others too, so that without them the name is known."""
    (endpoint,) = [
        each["endpoint"]["address"]["socket_address"]
        for cluster in read_envoy()["static_resources"]["clusters"]
        if cluster["name"] == "replicas"
        for place in cluster["load_assignment"]["endpoints"]
        for each in place["lb_endpoints"]
    ]
    assert endpoint == {"address": "replicas", "port_value": PORTS["listen"]}
    assert UNROLLED["networks"]["front"]["aliases"] == [endpoint["address"]]
    for name in ("replicas", "envoy", "prometheus", "load"):
        assert "front" in SERVICES[name]["networks"]


def test_a_service_that_is_scaled_has_nothing_that_two_cannot_have() -> None:
    replicas = SERVICES["replicas"]
    assert not {"ports", "container_name", "build", "hostname"} & {*replicas}
    assert {name: replicas[name] for name in ("command", "environment", "secrets", "stop_grace_period")} == {
        name: UNROLLED[name] for name in ("command", "environment", "secrets", "stop_grace_period")
    }
    assert read_limits("replicas") == read_limits("unrolled")


@pytest.mark.program("envoy")
def test_envoy_takes_its_flags_and_its_file(tmp_path: Path) -> None:
    envoy = SERVICES["envoy"]
    (mount,) = envoy["volumes"]
    source, target, _ = mount.split(":")
    assert envoy["entrypoint"] == ["envoy"]
    words = [word.replace(target, str(ROOT / source)) for word in envoy["command"]]
    command = [str(demand("envoy")), *words, "--mode", "validate", "--log-level", "warning"]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "eprecated" not in checked.stderr


@pytest.mark.program("envoy")
def test_envoy_takes_the_documented_tls(tmp_path: Path) -> None:
    block = re.search(r"^```yaml\n(transport_socket:\n.*?)^```", OPERATIONS, re.M | re.S)
    assert block
    pair = Ca(tmp_path).issue()
    text = block[1].replace("/etc/envoy/tls/tls.crt", str(pair.cert)).replace("/etc/envoy/tls/tls.key", str(pair.key))
    configuration = read_envoy()
    (front,) = [each for each in configuration["static_resources"]["listeners"] if each["name"] == "front"]
    front["filter_chains"][0] |= yaml.safe_load(text)
    (tmp_path / "envoy.yaml").write_text(yaml.safe_dump(configuration))
    command = [
        str(demand("envoy")),
        "--config-path",
        str(tmp_path / "envoy.yaml"),
        "--mode",
        "validate",
        "--log-level",
        "warning",
    ]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_calls_that_are_not_read_cannot_fill_a_connection() -> None:
    (front,) = [each for each in read_listeners() if each["name"] == "front"]
    (replicas,) = [each for each in read_envoy()["static_resources"]["clusters"] if each["name"] == "replicas"]
    (upstream,) = replicas["typed_extension_protocol_options"].values()
    sides = (
        front["filter_chains"][0]["filters"][0]["typed_config"]["http2_protocol_options"],
        upstream["explicit_http_config"]["http2_protocol_options"],
    )
    for side in sides:
        needed = side["max_concurrent_streams"] * side["initial_stream_window_size"]
        assert side["initial_connection_window_size"] >= needed


def test_envoys_memory_is_below_its_containers() -> None:
    (heap,) = [
        each["typed_config"]["max_heap_size_bytes"]
        for each in read_envoy()["overload_manager"]["resource_monitors"]
        if each["name"].endswith("fixed_heap")
    ]
    assert heap <= 0.8 * read_size(read_limits("envoy")["memory"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_rights_to_spare(name: str) -> None:
    service = SERVICES[name]
    assert not service["user"].startswith(("0", "root"))
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-\w+)?", service["image"])
    assert {*read_limits(name)} == {"cpus", "memory", "pids"}
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode"} & {*service}


def test_what_is_mounted_exists() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    paths = [mount for mount in mounts if mount.startswith(".")]
    assert len(paths) >= 5
    for mount in paths:
        source, _, mode = mount.split(":")
        assert (ROOT / source).exists(), source
        assert mode == "ro"
    assert {mount.split(":")[0] for mount in mounts} - {mount.split(":")[0] for mount in paths} == {*COMPOSE["volumes"]}


def test_the_paths_inside_are_those_that_programs_are_told() -> None:
    """What Grafana and Prometheus are told to read lies below what is mounted."""
    grafana = {target: ROOT / source for source, target, _ in (m.split(":") for m in SERVICES["grafana"]["volumes"])}
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    (provider,) = yaml.safe_load((GRAFANA / "dashboards" / "unrolled.yml").read_text())["providers"]
    (source,) = yaml.safe_load((GRAFANA / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (grafana[str(Path(home).parent)] / Path(home).name).is_file()
    assert [*grafana[provider["options"]["path"]].glob("*.json")]
    assert (grafana["/etc/grafana/provisioning"] / "datasources").is_dir()
    assert source["url"] == "http://prometheus:" + SERVICES["prometheus"]["ports"][0].rpartition(":")[2]


@pytest.mark.program("prometheus")
def test_prometheus_takes_its_flags() -> None:
    """Each flag is one of the program's; the file that it is told to read is the one that is mounted."""
    known = subprocess.run([demand("prometheus"), "--help"], capture_output=True, text=True, check=False)
    for flag in SERVICES["prometheus"]["command"]:
        assert re.search(rf"^\s+{re.escape(flag.partition('=')[0])}\b", known.stdout + known.stderr, re.M), flag
    told = dict(flag.split("=") for flag in SERVICES["prometheus"]["command"])
    (mount,) = [mount for mount in SERVICES["prometheus"]["volumes"] if mount.startswith(".")]
    source, target, _ = mount.split(":")
    assert (ROOT / source / Path(told["--config.file"]).relative_to(target)).is_file()
    for pattern in SCRAPES["rule_files"]:
        assert any((ROOT / source).glob(pattern)), pattern


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    program, *words = SERVICES["redis"]["command"]
    assert program == "redis-server"
    options = {name.removeprefix("--").replace("-", "_"): value for name, value in list(pairwise(words))[::2]}
    with running_redis(**options) as running:
        yield running


@pytest.mark.program("redis-server")
def test_redis_takes_its_flags_and_keeps_what_is_relied_on(redis: RedisServer) -> None:
    table = re.search(r"^\| Redis setting .*?\n\n", OPERATIONS, re.M | re.S)
    assert table
    relied_on = re.findall(r"^\| `([a-z-]+)` \| `(\w+)` \|", table[0], re.M)
    assert len(relied_on) == 3
    with redis.connect() as client:
        for name, value in relied_on:
            assert client.config_get(name) == {name: value}
        assert 0 < int(client.config_get("maxmemory")["maxmemory"]) <= read_size(read_limits("redis")["memory"]) / 2


@pytest.mark.program("redis-server")
@pytest.mark.program("redis-cli")
def test_the_health_check_of_redis_tells_whether_it_serves(redis: RedisServer) -> None:
    mark, program, *words = SERVICES["redis"]["healthcheck"]["test"]
    assert (mark, program) == ("CMD", "redis-cli")
    command = [demand(program), "-s", redis.url.removeprefix("unix://"), *words]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    redis.kill()
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_the_demo_takes_its_command_lines() -> None:
    load = SERVICES["load"]
    (mount,) = load["volumes"]
    source, target, _ = mount.split(":")
    assert load["entrypoint"] == ["python", target]
    mark, *health = load["healthcheck"]["test"]
    assert (mark, health[:2]) == ("CMD", load["entrypoint"])
    for arguments in (load["command"], health[2:]):
        options = parse_load(ROOT / source, arguments)
        assert options.target == f"unrolled:{PORTS['listen']}"
        assert options.callers > 0
    assert options.seconds < float(load["healthcheck"]["timeout"].removesuffix("s"))
    assert load["profiles"] == ["demo"]
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == {
        "load": ["demo"],
        "replicas": ["cluster"],
        "envoy": ["cluster"],
    }


def parse_load(path: Path, arguments: list[str]) -> argparse.Namespace:
    spec = importlib.util.spec_from_file_location("load", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    options: argparse.Namespace = module.parse(arguments)
    return options


def test_what_a_service_waits_for_has_a_health_check_and_a_network_in_common() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[name]
            assert {*service["networks"]} & {*SERVICES[name]["networks"]}


def test_only_the_service_reaches_redis() -> None:
    assert COMPOSE["networks"]["store"]["internal"] is True
    assert [name for name, service in SERVICES.items() if "store" in service["networks"]] == [
        "unrolled",
        "replicas",
        "redis",
    ]
    assert "ports" not in SERVICES["redis"]


def test_the_key_is_a_secret_that_is_not_in_the_repository() -> None:
    (name,) = UNROLLED["secrets"]
    assert UNROLLED["environment"]["UNROLLED_SNAPSHOT_KEYS"] == f"/run/secrets/{name}"
    file = Path(COMPOSE["secrets"][name]["file"])
    assert str(file) in (ROOT / ".gitignore").read_text().split()
    assert f"> {file.name}" in OPERATIONS
    assert f"chown {UNROLLED['user']} {file.name}" in OPERATIONS
    names = [name for service in SERVICES.values() for name in service.get("environment", {})]
    assert not [name for name in names if "PASSWORD" in name.upper()]


def test_a_stopping_container_has_time_to_drain() -> None:
    grace_s = float(UNROLLED["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings.model_fields["drain_grace_s"].default


def test_both_health_checks_ask_for_readiness() -> None:
    (check,) = instructions("HEALTHCHECK")
    asked = json.loads(check[check.index("[") :])
    assert ["CMD", *asked] == UNROLLED["healthcheck"]["test"]
    assert f"://127.0.0.1:{PORTS['metrics_listen']}/readyz" in asked[-1]
    for name in re.findall(rf"{PREFIX}(\w+)", asked[-1]):
        assert name.lower() in Settings.model_fields
        assert f"`{PREFIX}{name}`" in OPERATIONS


def check_health(server: ServerProcess, **variables: Path) -> subprocess.CompletedProcess[str]:
    """Run the container's check where its variables are these, on the port of this server."""
    mark, program, *words = UNROLLED["healthcheck"]["test"]
    assert (mark, program) == ("CMD", "python")
    place = f"127.0.0.1:{split_address(urlsplit(server.metrics_url).netloc)[1]}"
    words[-1] = words[-1].replace(f"127.0.0.1:{PORTS['metrics_listen']}", place)
    others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = others | {f"{PREFIX}{name.upper()}": str(value) for name, value in variables.items()}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "alphabet")


def test_the_health_check_tells_whether_the_server_takes_work(bundle: Path) -> None:
    with (
        running_server(bundle, max_tokens=ENDLESS, drain_grace_s=120) as server,
        Client(server.address, options=SMALL_WINDOW) as client,
        client.generate("a", max_tokens=ENDLESS) as stream,
    ):
        assert next(iter(stream))
        ready = check_health(server)
        assert (ready.returncode, ready.stderr) == (0, "")

        server.process.terminate()
        wait_until(lambda: check_health(server).returncode != 0, "the health check fails")
        assert "HTTP Error 503" in check_health(server).stderr


def test_the_health_check_asks_a_server_with_tls(bundle: Path, tmp_path: Path) -> None:
    pair = Ca(tmp_path).issue()
    given = {"tls_cert": pair.cert, "tls_key": pair.key}
    with running_server(bundle, **{name: str(path) for name, path in given.items()}) as server:
        checked = check_health(server, **given)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(("signer", "status"), [("ours", 0), ("theirs", 1)])
def test_the_health_check_shows_the_servers_own_certificate(
    signer: str, status: int, bundle: Path, tmp_path: Path
) -> None:
    authorities = {name: Ca(tmp_path / name) for name in ("ours", "theirs")}
    pair = authorities["ours"].issue()
    given = {"tls_cert": pair.cert, "tls_key": pair.key, "tls_client_ca": authorities[signer].path}
    with running_server(bundle, **{name: str(path) for name, path in given.items()}) as server:
        checked = check_health(server, **given)
    assert checked.returncode == status, checked.stderr


def test_the_image_is_small_pinned_and_not_root() -> None:
    stages = instructions("FROM")
    assert len(stages) > 1
    for stage in stages:
        assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+( AS \w+)?", stage)
    user = instructions("USER")[-1]
    assert user == UNROLLED["user"] == SERVICES["load"]["user"]
    assert user.split(":")[0] != "0"


def test_the_image_installs_what_is_locked_and_nothing_else() -> None:
    installs = [shlex.split(each) for run in instructions("RUN") for each in run.split("&&") if "pip install" in each]
    files = [words[words.index("-r") + 1] for words in installs if "-r" in words]
    assert files == ["locks/build.txt", "locks/service.txt"]
    for words in installs:
        assert "--require-hashes" in words if "-r" in words else {"--no-deps", "--no-index"} <= {*words}
    assert "torch" not in IMAGE.replace("no torch", "")


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    for copied in instructions("COPY"):
        if copied.startswith("--from"):
            continue
        for source in copied.split()[:-1]:
            assert (ROOT / source).exists()
            assert source.split("/")[0] in kept
