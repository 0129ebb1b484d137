from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxybench.model import Mode, ServicePath
from proxybench.nodes.exchange import Exchange, ExchangeResult, Heard
from proxybench.nodes.requests import Connect
from proxybench.scenarios.peers import expected
from tests.unit.run.world import World, connected

if TYPE_CHECKING:
    from proxybench.scenarios.result import StepResult

CLIENT, NODE2 = "198.18.1.10", "198.18.1.12"


@pytest.mark.parametrize(
    ("path", "mode", "right"),
    [
        ("node_port@other", Mode.IPTABLES, (NODE2, "the other node's")),
        ("node_port@other", Mode.USERSPACE, (NODE2, "the other node's")),
        ("node_port_local", Mode.NFTABLES, (CLIENT, "the client's")),
        ("node_port_local/udp", Mode.NFTABLES, (CLIENT, "the client's")),
        ("node_port_local", Mode.USERSPACE, None),
        ("node_port_local@pod", Mode.IPTABLES, None),
        ("node_port", Mode.IPTABLES, None),
        ("cluster_ip", Mode.IPTABLES, None),
    ],
)
def test_whom_endpoints_must_see(path: str, mode: Mode, right: tuple[str, str] | None) -> None:
    assert expected(ServicePath.parse(path), mode, CLIENT, ("198.18.1.11", NODE2)) == right


def taken(peer: str) -> tuple[World, StepResult]:
    """Take a step over a plain path and one by another node, whose endpoints see ``peer``."""
    paths = ["cluster_ip", "node_port@other"]
    world = World({"forwarding": {"paths": paths, "positions": ["first", "last"], "established": 0}})

    def heard(request: Exchange) -> ExchangeResult:
        assert (request.host, request.count) == (NODE2, 4)
        (found,) = {target.expect for target in asked if target.label == "node_port@other last"}
        return ExchangeResult((Heard(found[0], peer, 4),), {}, 0, 4)

    asked: list[Any] = []

    def noted(request: Connect) -> object:
        asked.extend(request.targets)
        return connected(world, request)

    world.answers |= {Exchange: heard, Connect: noted}
    return world, world.take(exposed=world.experiment.measure.paths)


def test_a_path_at_whose_end_the_right_address_is_seen_is_measured() -> None:
    _, result = taken(NODE2)
    assert result.problems == []
    (check,) = (one for one in result.checks if one.check.startswith("node_port"))
    assert (check.check, check.passed) == ("node_port@other: endpoints see the other node's address", True)
    assert check.detail.endswith("; endpoints saw the other node's 198.18.1.12")
    assert measured(result) == {"cluster_ip", "node_port@other"}


def test_a_path_at_whose_end_another_is_seen_is_not_measured() -> None:
    _, result = taken(CLIENT)
    first, last = result.problems[0].split("; node_port@other last: ")
    wrong = "endpoints saw 198.18.1.10 and not the other node's 198.18.1.12; n = 4: 4 by "
    assert first.startswith(f"forwarding: node_port@other first: {wrong}")
    assert last.startswith(wrong)
    assert measured(result) == {"cluster_ip"}


def measured(result: StepResult) -> set[str]:
    return {sample.point.path for sample in result.samples if sample.metric == "forwarding.connect"}
