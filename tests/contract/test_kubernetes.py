"""deploy/kubernetes as data: it follows the schemas, and its parts agree with each other and with the programs.

Nothing here runs in a cluster.
"""

import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from tests.support.envoy import read_envoy, read_listeners
from unrolled_service.address import split_address
from unrolled_service.cli import serve
from unrolled_service.settings import Settings

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
OPERATIONS = (FOLDER.parents[1] / "docs" / "operations.md").read_text()
COMPOSE = yaml.safe_load((FOLDER.parents[1] / "docker-compose.yml").read_text())["services"]
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS: list[dict[str, Any]] = [
    each for name in KUSTOMIZATION["resources"] for each in yaml.safe_load_all((FOLDER / name).read_text())
]
VERSION = "1.34"
MONITOR = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["selector", "endpoints"],
            "additionalProperties": False,
            "properties": {
                "jobLabel": {"type": "string"},
                "selector": {
                    "type": "object",
                    "required": ["matchLabels"],
                    "additionalProperties": False,
                    "properties": {"matchLabels": {"type": "object", "additionalProperties": {"type": "string"}}},
                },
                "endpoints": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["port"],
                        "additionalProperties": False,
                        "properties": {
                            "port": {"type": "string"},
                            "path": {"type": "string", "pattern": "^/"},
                            "interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
                        },
                    },
                },
            },
        }
    },
}
"""Of a ServiceMonitor, as far as it is used here."""


def find(kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in OBJECTS if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pod_of(name: str) -> dict[str, Any]:
    pod: dict[str, Any] = find("Deployment", name)["spec"]["template"]["spec"]
    return pod


def container_of(name: str) -> dict[str, Any]:
    (container,) = pod_of(name)["containers"]
    return dict(container)


def ports_of(name: str) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container_of(name)["ports"]}


SERVER, ENVOY = container_of("unrolled"), container_of("front")
VARIABLES = {each["name"]: each.get("value") for each in SERVER["env"]}


def seconds(name: str) -> float:
    """Return how long a pod takes to end: its pause, then the time that its program may need."""
    return float(container_of(name)["lifecycle"]["preStop"]["sleep"]["seconds"])


@pytest.mark.parametrize("each", OBJECTS, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_an_object_follows_its_schema(each: dict[str, Any]) -> None:
    if each["kind"] == "ServiceMonitor":
        assert each["apiVersion"] == "monitoring.coreos.com/v1"
        jsonschema.validate(each, MONITOR)
    else:
        kubernetes_validate.validate(each, VERSION, strict=True)


def test_every_file_is_in_the_kustomization() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"kustomization.yaml", *KUSTOMIZATION["resources"]}
    assert (KUSTOMIZATION["apiVersion"], KUSTOMIZATION["kind"]) == (
        "kustomize.config.k8s.io/v1beta1",
        "Kustomization",
    )
    (made,) = KUSTOMIZATION["configMapGenerator"]
    (file,) = made["files"]
    assert (FOLDER / file).samefile(FOLDER.parent / "envoy" / "envoy.yaml")
    (volume,) = [each["configMap"]["name"] for each in pod_of("front")["volumes"] if "configMap" in each]
    (mount,) = ENVOY["volumeMounts"]
    assert volume == made["name"]
    assert f"{mount['mountPath']}/{Path(file).name}" in ENVOY["args"]


def test_the_server_runs_with_its_arguments_and_variables(tmp_path: Path) -> None:
    keys = tmp_path / "snapshot.keys"
    keys.touch(0o600)
    keys.write_text("a:" + 64 * "0")
    verb, *flags = SERVER["args"]
    assert verb == "serve"
    assert {name.removeprefix("UNROLLED_").lower() for name in VARIABLES} <= {*Settings.model_fields}
    environment = VARIABLES | {"UNROLLED_STORE": "redis://a:6379", "UNROLLED_SNAPSHOT_KEYS": str(keys)}
    shown = CliRunner(env=environment).invoke(serve, [*flags, "--print-config"])
    assert shown.exit_code == 0, shown.output
    for port, flag in (("grpc", "--listen"), ("metrics", "--metrics-listen")):
        assert split_address(flags[flags.index(flag) + 1]) == ("0.0.0.0", ports_of("unrolled")[port])
    assert SERVER["image"] == COMPOSE["unrolled"]["image"]
    assert ENVOY["image"] == COMPOSE["envoy"]["image"]


