"""The plan follows its Service ports, and a diff applied to what is held gives what is wanted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from refproxy.ipvs_plan import (
    Changes,
    Dropped,
    Member,
    Plan,
    RealServer,
    ServerId,
    State,
    VirtualServer,
    diff,
    share,
)
from refproxy.plane import Endpoint, ServicePort, ServicePortKey

NODE_IPS = ("198.18.0.1",)
IPS = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
PORTS = st.sampled_from([80, 443])

servers = st.dictionaries(
    st.builds(ServerId, st.sampled_from(["tcp", "udp"]), IPS, PORTS),
    st.builds(
        VirtualServer,
        st.sampled_from(["rr", "wrr"]),
        st.sampled_from([0, 10800]),
        # The kernel knows a real server by address and port, so one of each: the weight is a property.
        st.dictionaries(st.tuples(IPS, PORTS), st.sampled_from([0, 1]), max_size=3).map(
            lambda reals: frozenset(RealServer(*name, weight) for name, weight in reals.items())
        ),
    ),
    max_size=5,
)
members = st.frozensets(st.builds(Member, st.just("KUBE-CLUSTER-IP"), st.just("tcp"), IPS, PORTS), max_size=5)
states = st.builds(State, servers, st.frozensets(IPS), members)

keys = st.builds(
    ServicePortKey, st.just("ns"), st.sampled_from(["a", "b", "c"]), st.just("p"), st.sampled_from(["tcp", "udp"])
)
endpoints = st.lists(st.builds(Endpoint, IPS, PORTS, st.booleans()), max_size=3).map(tuple)
ports = st.dictionaries(
    keys,
    st.tuples(
        IPS,
        PORTS,
        endpoints,
        st.sampled_from([0, 30080, 30081]),
        st.lists(IPS, max_size=2).map(tuple),
        st.sampled_from([0, 60]),
        st.booleans(),
    ),
    max_size=4,
).map(lambda found: {key: ServicePort(key, *fields) for key, fields in found.items()})


def frozen(state: State) -> State:
    return State(dict(state.servers), frozenset(state.addresses), frozenset(state.members))


def applied(held: State, changes: Changes) -> State:  # noqa: C901 - one loop per kind of request
    """Do what the kernel does with the requests, and refuse what it would refuse."""
    kernel = {name: (server[:2], {real[:2]: real for real in server.reals}) for name, server in held.servers.items()}
    addresses, kept = set(held.addresses), set(held.members)
    for member in changes.members_added:
        assert member not in kept
        kept.add(member)
    for name, server in changes.servers_added:
        assert name not in kernel
        kernel[name] = (server[:2], {})
    for name, server in changes.servers_changed:
        kernel[name] = (server[:2], kernel[name][1])
    for name, real in changes.reals_added:
        assert real[:2] not in kernel[name][1]
        kernel[name][1][real[:2]] = real
    for name, real in changes.reals_changed:
        assert real[:2] in kernel[name][1]
        kernel[name][1][real[:2]] = real
    for address in changes.addresses_added:
        assert address not in addresses
        addresses.add(address)
    for name, real in changes.reals_removed:
        del kernel[name][1][real[:2]]
    for name in changes.servers_removed:
        del kernel[name]
    for address in changes.addresses_removed:
        addresses.remove(address)
    for member in changes.members_removed:
        kept.remove(member)
    rebuilt = {name: VirtualServer(*head, frozenset(reals.values())) for name, (head, reals) in kernel.items()}
    return State(rebuilt, frozenset(addresses), frozenset(kept))


@given(states, states)
def test_held_and_difference_give_wanted(held: State, wanted: State) -> None:
    assert applied(held, diff(held, wanted)) == wanted


@given(states)
def test_nothing_to_do_for_what_is_so(state: State) -> None:
    assert diff(state, state) == Changes()


@given(ports, ports, st.frozensets(keys))
def test_partial_updates_end_where_a_full_one_does(
    first: dict[ServicePortKey, ServicePort],
    second: dict[ServicePortKey, ServicePort],
    more: frozenset[ServicePortKey],
) -> None:
    plan, fresh = Plan(NODE_IPS), Plan(NODE_IPS)
    plan.replace(first)
    held = frozen(plan.state)
    changes = plan.update(second, first.keys() | second.keys() | more)
    fresh.replace(second)
    assert frozen(plan.state) == frozen(fresh.state)
    assert applied(held, changes) == frozen(fresh.state)
    assert set(plan.filled_sets) == {member.set_name for member in plan.state.members}
    plan.replace({})
    assert frozen(plan.state) == State({}, frozenset(), frozenset())


def web(name: str, ip: str = "10.0.0.1", **fields: object) -> ServicePort:
    port = ServicePort(ServicePortKey("ns", name, "", "tcp"), ip, 80, (Endpoint("10.244.0.1", 8080, local=True),))
    return replace(port, **fields)  # type: ignore[arg-type]  # fields of a ServicePort


def test_one_changed_endpoint_is_two_requests() -> None:
    plan = Plan(NODE_IPS)
    before = web("a")
    after = replace(before, endpoints=(Endpoint("10.244.1.2", 8080, local=False),))
    plan.replace({before.key: before, web("b").key: web("b", "10.0.0.2")})
    name = ServerId("tcp", "10.0.0.1", 80)
    assert plan.update({before.key: after, web("b").key: web("b", "10.0.0.2")}, {before.key}) == Changes(
        reals_added=((name, RealServer("10.244.1.2", 8080)),),
        reals_removed=((name, RealServer("10.244.0.1", 8080)),),
    )  # the loop-back member stays: b has the same local endpoint


def test_of_two_claims_to_a_virtual_server_the_first_key_wins_until_it_goes() -> None:
    a, b = web("a"), web("b", affinity_seconds=60)
    plan = Plan(NODE_IPS)
    plan.replace({b.key: b, a.key: a})
    name = ServerId("tcp", "10.0.0.1", 80)
    assert plan.state.servers[name].persistence == 0
    changes = plan.update({b.key: b}, {a.key})
    assert changes.servers_changed == ((name, plan.state.servers[name]),)
    assert plan.state.servers[name].persistence == 60


def test_local_policy_keeps_outside_traffic_on_the_node_and_inside_traffic_everywhere() -> None:
    ends = (Endpoint("10.244.0.1", 8080, local=True), Endpoint("10.244.1.1", 8080, local=False))
    found = dict(share(web("a", endpoints=ends, node_port=30080, local_only=True), NODE_IPS, "rr").servers)
    assert {name: len(server.reals) for name, server in found.items()} == {
        ServerId("tcp", "10.0.0.1", 80): 2,
        ServerId("tcp", "198.18.0.1", 30080): 1,
        ServerId("tcp", "127.0.0.1", 30080): 1,
    }


LEFT = (Endpoint("10.244.0.7", 8080, local=True), Endpoint("10.244.1.7", 8080, local=False))


def weights(port: ServicePort, name: ServerId) -> dict[str, int]:
    return {real.address: real.weight for real in dict(share(port, NODE_IPS, "rr").servers)[name].reals}


def test_endpoints_that_leave_keep_their_connections_and_get_no_new_ones() -> None:
    name = ServerId("tcp", "10.0.0.1", 80)
    assert weights(web("a", leaving=LEFT), name) == {"10.244.0.1": 1, "10.244.0.7": 0, "10.244.1.7": 0}
    plan, before, after = Plan(NODE_IPS), web("a", endpoints=LEFT[:1]), web("a", leaving=LEFT[:1])
    plan.replace({before.key: before})
    changes = plan.update({after.key: after}, {after.key})
    assert changes.reals_added == ((name, RealServer("10.244.0.1", 8080)),)
    assert changes.reals_changed == ((name, RealServer("10.244.0.7", 8080, 0)),)
    assert changes.reals_removed == ()
    flow = replace(web("a", leaving=LEFT), key=ServicePortKey("ns", "a", "", "udp"))
    assert weights(flow, ServerId("udp", "10.0.0.1", 80)) == {"10.244.0.1": 1}  # a flow has no end to wait for


def test_local_policy_gives_outside_traffic_to_local_endpoints_that_leave_where_no_other_is_local() -> None:
    node = ServerId("tcp", "198.18.0.1", 30080)
    outer: dict[str, Any] = {"node_port": 30080, "local_only": True, "leaving": LEFT}
    far = web("a", endpoints=(Endpoint("10.244.1.1", 8080, local=False),), **outer)
    assert weights(far, node) == {"10.244.0.7": 1}
    assert Member("KUBE-LOOP-BACK", "tcp", "10.244.0.7", 8080, "10.244.0.7") in share(far, NODE_IPS, "rr").members
    assert weights(web("a", **outer), node) == {"10.244.0.1": 1, "10.244.0.7": 0}
    assert share(far, NODE_IPS, "rr").dropped == ()


def test_what_comes_from_outside_to_a_node_without_a_local_endpoint_is_dropped() -> None:
    ends = (Endpoint("10.244.1.1", 8080, local=False),)
    outer: dict[str, Any] = {"external_ips": ("192.0.2.9",), "ingress_ips": ("203.0.113.1",), "local_only": True}
    far, here = web("a", endpoints=ends, node_port=30080, **outer), web("a", node_port=30080, **outer)
    where = (Dropped("tcp", "", 30080), Dropped("tcp", "192.0.2.9", 80), Dropped("tcp", "203.0.113.1", 80))
    plan = Plan(NODE_IPS)
    plan.replace({far.key: far})
    assert list(plan.dropped) == [*where]
    other = web("b", "10.0.0.2", endpoints=ends, **outer)
    plan.update({far.key: far, other.key: other}, {other.key})
    assert list(plan.dropped) == [*where]
    plan.update({other.key: other, here.key: here}, {here.key})
    assert list(plan.dropped) == [*where[1:]]
    plan.replace({})
    assert list(plan.dropped) == []
    assert share(replace(far, endpoints=()), NODE_IPS, "rr").dropped == ()  # without any, it is refused
    assert share(replace(far, local_only=False), NODE_IPS, "rr").dropped == ()


@given(st.permutations([f"s{number}" for number in range(9)]), st.integers(0, 9), st.booleans())
def test_new_services_come_in_the_order_of_creation(names: list[str], first: int, full: bool) -> None:
    wanted = [web(name, f"10.0.0.{number}", endpoints=()) for number, name in enumerate(names)]
    plan = Plan(NODE_IPS)
    plan.replace({port.key: port for port in wanted[:first]})
    ports = {port.key: port for port in wanted}
    if full:
        plan.update({}, ports.keys() - {wanted[-1].key})  # the rest is remembered in another order
        changes, start = diff(State({}, frozenset(), frozenset()), plan.replace(ports)), 0
    else:
        changes, start = plan.update(ports, frozenset(ports)), first
    assert [name.address for name, _ in changes.servers_added] == [port.cluster_ip for port in wanted[start:]]
    assert changes.addresses_added == tuple(port.cluster_ip for port in wanted[start:])
    assert [member.address for member in changes.members_added] == [port.cluster_ip for port in wanted[start:]]
    gone = plan.update({}, frozenset(ports))
    assert gone.addresses_removed == tuple(sorted(port.cluster_ip for port in wanted))
    assert [name.address for name in gone.servers_removed] == list(gone.addresses_removed)
    assert [member.address for member in gone.members_removed] == list(gone.addresses_removed)
