"""docs/operations.md against the program: every setting, every metric."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.alphabet import write_bundle
from tests.support.server import running_server
from tests.support.settings_table import insert_tables
from unrolled_client.channel import TARGET_VARIABLE
from unrolled_service.configuration import OTHERS_VARIABLES
from unrolled_service.settings import GROUPS, Settings

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()


def test_the_tables_of_settings_are_the_programs() -> None:
    assert insert_tables(TEXT) == TEXT, "run `make docs`"


def test_every_setting_has_its_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(Settings.model_fields)


def test_the_clients_variable_is_let_be() -> None:
    assert TARGET_VARIABLE in OTHERS_VARIABLES


def test_a_table_says_name_default_limits_and_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", TEXT, re.M)

    assert ("max_rows", "`256`", "1 to 4,096", "streams that run in one slice") in rows
    assert len(rows) == len(Settings.model_fields)


def test_every_metric_is_in_the_table_and_exists(tmp_path: Path) -> None:
    documented = {name.removesuffix("_total") for name in re.findall(r"`(unrolled_\w+)", TEXT)}
    with running_server(write_bundle(tmp_path / "alphabet")) as server:
        families = text_string_to_metric_families(server.read_page())
        exported = {family.name for family in families if family.name.startswith("unrolled_")}

    assert documented == exported
