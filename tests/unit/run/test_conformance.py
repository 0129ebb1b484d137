"""Subject after subject is looked at, on proxies of all nodes, and nothing is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxybench.conformance.play import Finding
from proxybench.conformance.property import Property
from proxybench.conformance.verdict import Outcome, Verdict, judged
from proxybench.errors import ConnectionLostError, ProxierError
from proxybench.kube.base import Kind
from proxybench.kube.objects import service
from proxybench.run.conformance import Examination, Examined, everywhere
from tests.unit.run.world import CELL, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.conformance.ground import Ground

SUBJECT = CELL.subject


def world() -> World:
    return World({"cpu": True}, nodes="all")


def holds(name: str, act: Callable[[Ground], str]) -> Property[Any]:
    return Property(
        name,
        f"{name} holds",
        act=act,
        judge=lambda seen, _: judged([], [seen]),
        objects=lambda plan: (service("a", plan.canary_vip(), 8080),),
    )


def walk(site: World, act: Callable[[Ground], str], lack: str = "") -> list[Examined]:
    look = Examination(site.bench, lambda _: site.proxies(), lambda _: lack, [holds("a", act)], site.said.append)
    return list(look.walk([SUBJECT]))


def test_objects_are_there_when_the_proxies_start_and_gone_when_all_is_done() -> None:
    site = world()

    def act(ground: Ground) -> str:
        ready = [line for line in site.log if line.endswith(("start", "ready"))]
        assert ready == ["node1 start", "node2 start", "node1 ready", "node2 ready"]
        assert ground.other is not None
        return f"{len(ground.api.list(Kind.SERVICE))} Service, {ground.other.name}, {ground.pod}"

    assert walk(site, act) == [
        Examined(SUBJECT, (Finding("a", "a holds", Verdict(Outcome.PASS, "1 Service, node2, None")),))
    ]
    assert site.api.list(Kind.SERVICE) == []
    assert site.kernel_log == ["node1 capture", "node2 capture", "node1 restore", "node2 restore"]
    assert site.said == [f"{SUBJECT.label}: starting", f"{SUBJECT.label}: a holds"]


def test_a_subject_that_does_not_start_or_is_lost_is_stopped_and_says_so() -> None:
    site = world()
    site.running["node2"].fails["ready"] = ProxierError("it ended")
    assert walk(site, lambda _: "never") == [Examined(SUBJECT, (), ("conformance: it ended",))]
    assert site.log[-2:] == ["node1 stop", "node2 stop"]
    assert site.api.list(Kind.SERVICE) == []

    site = world()

    def lose(_: Ground) -> str:
        raise ConnectionLostError("gone")

    assert walk(site, lose) == [Examined(SUBJECT, (), ("conformance: gone", "conformance: not tried: a"))]
    assert "node2 stop" in site.log


def test_once_an_agent_is_broken_what_was_found_is_told_and_the_rest_is_named() -> None:
    site = world()

    def act(ground: Ground) -> str:
        ground.client.agent.broken = "talk got no answer"
        return "seen"

    properties = [holds("a", lambda _: "seen"), holds("b", act), holds("c", lambda _: "never")]
    look = Examination(site.bench, lambda _: site.proxies(), lambda _: "", properties, site.said.append)
    why = "client: the agent cannot be asked any more: talk got no answer"
    found = tuple(Finding(name, f"{name} holds", Verdict(Outcome.PASS, "seen")) for name in "ab")
    assert list(look.walk([SUBJECT, SUBJECT])) == [
        Examined(SUBJECT, found, (f"conformance: {why}", "conformance: not tried: c")),
        Examined(SUBJECT, skipped=why),
    ]


def test_a_subject_that_lacks_something_is_not_tried() -> None:
    site = world()
    assert walk(site, lambda _: "never", "it has no kernel") == [Examined(SUBJECT, skipped="it has no kernel")]
    assert site.log == []


def test_proxies_run_everywhere_and_no_load_is_made() -> None:
    site = World({"cpu": True}, load={"rate": 10, "users": 1, "duration": "1s"})
    changed = everywhere(site.experiment)
    assert (site.experiment.proxier.nodes, changed.proxier.nodes, changed.load) == ("measured", "all", None)
