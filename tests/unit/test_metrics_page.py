"""The page and the dashboard of the metrics tell of those that there are, as Ray exports them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ascend_serve.metrics import CATALOGUE
from tests.unit.metrics_page import exported, table

pytestmark = pytest.mark.unit

DOCS = Path(__file__).resolve().parents[2] / "docs"
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana/ascend_serve.json").read_text())
EXPORTED = {name: labels for metric in CATALOGUE for name, labels in exported(metric).items()}
RAYS_LABELS = {"application", "deployment", "replica"}
FUNCTIONS = {"sum", "max", "rate", "histogram_quantile", "label_values"}

CHARTS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in CHARTS for target in panel["targets"]
}
VARIABLES = {
    variable["name"]: variable["query"]["query"]
    for variable in DASHBOARD["templating"]["list"]
    if variable["type"] == "query"
}


def test_the_page_has_the_catalogues_table() -> None:
    """`python -m tests.unit.metrics_page` prints it."""
    page = (DOCS / "metrics.md").read_text().splitlines()
    assert [line for line in page if line.startswith("|")] == table()


def metrics_of(query: str) -> dict[str, set[str]]:
    """Metrics in a query, each with the labels it is selected by."""
    found = re.findall(r"\b(ray_\w+)(?:\{([^}]*)\})?", query)
    return {name: set(re.findall(r"(\w+)\s*=", selector)) for name, selector in found}


def summed_by(query: str) -> set[str]:
    return {label for group in re.findall(r"by \(([^)]*)\)", query) for label in re.findall(r"\w+", group)}


@pytest.mark.parametrize("query", [*QUERIES.values(), *VARIABLES.values()], ids=[*QUERIES, *VARIABLES])
def test_a_query_names_what_there_is(query: str) -> None:
    metrics = metrics_of(query)
    assert metrics
    assert set(metrics) <= set(EXPORTED), set(metrics) - set(EXPORTED)
    for metric, selected in metrics.items():
        assert selected | summed_by(query) <= EXPORTED[metric] | RAYS_LABELS, metric
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)|ray_\w+', "", query)
    assert set(re.findall(r"[a-z_]+", bare)) <= FUNCTIONS | set(VARIABLES)
    for opening, closing in ("()", "{}", "[]"):
        assert query.count(opening) == query.count(closing)
    assert "$" not in re.sub(r"\$(application|model|__rate_interval)\b", "", query)


def test_counters_are_looked_at_by_their_rate() -> None:
    for name, query in QUERIES.items():
        for counter in re.findall(r"ray_\w+_total", query):
            assert f"rate({counter}" in query, name


def test_every_metric_has_a_chart() -> None:
    shown = {metric for query in QUERIES.values() for metric in metrics_of(query)}
    missing = [metric.name for metric in CATALOGUE if not shown & set(exported(metric))]
    assert missing == []


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    """The fields that Grafana's dashboard schema requires (grafana-foundation-sdk, `dashboard.Dashboard`)."""
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time", "timezone"} <= DASHBOARD.keys()
    assert DASHBOARD["schemaVersion"] >= 36
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    for chart in CHARTS:
        assert {
            "type",
            "title",
            "description",
            "datasource",
            "gridPos",
            "fieldConfig",
            "options",
            "targets",
        } <= set(chart)
        references = [target["refId"] for target in chart["targets"]]
        assert len(set(references)) == len(references)
        sources = [chart["datasource"], *(target["datasource"] for target in chart["targets"])]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"


def test_charts_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
