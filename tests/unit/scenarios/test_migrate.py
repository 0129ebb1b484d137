from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.model import Mode
from proxybench.nodes.kernel.state import Thing
from proxybench.scenarios.proxies import Launcher
from tests.unit.run.world import World

if TYPE_CHECKING:
    from proxybench.nodes.node import NodeHandle
    from proxybench.scenarios.result import StepResult
    from proxybench.subjects.driver import RunningProxy

OURS = Thing("iptables-legacy nat", "chain", "KUBE-SERVICES")
STUCK = Thing("iptables-legacy filter", "chain", "KUBE-FIREWALL")
THEIRS = Thing("nft", "table", "ip kube-proxy")


def world() -> World:
    made = World({"migrate": {"to": "nftables", "interval": "10ms"}})

    def launcher(name: str) -> Launcher:
        def launch(handle: NodeHandle) -> RunningProxy:
            made.log.append(f"launch {name}")
            return made.running[handle.name].start()

        return Launcher(name, Mode.IPTABLES, launch, lambda _: made.log.append(f"clean {name}"))

    made.pair = (launcher("the old"), launcher("the new"))
    # Before and after each of the four ways; what was stuck stays stuck.
    old, new = (STUCK, OURS), (STUCK, THEIRS)
    made.kernels.things = [*(old, new), *(new, old), *(old, (STUCK,)), *(new, old)]
    return made


def acts(made: World) -> list[str]:
    return [line for line in made.log if line.startswith(("launch", "clean")) or line == "node1 stop"]


def left(result: StepResult) -> dict[str, int]:
    return {str(one.point.scenario): one.value for one in result.samples if one.metric == "event.left"}


def test_there_and_back_with_the_rules_there_and_cleaned_up() -> None:
    made = world()
    result = made.take()
    assert result.problems == []
    switches = [line for line in acts(made) if line != "node1 stop"]
    assert switches == [
        *("launch the new", "launch the old"),
        *("clean the old", "launch the new", "clean the new", "launch the old"),
    ]
    assert acts(made)[:2] == ["node1 stop", "launch the new"]
    assert len(made.watches) == 4
    for scenario in ("migrate", "migrate-back", "migrate-cleaned", "migrate-back-cleaned"):
        found = made.metrics(result, scenario)
        assert (found["event.lost"], found["event.broken"]) == ([9], [0])
        assert found["event.outage"] == [40_000_000]


def test_what_is_left_of_the_one_that_went_is_counted_and_named() -> None:
    result = world().take()
    assert left(result) == {"migrate": 1, "migrate-back": 0, "migrate-cleaned": 1, "migrate-back-cleaned": 0}
    assert result.notes == [
        "migrate: of the old's there is still iptables-legacy filter: chain KUBE-FIREWALL",
        "migrate-cleaned: of the old's there is still iptables-legacy filter: chain KUBE-FIREWALL",
    ]


def test_a_subject_that_cannot_run_is_not_migrated_to() -> None:
    made = world()
    made.pair = ()
    assert made.take().problems == ["migration: the subject to migrate to is not there"]
