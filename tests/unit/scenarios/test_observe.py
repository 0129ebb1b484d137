from __future__ import annotations

from dataclasses import replace

import pytest

from proxybench.clocks import ClockDomain, Instant
from proxybench.errors import CommandFailedError, MeasurementError, ProxierError
from proxybench.kube.base import Bulk
from proxybench.nodes.answers import AwaitAllResult, ChangeResult, ClockReading, Slept
from proxybench.nodes.node import NodeHandle
from proxybench.nodes.requests import AskClocks, Await, AwaitAll, Change, Sleep, Write
from proxybench.scenarios.base import ProxyUnderTest
from proxybench.scenarios.observe import (
    ApiWrite,
    NodeCommand,
    Observation,
    ProxyStart,
    observe,
    observe_last,
    put_off,
    sent_again,
    write,
)
from proxybench.testing.agent import FakeAgent
from proxybench.testing.clock import FakeClock
from proxybench.testing.hosts import FakeExecutor, Run, done
from proxybench.testing.proxies import FakeProxy
from tests.factories import make_node
from tests.unit.scenarios.probes import seen

PROBE = Await("10.96.0.16", 80, "answer", 5.0)
WRITE = Write("POST", "/x", {"a": 1})
CLIENT = make_node("client", clock=ClockDomain("client's"))
NODE = make_node("node1", clock=ClockDomain("node1's"))


def handle(*script: tuple[object, object], executor: FakeExecutor | None = None) -> NodeHandle:
    return NodeHandle(NODE, executor or FakeExecutor("node1"), FakeAgent(script))  # type: ignore[arg-type] # as asked


def client(*script: tuple[object, object]) -> tuple[NodeHandle, FakeAgent]:
    agent = FakeAgent(script)  # type: ignore[arg-type] # requests with their answers
    return NodeHandle(CLIENT, FakeExecutor("client"), agent), agent


def changed(*statuses: int) -> ChangeResult:
    return ChangeResult(1, 100, (50, 100), statuses, (seen(350),))


def test_a_write_counts_from_its_last_acknowledgement_by_the_clients_clock() -> None:
    there, agent = client((Change((WRITE, WRITE), (PROBE,)), changed(201, 200)))
    found = observe(there, ApiWrite((WRITE, WRITE)), (PROBE,))
    assert found == Observation(Instant(100, ClockDomain("client's")), (seen(350),))
    agent.verify()


@pytest.mark.parametrize(
    ("acks", "effect", "unsure"),
    [((50, 100), 99, 50), ((100,), 99, 93), ((50, 100), 100, 0), ((50, 100), None, 0)],
    ids=["since the write before it", "since it was sent", "in time", "never seen"],
)
def test_a_change_seen_before_its_acknowledgement_is_uncertain_back_to_when_it_was_sent(
    acks: tuple[int, ...], effect: int | None, unsure: int
) -> None:
    result = ChangeResult(7, 100, acks, (200,) * len(acks), (seen(350), seen(effect)))
    writes = (WRITE,) * len(acks)
    there, _ = client((Change(writes, (PROBE, PROBE)), result))
    assert observe(there, ApiWrite(writes), (PROBE, PROBE)).uncertainty_ns == unsure


def test_a_write_that_is_refused_is_no_observation() -> None:
    there, _ = client((Change((WRITE,), (PROBE,)), changed(201, 409)))
    with pytest.raises(MeasurementError) as raised:
        observe(there, ApiWrite((WRITE,)), (PROBE,))
    assert str(raised.value) == "the API refused the change with status 409"


BUSY = "the API has too much to do and put the write off (429, its priority and fairness)"


def busy(seconds: float, *statuses: int) -> ChangeResult:
    return replace(changed(*statuses), put_off_s=seconds)


def waited(seconds: float) -> tuple[object, object]:
    return Sleep(seconds), Slept(0, 1)


def test_a_change_that_the_api_puts_off_is_made_anew_as_a_whole_and_it_is_noted() -> None:
    asked = Change((WRITE,), (PROBE,))
    there, agent = client((asked, busy(2)), waited(2), (asked, busy(20)), waited(20), (asked, changed(201)))
    found = observe(there, ApiWrite((WRITE,)), (PROBE,))
    assert found == Observation(Instant(100, ClockDomain("client's")), (seen(350),))
    assert agent.put_off == (2, 20)
    agent.verify()


def test_nothing_is_told_of_a_change_that_is_put_off_in_its_middle() -> None:
    there, agent = client((Change((WRITE, WRITE), (PROBE,)), busy(2, 201)))
    with pytest.raises(MeasurementError) as raised:
        observe(there, ApiWrite((WRITE, WRITE)), (PROBE,))
    assert str(raised.value) == f"{BUSY} in the middle of a change, of which nothing can be told then"
    agent.verify()


