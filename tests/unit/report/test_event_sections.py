from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxybench.model import Metric
from proxybench.report.data import ReportData
from proxybench.report.drawing import Label
from proxybench.report.event_sections import LOST, OUTAGE, REFUSED, event_panels, event_sections
from proxybench.report.layout import draw
from proxybench.report.sections import other_tables
from tests.unit.report.conftest import make_record

if TYPE_CHECKING:
    from proxybench.stats.summary import SummaryRecord

TIMES: dict[str, str] = {Metric.EVENT_OUTAGE: OUTAGE}
COUNTS: dict[str, str] = {Metric.EVENT_LOST: LOST, Metric.EVENT_REFUSED: REFUSED}


def record(metric: Metric, scenario: str, median: float, **changes: Any) -> SummaryRecord:
    known = {"position": "none", "clock": "wall", "kind": "kube-proxy", "unit": metric.about.unit}
    return make_record(metric=str(metric), scenario=scenario, median=median, **{**known, **changes})


def test_an_event_in_which_nothing_failed_has_no_panel() -> None:
    records = [
        record(Metric.EVENT_OUTAGE, "restart", 0),
        record(Metric.EVENT_OUTAGE, "repair-jump", 8e9, censored=3, n=3),
        record(Metric.EVENT_OUTAGE, "repair-jump", 5e9, mode="nftables"),
    ]
    (panel,) = event_panels(records, TIMES)
    assert (panel.title, panel.x_label, panel.unit) == ("The jump to all Services removed", "time (wall clock)", "ns")
    ((size, bars),) = panel.groups
    assert size == "1,000 Services"
    assert [(bar.label, bar.total, bar.bounded) for bar in bars] == [("iptables", 8e9, True), ("nftables", 5e9, False)]
    texts = [item.text for item in draw(panel, [panel]).items if isinstance(item, Label)]
    assert "≥ 8 s" in texts
    assert "5 s" in texts


def test_lost_and_refused_connections_are_one_bar() -> None:
    records = [
        record(Metric.EVENT_LOST, "roll-service", 1200),
        record(Metric.EVENT_REFUSED, "roll-service", 34),
        record(Metric.EVENT_LOST, "restart", 0),
    ]
    (panel,) = event_panels(records, COUNTS)
    ((_, (bar,)),) = panel.groups
    assert (panel.x_label, bar.parts) == ("connections", ((LOST, 1200), (REFUSED, 34)))
    assert "1,234" in [item.text for item in draw(panel, [panel]).items if isinstance(item, Label)]


def test_a_run_without_events_has_no_chapter_of_them(data: ReportData) -> None:
    assert event_sections(data) == []


def test_chapters_have_every_event_in_their_table(data: ReportData) -> None:
    metrics = (Metric.EVENT_OUTAGE, Metric.EVENT_LOST, Metric.EVENT_REFUSED)
    records = [record(metric, "restart", 0) for metric in metrics]
    found = ReportData(data.manifest, tuple(records), (), ())
    outages, lost = event_sections(found)
    assert outages.missing == lost.missing == "No figure: nothing failed in any event."
    assert outages.panels == ()
    assert outages.pivot is not None
    assert len(outages.pivot.rows) == 1
    assert other_tables(found) == []
