"""The rules as data: every alert leads to its entry in docs/operations.md, every objective is at a bucket's bound."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.support.alphabet import write_bundle
from tests.support.prometheus import read_rules
from unrolled_service import metrics
from unrolled_service.models.bundle import load_bundle
from unrolled_service.models.golden import RunDiffers
from unrolled_service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
ALERTS = [rule for rule in read_rules() if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})


def find_entries() -> dict[str, str]:
    """Return the entries of the alerts by the anchors that their headings get."""
    chapter = re.search(r"^## Alerts\n(.*?)(?=^## |\Z)", OPERATIONS, re.M | re.S)
    assert chapter
    heading, *rest = re.split(r"^### (\w+)\n", chapter[1], flags=re.M)
    assert heading
    return {name.lower(): text for name, text in zip(rest[::2], rest[1::2], strict=True)}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_an_alert_leads_to_its_entry(rule: dict[str, dict[str, str]]) -> None:
    file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert file == "docs/operations.md"
    assert anchor == str(rule["alert"]).lower()
    assert anchor in find_entries()
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["labels"]["severity"] in {"page", "ticket"}


def test_every_entry_has_its_alert_and_its_three_parts() -> None:
    entries = find_entries()
    assert sorted(entries) == [name.lower() for name in NAMES]
    for text in entries.values():
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.M) == ["Means", "Look", "Do"]


def test_the_bounds_of_the_objectives_are_buckets() -> None:
    bounds = {bound for rule in read_rules() for bound in re.findall(r'le="([^"]+)"', rule["expr"])}
    assert bounds == {"0.5", "0.05"}
    assert {*map(float, bounds)} <= {*metrics._SECONDS}


def test_a_drain_is_stuck_only_after_its_grace_time() -> None:
    (rule,) = [rule for rule in ALERTS if rule["alert"] == "UnrolledDrainStuck"]
    minutes = float(re.fullmatch(r"(\d+)m", rule["for"])[1])  # type: ignore[index]
    assert minutes * 60 > 2 * Settings.model_fields["drain_grace_s"].default


def test_the_words_to_look_for_are_those_of_the_program(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "alphabet")
    golden = json.loads((folder / "golden.json").read_text())
    golden["greedy"][12] = (golden["greedy"][12] + 1) % 26
    (folder / "golden.json").write_text(json.dumps(golden))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["golden.json"] = hashlib.sha256((folder / "golden.json").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(RunDiffers) as failure:
        load_bundle(folder)
    words = str(failure.value).rpartition(": ")[2]
    assert f"`{words}`" in find_entries()["unrolledgoldenmismatch"]
    assert "differs from the recorded" in words
