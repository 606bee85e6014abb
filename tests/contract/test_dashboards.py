"""The dashboards as data: made from their source, of the words that Grafana knows, and of metrics that there are."""

import json
import re
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard as GrafanaDashboard
from prometheus_client.parser import text_string_to_metric_families

from deploy.grafana.charts import DASHBOARDS, NOT_CHARTED
from deploy.grafana.render import COLUMNS, DATASOURCE, FOLDER, render
from tests.support.alphabet import write_bundle
from tests.support.prometheus import find_selectors, read_rules
from tests.support.server import running_server

GRAFANA = FOLDER.parent / "provisioning"
FILES = {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
SUFFIXES = r"_(total|bucket|sum|count|info)$"


def panels_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def find_lost(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Return where a value is not in what became of it; what was added does not matter."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [*chain.from_iterable(find_lost(ours[key], theirs.get(key), f"{path}.{key}") for key in ours)]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [*chain.from_iterable(find_lost(*pair, f"{path}[{i}]") for i, pair in enumerate(zip(ours, theirs)))]  # noqa: B905
    return [] if ours == theirs else [path]


def test_the_files_are_those_of_the_charts() -> None:
    assert {*FILES} == {dashboard.file.name for dashboard in DASHBOARDS}
    for dashboard in DASHBOARDS:
        assert dashboard.file.read_text() == render(dashboard), "run: make dashboards"


@pytest.mark.parametrize("name", FILES)
def test_grafana_knows_every_word(name: str) -> None:
    """Grafana's own types, made from its schemas, keep what they know and drop the rest."""
    register_default_plugins()
    read = json.loads(JSONEncoder().encode(GrafanaDashboard.from_json(FILES[name])))
    assert find_lost(FILES[name], read) == []
    assert FILES[name]["schemaVersion"] == read["schemaVersion"] == GrafanaDashboard().schema_version


def test_a_word_that_grafana_does_not_know_is_found() -> None:
    dashboard = json.loads(json.dumps(FILES["engine.json"]))
    panel = panels_of(dashboard)[0]
    panel["fieldConfig"]["defaults"]["custom"]["lineWith"] = 1
    panel["targets"][0]["expression"] = "up"
    read = json.loads(JSONEncoder().encode(GrafanaDashboard.from_json(dashboard)))
    assert [path.rpartition(".")[2] for path in find_lost(dashboard, read)] == ["lineWith", "expression"]


@pytest.mark.parametrize("name", FILES)
def test_units_and_sources_are_there(name: str) -> None:
    known = {each for each in vars(units).values() if isinstance(each, str)}
    for panel in panels_of(FILES[name]):
        assert panel["fieldConfig"]["defaults"]["unit"] in known
        assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [DATASOURCE] * (
            1 + len(panel["targets"])
        )


@pytest.mark.parametrize("name", FILES)
def test_no_panel_covers_another(name: str) -> None:
    numbers = [panel["id"] for panel in FILES[name]["panels"]]
    assert len({*numbers}) == len(numbers)
    places = [panel["gridPos"] for panel in FILES[name]["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= COLUMNS for place in places)
    for one, other in combinations(places, 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y


def test_the_provisioned_source_is_the_one_of_the_panels() -> None:
    (source,) = yaml.safe_load((GRAFANA / "datasources" / "prometheus.yml").read_text())["datasources"]
    scrapes = yaml.safe_load((GRAFANA.parents[1] / "prometheus" / "prometheus.yml").read_text())
    assert {key: source[key] for key in DATASOURCE} == DATASOURCE
    assert source["jsonData"]["timeInterval"] == scrapes["global"]["scrape_interval"]


def test_every_metric_is_charted_or_said_not_to_be(tmp_path: Path) -> None:
    with running_server(write_bundle(tmp_path / "alphabet")) as server:
        exported = {family.name for family in text_string_to_metric_families(server.read_page())}
    targets = [target for file in FILES.values() for panel in panels_of(file) for target in panel["targets"]]

    def names_in(queries: list[dict[str, Any]]) -> set[str]:
        selectors = chain.from_iterable(find_selectors(query["expr"]) for query in queries)
        names = {re.sub(r"{.*", "", selector) for selector in selectors}
        return {name if name in exported else re.sub(SUFFIXES, "", name) for name in names}

    assert names_in([*targets, *read_rules()]) <= exported
    assert exported - names_in(targets) == {*NOT_CHARTED}
    assert all(NOT_CHARTED.values())
