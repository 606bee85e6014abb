"""docs/operations.md against the program: every setting, every metric."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.alphabet import write_bundle
from tests.support.server import running_server
from unrolled_service.settings import Settings

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()


def test_every_setting_is_in_the_table() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", TEXT, re.M))

    assert {name: rows.get(name) for name in Settings.model_fields} == {
        name: field.description for name, field in Settings.model_fields.items()
    }


def test_the_defaults_in_the_table_are_the_programs() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`|]+)` \|", TEXT, re.M))

    for name, field in Settings.model_fields.items():
        if not field.default_factory:
            assert rows[name] == str(field.default)


def test_every_metric_is_in_the_table_and_exists(tmp_path: Path) -> None:
    documented = {name.removesuffix("_total") for name in re.findall(r"`(unrolled_\w+)", TEXT)}
    with running_server(write_bundle(tmp_path / "alphabet")) as server:
        families = text_string_to_metric_families(server.read_page())
        exported = {family.name for family in families if family.name.startswith("unrolled_")}

    assert documented == exported
