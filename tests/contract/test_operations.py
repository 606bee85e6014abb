"""docs/operations.md against the program: every setting, every metric."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.alphabet import write_bundle
from tests.support.server import running_server
from tests.support.settings_table import insert_tables
from unrolled_service.configuration import FILE_VARIABLE, OTHERS_VARIABLES, read_configuration
from unrolled_service.settings import GROUPS, Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text()


def find_variables(folder: Path, suffix: str) -> set[str]:
    """Return the variables that the files below a folder name."""
    texts = (path.read_text() for path in folder.rglob(f"*{suffix}"))
    return {name for text in texts for name in re.findall(r"\bUNROLLED_[A-Z_]*[A-Z]\b", text)}


def test_the_tables_of_settings_are_the_programs() -> None:
    assert insert_tables(TEXT) == TEXT, "run `make docs`"


def test_every_setting_has_its_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(Settings.model_fields)


def test_the_clients_variables_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    names = find_variables(ROOT / "clients", ".py")
    assert names >= {"UNROLLED_SERVER", "UNROLLED_ADMIN_SERVER", "UNROLLED_TOKEN"}
    for name in names:
        monkeypatch.setenv(name, "x")
    assert read_configuration({}).settings == Settings()


def test_every_documented_variable_is_somebodys() -> None:
    ours = {f"UNROLLED_{name.upper()}" for name in Settings.model_fields}
    assert find_variables(ROOT / "docs", ".md") <= {*ours, *OTHERS_VARIABLES, FILE_VARIABLE}


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