def test_writes_while_nobody_probes_go_on_where_they_were_put_off_and_are_spaced_out() -> None:
    writes = tuple(Write("PUT", f"/{number}", {}) for number in range(3))
    there, agent = client(
        (Change(writes, (), gap_s=0.02), busy(1, 200)),
        waited(1),
        (Change(writes[1:], (), gap_s=0.02), changed(200, 200)),
    )
    agent.gap_s = 0.02
    assert write(there, Change(writes, ())).statuses == (200, 200)
    agent.verify()
    one, agent = client((Change(writes[:1], ()), changed(200)))
    agent.gap_s = 0.02
    write(one, Change(writes[:1], ()))


def test_an_api_that_puts_off_time_after_time_is_told() -> None:
    asked = (Change((WRITE,), ()), busy(1))
    there, agent = client(asked, *[waited(1), asked] * 5)
    with pytest.raises(MeasurementError) as raised:
        write(there, Change((WRITE,), ()))
    assert str(raised.value) == f"{BUSY} 6 times in a row"
    agent.verify()


@pytest.mark.parametrize("first", [3600, 31, 2])
def test_half_a_minute_is_waited_for_in_all(first: int) -> None:
    asked = Change((WRITE,), (PROBE,))
    more = [waited(2), (asked, busy(29))] if first == 2 else []
    there, agent = client((asked, busy(first)), *more)
    with pytest.raises(MeasurementError) as raised:
        write(there, asked)
    assert str(raised.value) == f"{BUSY} for {max(first, 31)} s in all, which is too long to wait"
    agent.verify()


def test_the_time_of_many_writes_counts_no_wait_for_the_last() -> None:
    asked = Change((WRITE,), (PROBE,))
    there, _ = client((asked, busy(1)), waited(1), (asked, changed(201)))
    with pytest.raises(MeasurementError) as raised:
        observe_last(there, ApiWrite((WRITE,)), (PROBE,))
    assert str(raised.value) == f"{BUSY} at the end of many, whose time would count the wait"
    there, _ = client((asked, changed(201)))
    assert observe_last(there, ApiWrite((WRITE,)), (PROBE,)).probes == (seen(350),)


def test_what_was_put_off_or_sent_again_is_told_in_one_line() -> None:
    assert put_off((2.0,)) == (
        "the API had too much to do and put a change off once, for 2 s (429); it was made anew, CPU counts the wait"
    )
    assert put_off((2.0, 1.5)) == (
        "the API had too much to do and put a change off 2 times, for 3.5 s in all (429); "
        "it was made anew, CPU counts the wait"
    )
    assert sent_again(Bulk(9, 0, 1, 2)) == ""
    assert sent_again(Bulk(9, 3, 1, 2)) == (
        "3 of many writes had to be sent again (429, 5xx or no answer): their time counts the wait"
    )


def test_a_start_counts_from_the_proxys_own_start() -> None:
    there, agent = client((AwaitAll((PROBE, PROBE)), AwaitAllResult((seen(350), seen(400)))))
    proxy = FakeProxy(handle(), FakeClock(70), [])
    found = observe(there, ProxyStart(ProxyUnderTest(proxy.start, lambda: proxy.stop(1))), (PROBE, PROBE))
    assert found == Observation(Instant(70, ClockDomain("node1's")), (seen(350), seen(400)))
    agent.verify()


def test_a_start_that_fails_leaves_no_probe_behind() -> None:
    there, agent = client((AwaitAll((PROBE,)), AwaitAllResult((seen(350),))))
    proxy = FakeProxy(handle(), FakeClock(70), [], fails={"start": ProxierError("node1: it ended at once")})
    with pytest.raises(ProxierError):
        observe(there, ProxyStart(ProxyUnderTest(proxy.start, lambda: proxy.stop(1))), (PROBE,))
    agent.verify()


def test_a_command_counts_from_the_middle_of_its_run_and_is_uncertain_by_half_of_it() -> None:
    there, _ = client((AwaitAll((PROBE,)), AwaitAllResult((seen(350),))))
    executor = FakeExecutor("node1", [Run(["iptables", "-F"])])
    node = handle((AskClocks(), ClockReading(100, 0)), (AskClocks(), ClockReading(161, 0)), executor=executor)
    found = observe(there, NodeCommand(node, ("iptables", "-F")), (PROBE,))
    assert found == Observation(Instant(130, ClockDomain("node1's")), (seen(350),), 30)
    executor.assert_done()


def test_a_command_that_fails_leaves_no_probe_behind() -> None:
    there, agent = client((AwaitAll((PROBE,)), AwaitAllResult((seen(350),))))
    executor = FakeExecutor("node1", [Run(["false"], done(code=1))])
    node = handle((AskClocks(), ClockReading(100, 0)), executor=executor)
    with pytest.raises(CommandFailedError):
        observe(there, NodeCommand(node, ("false",)), (PROBE,))
    agent.verify()
