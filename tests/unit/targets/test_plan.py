from __future__ import annotations

import json
from typing import Any

import pytest

from proxybench.targets.lab.plan import Plan, Relay, read_plan

PLAN = Plan(
    network="/s/network.sh",
    start={"the server of pods1": ("ip", "netns", "exec", "pods1", "backend")},
    holders={"node1": "/s/node1.sh"},
    connections={"node1": "/s/node1.connection.sh"},
    relay=Relay("ctl", "198.18.0.1", 6443, 40123),
    ready="/s/ready.json",
    ended="/s/ended",
)


def test_what_is_written_is_read_back() -> None:
    assert read_plan(PLAN.to_json()) == PLAN


@pytest.mark.parametrize(
    "change", [{"relay": None}, {"start": "ip"}, {"ready": 1}, {"holders": {"node1": ["a"]}}, {"relay": {"port": "x"}}]
)
def test_anything_else_is_an_error(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        read_plan(json.dumps(json.loads(PLAN.to_json()) | change))