def test_ports_services_and_envoys_file_agree() -> None:
    assert ports_of("front") == {
        "grpc": next(each for each in listeners() if each[0] == "front")[1],
        "metrics": next(each for each in listeners() if each[0] == "operators")[1],
    }
    for service, deployment in (("replicas", "unrolled"), ("front", "front")):
        spec, ports = find("Service", service)["spec"], ports_of(deployment)
        assert spec["selector"] == find("Deployment", deployment)["spec"]["selector"]["matchLabels"]
        assert {each["targetPort"]: each["port"] for each in spec["ports"]} == ports
    assert find("Service", "replicas")["spec"]["clusterIP"] == "None"  # as a string: every pod has an address
    (cluster,) = [each for each in read_envoy()["static_resources"]["clusters"] if each["name"] == "replicas"]
    (place,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    address = place["endpoint"]["address"]["socket_address"]
    assert address == {"address": "replicas", "port_value": ports_of("unrolled")["grpc"]}


def listeners() -> list[tuple[str, int]]:
    return [(each["name"], each["address"]["socket_address"]["port_value"]) for each in read_listeners()]


@pytest.mark.parametrize("name", ["unrolled", "front"])
def test_probes_ask_pages_that_are_there(name: str) -> None:
    pages = {"unrolled": {"/readyz", "/healthz"}, "front": {"/ready"}}[name]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container_of(name)[kind]["httpGet"]
        assert asked["path"] in pages
        assert asked["port"] in ports_of(name)


def test_a_pod_has_time_to_drain() -> None:
    grace_s = float(VARIABLES["UNROLLED_DRAIN_GRACE_S"] or 0)
    assert pod_of("unrolled")["terminationGracePeriodSeconds"] >= seconds("unrolled") + grace_s + 10
    assert pod_of("front")["terminationGracePeriodSeconds"] > seconds("front") > grace_s


@pytest.mark.parametrize("name", ["unrolled", "front"])
def test_a_pod_has_no_rights_to_spare(name: str) -> None:
    pod = pod_of(name)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod.get("initContainers", []), *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {*container["resources"]} == {"requests", "limits"}
        assert {each["name"] for each in container["volumeMounts"]} <= {each["name"] for each in pod["volumes"]}


def test_everything_selects_pods_that_there_are() -> None:
    labels = [find("Deployment", name)["spec"]["template"]["metadata"]["labels"] for name in ("unrolled", "front")]
    for name in ("unrolled", "front"):
        deployment, policy = find("Deployment", name), find("NetworkPolicy", name)["spec"]
        selectors = [deployment["spec"]["selector"], find("PodDisruptionBudget", name)["spec"]["selector"]]
        selectors += [each["labelSelector"] for each in pod_of(name)["topologySpreadConstraints"]]
        selectors.append(policy["podSelector"])
        assert [each["matchLabels"] for each in selectors] == 4 * [labels[name == "front"]]
        for rule in policy["ingress"]:
            assert {port["port"] for port in rule["ports"]} <= {*ports_of(name)}
    monitors = {each["metadata"]["name"]: each["spec"] for each in OBJECTS if each["kind"] == "ServiceMonitor"}
    for service, monitor in (("replicas", "unrolled"), ("front", "front")):
        selected = monitors[monitor]["selector"]["matchLabels"]
        assert selected.items() <= find("Service", service)["metadata"]["labels"].items()
        assert find("Service", service)["metadata"]["labels"][monitors[monitor]["jobLabel"]] == monitor
        (endpoint,) = monitors[monitor]["endpoints"]
        assert endpoint["port"] in {each["name"] for each in find("Service", service)["spec"]["ports"]}


def test_the_autoscaler_follows_a_metric_of_the_server() -> None:
    spec = find("HorizontalPodAutoscaler", "unrolled")["spec"]
    (metric,) = spec["metrics"]
    assert f"| `{metric['pods']['metric']['name']}` |" in OPERATIONS  # which lists what there is
    assert spec["scaleTargetRef"]["name"] == find("Deployment", "unrolled")["metadata"]["name"]
    assert spec["minReplicas"] == find("Deployment", "unrolled")["spec"]["replicas"]
    assert int(metric["pods"]["target"]["averageValue"]) < Settings.model_fields["max_rows"].default


def test_what_the_operator_brings_is_documented() -> None:
    (store,) = [each["valueFrom"]["secretKeyRef"] for each in SERVER["env"] if "valueFrom" in each]
    (volume,) = [each["secret"] for each in pod_of("unrolled")["volumes"] if "secret" in each]
    assert store["name"] == volume["secretName"]
    command = re.search(r"^kubectl .* create secret generic (\S+) .*$", OPERATIONS.replace("\\\n", " "), re.M)
    assert command
    assert command[1] == store["name"]
    assert f"--from-literal={store['key']}=redis://" in command[0]
    assert f"--from-file={volume['items'][0]['key']}" in command[0]
    assert f"--namespace {find('Namespace', KUSTOMIZATION['namespace'])['metadata']['name']} " in command[0]
