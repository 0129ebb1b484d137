from __future__ import annotations

import pandas as pd

from proxybench.columns import flat
from proxybench.metrics import Metric
from proxybench.report.data import EndpointMedians, medians_by_endpoint
from proxybench.report.place_section import place_panels
from proxybench.stats.series import KEY_COLUMNS
from tests.unit.report.conftest import make_record

RECORD = make_record(
    metric=Metric.FORWARDING_ENDPOINT, scenario="steady", services=1, endpoints_per_service=10, position="first"
)


def rows(*samples: tuple[int, int, int]) -> pd.DataFrame:
    """Return samples of (repetition, rank, value) of one point."""
    key = {name: flat(RECORD)[name] for name in KEY_COLUMNS}
    return pd.DataFrame(
        [{**key, "repetition": number, "rank": rank, "value": value} for number, rank, value in samples]
    )


def test_places_are_gathered_in_fifths_and_repetitions_count_once() -> None:
    frame = rows((0, 1, 10), (0, 2, 20), (0, 2, 30), (1, 1, 40), (0, 9, 100), (0, 10, 300), (0, -1, 7))
    (by_endpoint,) = medians_by_endpoint(frame, [RECORD])
    assert by_endpoint == EndpointMedians(RECORD, (1.5, 9.5), (30.0, 200.0))


def test_fewer_endpoints_than_parts_have_no_places() -> None:
    few = make_record(metric=Metric.FORWARDING_ENDPOINT, endpoints_per_service=4)
    frame = rows((0, 1, 10)).assign(endpoints_per_service=4, services=1000, position="last", scenario="add-one")
    assert medians_by_endpoint(frame, [few]) == []


def test_a_size_has_a_panel_and_a_subject_a_line() -> None:
    nft = make_record(metric=Metric.FORWARDING_ENDPOINT, services=1, endpoints_per_service=10, settings="iptables=nft")
    wide = make_record(metric=Metric.FORWARDING_ENDPOINT, services=3, endpoints_per_service=100)
    panels = place_panels(
        [
            EndpointMedians(RECORD, (1.5,), (10.0,)),
            EndpointMedians(nft, (1.5,), (20.0,)),
            EndpointMedians(wide, (9.0,), (1.0,)),
        ]
    )
    assert [(panel.title, len(panel.lines)) for panel in panels] == [
        ("10 endpoints", 2),
        ("100 endpoints of each of 3 Services", 1),
    ]
    assert [(line.mode, line.style) for line in panels[0].lines] == [("iptables", 0), ("iptables-nft", 0)]
    assert [(point.x, point.y) for point in panels[0].lines[1].points] == [(1.5, 20.0)]
