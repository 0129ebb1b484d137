from __future__ import annotations

from proxybench.kube import objects
from proxybench.kube.access import Exposure
from proxybench.kube.objects import TRIGGER_TIME, AddressPlan
from proxybench.nodes.requests import Await, Write
from proxybench.scenarios.canary import Canary, second_canary

PLAN = AddressPlan("10.96.0.0/12", (("node1", "10.244.0.0/17"), ("node2", "10.244.128.0/17")), 8080)
CANARY = Canary(PLAN)
SERVICES = "/api/v1/namespaces/proxybench/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/proxybench/endpointslices"
SENT = "0000-00-00T00:00:00.000000000Z"  # the agent puts its own time in its place


def test_it_lives_on_the_first_node_outside_of_the_numbered_addresses() -> None:
    assert (CANARY.vip, CANARY.old, CANARY.new) == (
        "10.96.0.16",
        ("10.244.0.16", "node1"),
        ("10.244.0.17", "node1"),
    )


def test_two_share_neither_name_nor_address() -> None:
    second = second_canary(PLAN)
    assert (second.name, second.vip) == ("svc-canary-2", "10.96.0.17")
    assert len({pod.address for canary in (CANARY, second) for pod in (canary.old, canary.new)}) == 4


def test_its_service_is_posted_and_deleted() -> None:
    assert CANARY.post_service() == Write("POST", SERVICES, objects.service("svc-canary", "10.96.0.16", 8080))
    assert CANARY.delete_service() == Write("DELETE", f"{SERVICES}/svc-canary")


def test_its_slice_in_the_api_has_no_trigger_time() -> None:
    assert "annotations" not in CANARY.endpoint_slice(CANARY.old)["metadata"]


def test_a_slice_that_is_written_carries_the_time_of_sending() -> None:
    posted, put = CANARY.post_slice(), CANARY.put_slice()
    assert (posted.method, posted.path) == ("POST", SLICES)
    assert (put.method, put.path) == ("PUT", f"{SLICES}/svc-canary-000")
    for write, address in ((posted, "10.244.0.16"), (put, "10.244.0.17")):
        assert write.body is not None
        assert write.body["metadata"]["annotations"] == {TRIGGER_TIME: SENT}
        assert [endpoint["addresses"] for endpoint in write.body["endpoints"]] == [[address]]


def test_what_reads_endpoints_objects_is_told_by_them() -> None:
    canary = Canary(PLAN, in_endpoints=True)
    posted, put = canary.post_slice(), canary.put_slice()
    endpoints = "/api/v1/namespaces/proxybench/endpoints"
    assert (posted.method, posted.path) == ("POST", endpoints)
    assert (put.method, put.path) == ("PUT", f"{endpoints}/svc-canary")
    for write, address in ((posted, "10.244.0.16"), (put, "10.244.0.17")):
        assert write.body is not None
        assert write.body["metadata"]["annotations"] == {TRIGGER_TIME: SENT}
        assert [one["addresses"][0]["ip"] for one in write.body["subsets"]] == [address]


def test_over_ipv6_its_objects_say_so() -> None:
    canary = Canary(AddressPlan("fd00:10:96::/108", (("node1", "fd00:10:244:11::/64"),), 8080))
    assert (canary.vip, canary.old.address) == ("fd00:10:96::10", "fd00:10:244:11::10")
    assert canary.service()["spec"]["ipFamilies"] == ["IPv6"]
    assert canary.endpoint_slice(canary.old)["addressType"] == "IPv6"


def test_each_change_has_its_probe() -> None:
    assert CANARY.answers(7.0) == Await("10.96.0.16", 80, "answer", 7.0, ("10.244.0.16",))
    assert CANARY.moves(5.0) == Await("10.96.0.16", 80, "answer", 5.0, ("10.244.0.17",), settle_ms=300)
    assert CANARY.refuses(5.0) == Await("10.96.0.16", 80, "refusal", 5.0)


def test_an_exposed_canary_has_a_port_and_endpoints_of_its_protocol() -> None:
    canary = Canary(PLAN, number=1, exposure=Exposure(node_port=True, protocols=("UDP",)))
    (port,) = canary.service()["spec"]["ports"]
    assert (port["nodePort"], port["protocol"]) == (30_017, "UDP")
    assert canary.endpoint_slice(canary.old)["ports"][0]["protocol"] == "UDP"
