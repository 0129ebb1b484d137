from __future__ import annotations

import pytest

from proxybench.clocks import ClockDomain, Instant
from proxybench.errors import CommandFailedError, MeasurementError, ProxierError
from proxybench.nodes.answers import AwaitAllResult, ChangeResult, ClockReading
from proxybench.nodes.node import NodeHandle
from proxybench.nodes.requests import AskClocks, Await, AwaitAll, Change, Write
from proxybench.scenarios.base import ProxyUnderTest
from proxybench.scenarios.observe import ApiWrite, NodeCommand, Observation, ProxyStart, observe
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
