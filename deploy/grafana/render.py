"""Dashboards as Grafana 11 reads them.

What is charted stands in ``charts``; here is only how a chart looks and where it is.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
SCHEMA_VERSION = 41
COLUMNS = 24
_HEIGHTS = {"stat": 4, "timeseries": 8, "table": 8}


@dataclass(frozen=True, slots=True)
class Query:
    """One expression and the name of its curves, in which ``{{label}}`` stands for a label's value."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart.

    Attributes:
        title: what it shows.
        unit: Grafana's name of the unit.
        queries: its curves.
        description: what to make of it, in a sentence; shown on demand.
        kind: curves over time, the value now, or a table of labels.
        is_stacked: whether its curves add up to something.
        width: columns, of 24.
    """

    title: str
    unit: str
    queries: Sequence[Query]
    description: str = ""
    kind: Literal["timeseries", "stat", "table"] = "timeseries"
    is_stacked: bool = False
    width: int = 8


@dataclass(frozen=True, slots=True)
class Row:
    """Charts side by side under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Charts on one page. ``uid`` is the end of its address, and the name of its file after the dash."""

    uid: str
    title: str
    rows: Sequence[Row]

    @property
    def file(self) -> Path:
        """Where it is kept."""
        return FOLDER / f"{self.uid.removeprefix('unrolled-')}.json"


def render(dashboard: Dashboard) -> str:
    """Return a dashboard as the text of its file."""
    content = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["unrolled"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [_choice_of_replicas()]},
        "links": [_link_to_the_others()],
        "panels": list(_place(dashboard.rows)),
    }
    return json.dumps(content, indent=1) + "\n"


def _place(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield the panels, each with its number and place."""
    y = number = 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        y += 1
        x, height = 0, max(_HEIGHTS[panel.kind] for panel in row.panels)
        for panel in row.panels:
            number += 1
            yield {"id": number, "gridPos": {"x": x, "y": y, "w": panel.width, "h": height}} | _render_panel(panel)
            x += panel.width
        y += height


def _render_panel(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    options: dict[str, Any] = {}
    if panel.kind == "timeseries":
        defaults["custom"] = {"lineWidth": 1, "fillOpacity": 40 if panel.is_stacked else 10, "showPoints": "never"}
        if panel.is_stacked:
            defaults["custom"]["stacking"] = {"mode": "normal", "group": "A"}
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    rendered = {
        "type": panel.kind,
        "title": panel.title,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [_render_query(panel, index) for index in range(len(panel.queries))],
    }
    return rendered | ({"description": panel.description} if panel.description else {})


def _render_query(panel: Panel, index: int) -> dict[str, Any]:
    query = panel.queries[index]
    target = {
        "refId": chr(ord("A") + index),
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend,
    }
    return target | ({"instant": True, "format": "table"} if panel.kind == "table" else {})


def _choice_of_replicas() -> dict[str, Any]:
    return {
        "name": "instance",
        "label": "Replica",
        "type": "query",
        "datasource": DATASOURCE,
        "query": "label_values(unrolled_build_info, instance)",
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _link_to_the_others() -> dict[str, Any]:
    return {
        "type": "dashboards",
        "title": "Unrolled",
        "tags": ["unrolled"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "",
        "tooltip": "",
    }
