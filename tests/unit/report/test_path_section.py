from __future__ import annotations

import pytest

from proxybench.model import Metric
from proxybench.report.drawing import Rect
from proxybench.report.layout import draw
from proxybench.report.path_section import path_panels
from proxybench.report.shapes import MEDIAN, Bar
from proxybench.report.words import path_name
from tests.unit.report.conftest import make_record


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
