from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.kube.base import Kind
from proxybench.kube.objects import NAMESPACE, SELECTOR
from proxybench.nodes.requests import Change
from tests.unit.run.world import World, changed

if TYPE_CHECKING:
    from proxybench.nodes.answers import ChangeResult


def test_a_restart_is_watched_through_all_positions() -> None:
    made = World({"events": {"scenarios": ["restart"], "interval": "10ms"}})
    result = made.take()
    assert result.problems == []
    (targets,) = made.watches
    assert [(one.label, one.kind, one.interval_ms) for one in targets] == [
        ("first", "tcp", 10),
        ("first, held", "held", 10),
        ("middle", "tcp", 10),
        ("middle, held", "held", 10),
        ("last", "tcp", 10),
        ("last, held", "held", 10),
    ]
    starts = [line for line in made.log if line.startswith("node1 ") and line.split()[1] in {"start", "ready", "stop"}]
    once = ["node1 start", "node1 ready", "node1 stop"]
    assert starts == [*once, *once, "node1 stop"]  # at the end all are stopped, which is nothing for the first
    found = made.metrics(result, "restart")
    assert found["event.lost"] == [9]
    assert found["event.stall"] == [7_000_000]
    assert found["sync.control_loop"] == [500_000_000]  # counted from its birth
    assert sorted(name for name in result.logs if name.endswith(".log")) == [
        "004-iptables-node1-2.log",
        "004-iptables-node1.log",
    ]


def test_what_changed_while_it_was_away_is_awaited_from_its_start() -> None:
    made = World({"events": {"scenarios": ["restart-changed"]}})
    requests: list[Change] = []

    def note(request: Change) -> ChangeResult:
        requests.append(request)
        return changed(made, request)

    made.answers[Change] = note
    result = made.take()
    assert result.problems == []
    (request,) = requests
    assert [(write.method, write.path.rpartition("/")[2]) for write in request.writes] == [
        ("PUT", "svc-event-tcp-000-000")
    ]
    assert made.log.index("client change") > made.log.index("node1 stop")
    found = made.metrics(result, "restart-changed")
    assert found["sync.end_to_end"] == [2_000_000]
    assert made.api.list(Kind.SERVICE, NAMESPACE, SELECTOR)[-1]["metadata"]["name"] == "svc-00009"
