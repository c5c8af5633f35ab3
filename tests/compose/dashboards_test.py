"""Grafana's dashboards and the collector's file ask only for what the services really offer."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from datalabs_contracts.rpc import SERVICES
from tests.running import REPOSITORY

COMPOSE = REPOSITORY / "compose"
DASHBOARDS = sorted((COMPOSE / "grafana" / "dashboards").glob("*.json"))
OF_THE_SCRAPE = {"service", "instance", "job", "le"}
"""Labels that Prometheus adds: by `prometheus.yml`, and to each bucket."""
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
COLUMNS = 24


@pytest.fixture(scope="module")
def offered() -> dict[str, set[str]]:
    """All series that the services' processes expose, with their labels."""
    for service in SERVICES:
        importlib.import_module(f"datalabs_{service}.app")
    series: dict[str, set[str]] = {}
    for collector in list(REGISTRY._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            labels = set(collector._labelnames)
            name = collector._name
            series |= {name + suffix: labels for suffix in SUFFIXES[str(collector._type)]}
    return series


def queries(file: Path) -> list[str]:
    dashboard = json.loads(file.read_text(encoding="utf-8"))
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_every_query_names_series_and_labels_that_exist(file: Path, offered: dict[str, set[str]]) -> None:
    for query in queries(file):
        named = re.findall(r"\b(?:datalabs|observer)_\w+", query)
        assert named, query
        known = set[str]().union(*(offered.get(name, set()) for name in named))
        assert set(named) <= offered.keys(), f"no such series: {set(named) - offered.keys()} in {query}"
        labels = {
            label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")
        }
        assert labels <= known | OF_THE_SCRAPE, f"{named} have no {labels - known} in {query}"


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_has_the_shape_that_grafana_reads(file: Path) -> None:
    dashboard: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert {"uid", "title", "schemaVersion", "time", "panels"} <= dashboard.keys()
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    sources = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/prometheus.yml").read_text())
    known = {source["uid"] for source in sources["datasources"]}
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert {"id", "title", "type", "gridPos", "targets", "datasource"} <= panel.keys()
        assert panel["datasource"]["uid"] in known
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < COLUMNS
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells


def test_grafana_finds_dashboards_where_compose_puts_them() -> None:
    provider = yaml.safe_load((COMPOSE / "grafana/provisioning/dashboards/datalabs.yml").read_text())
    paths = {one["options"]["path"] for one in provider["providers"]}
    services = yaml.safe_load((COMPOSE / "compose.yml").read_text())["services"]
    mounted = {str(volume).split(":")[1] for volume in services["grafana"]["volumes"]}
    assert any(path == target or path.startswith(f"{target}/") for path in paths for target in mounted)


def test_the_collector_takes_what_services_send_and_drops_nothing_on_the_way() -> None:
    """Its own program is in no package registry that we use; this is what the file itself can be held to."""
    document = yaml.safe_load((COMPOSE / "otel-collector.yml").read_text())
    pipeline = document["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) <= document[kind].keys()
    assert pipeline["processors"][0] == "memory_limiter", "its own documents want it first"
    assert pipeline["processors"][-1] == "batch"
    port = document["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    assert (
        f"DATALABS_OTLP_ENDPOINT=http://collector:{port}" in (REPOSITORY / "docs/operations.md").read_text()
    )
    services = yaml.safe_load((COMPOSE / "compose.yml").read_text())["services"]
    target = next(one.split(":")[1] for one in services["collector"]["volumes"] if "otel-collector" in one)
    assert services["collector"]["command"] == [f"--config={target}"]
