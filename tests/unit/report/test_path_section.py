from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxybench.model import Metric
from proxybench.report.data import ReportData
from proxybench.report.drawing import Label, Rect
from proxybench.report.layout import draw
from proxybench.report.path_section import path_panels, sync_path_sections
from proxybench.report.sections import sections
from proxybench.report.shapes import MEDIAN, Bar, BarPanel
from proxybench.report.words import path_name
from proxybench.results.manifest import manifest_from_dict
from tests.unit.report.conftest import make_record
from tests.unit.report.synthetic import synthetic_manifest

if TYPE_CHECKING:
    from proxybench.stats.summary import SummaryRecord


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("cluster_ip", "ClusterIP"),
        ("node_port_local", "NodePort, Local"),
        ("node_port/udp@other", "NodePort, over UDP, by another node"),
        ("load_balancer_ip@far", "load balancer, to a pod elsewhere"),
        ("external_ip@pod", "external IP, from a pod"),
        ("cluster_ip@node", "ClusterIP, from the node"),
        ("none", "none"),
        ("a/b@c", "a/b@c"),
    ],
)
def test_a_path_in_words(path: str, words: str) -> None:
    assert path_name(path) == words


def test_paths_of_the_largest_size_stand_on_one_scale() -> None:
    records = [
        make_record(metric=Metric.FORWARDING_CONNECT, position=position, path=path, services=size, median=value * size)
        for position in ("last", "none")
        for path, value in (("cluster_ip", 1.0), ("node_port", 4.0))
        for size in (10, 1000)
    ]
    (panel,) = path_panels(records, "time to connect")
    assert (panel.title, panel.x_label) == ("Last rule, 1,000 Services", "time to connect (wall clock)")
    assert [(path, [bar.parts for bar in bars]) for path, bars in panel.groups] == [
        ("ClusterIP", [((MEDIAN, 1000.0),)]),
        ("NodePort", [((MEDIAN, 4000.0),)]),
    ]
    short, long = (item.width for item in draw(panel, [panel]).items if isinstance(item, Rect))
    assert long == pytest.approx(4 * short)
    assert isinstance(panel.groups[0][1][0], Bar)


def test_a_single_path_has_no_panel() -> None:
    records = [make_record(metric=Metric.FORWARDING_CONNECT, position="last", path="cluster_ip")]
    assert path_panels(records, "time to connect") == []
    assert len(path_panels(records, "time to connect", least=1)) == 1


def report(*records: SummaryRecord) -> ReportData:
    return ReportData(manifest_from_dict(synthetic_manifest("wall"), "synthetic"), records, (), ())


def synced(path: str, scenario: str = "add-paths", **changes: Any) -> SummaryRecord:
    return make_record(scenario=scenario, path=path, position="last", **changes)


def test_syncs_that_were_probed_over_several_paths_have_a_chapter() -> None:
    records = [
        synced(path, scenario, mode=mode, median=median, services=services, uncertainty=2e6)
        for path, median in (("cluster_ip", 30e6), ("node_port@other", 90e6), ("node_port/udp", 1e6))
        for scenario in ("add-paths", "delete-paths")
        for mode in ("iptables", "nftables")
        for services in (10, 1000)
    ]
    data = report(*records, make_record(scenario="add-one"))
    (chapter,) = sync_path_sections(data)
    assert (chapter.name, chapter.heading) == ("sync-by-path", "Sync latency by path")
    assert [panel.title for panel in chapter.panels] == [
        "A Service with all addresses added, 1,000 Services",
        "A Service with all addresses deleted, 1,000 Services",
    ]
    panel = chapter.panels[0]
    assert isinstance(panel, BarPanel)
    assert (panel.x_label, panel.common) == ("sync latency (wall clock)", True)
    assert [path for path, _ in panel.groups] == ["ClusterIP", "NodePort, by another node", "NodePort, over UDP"]
    assert [(bar.label, bar.shown) for bar in panel.groups[1][1]] == [("iptables", 90e6), ("nftables", 90e6)]
    words = [item.text for item in draw(panel, [panel]).items if isinstance(item, Label)]
    assert "≤ 3 ms" in words
    assert chapter.pivot is not None
    assert [head.text for head in chapter.pivot.heads[:3]] == ["Scenario", "Path", "Services"]
    assert not any(cell.best for row in chapter.pivot.rows for cell in row)
    made = {each.name: each for each in sections(data)}
    assert list(made).index("sync-by-path") == list(made).index("sync-end-to-end") + 1
    lines = made["sync-end-to-end"].full
    assert lines is not None
    assert len(lines.rows) == 1  # each record stands in one of both chapters


def test_syncs_that_were_probed_over_one_path_have_none() -> None:
    assert sync_path_sections(report(synced("cluster_ip"), synced("cluster_ip", services=10))) == []
    assert sync_path_sections(report()) == []


def test_by_the_instruction_clock_it_is_in_words_of_work() -> None:
    (chapter,) = sync_path_sections(
        report(*(synced(path, clock="instructions") for path in ("cluster_ip", "node_port")))
    )
    assert chapter.heading == "Sync latency by path, in instructions"
    assert chapter.clock.startswith("instruction clock")
