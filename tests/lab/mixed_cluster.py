"""A cluster's Services of all kinds, as an API server is sent them: the mixture of one that several teams share."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Object = dict[str, Any]

NODES = 40
TEAMS = ("payments", "search", "platform", "data", "media", "identity")
_LARGEST = 830


def namespaces() -> list[Object]:
    """Return the namespaces."""
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in TEAMS]


def cluster(services: int) -> list[tuple[Object, list[Object]]]:
    """Return Services, each with its EndpointSlices; the same each time."""
    random = Random(15)  # noqa: S311 - the same each time
    return [_service(number, services, random) for number in range(services)]


def _service(number: int, services: int, random: Random) -> tuple[Object, list[Object]]:
    kind = random.random()
    team = random.choice(TEAMS)
    name = f"{team}-{random.choice(('api', 'worker', 'cache', 'front', 'queue'))}-{number}"
    spec: Object = {"selector": {"app": name}, "ports": _ports(random)}
    if number == services // 2:  # the one that everybody uses
        return _made(name, team, spec, _LARGEST, 9, random)
    spec |= next((words(random, number) for most, words in _KINDS if kind < most), {})
    if spec.get("type") == "ExternalName":
        del spec["ports"], spec["selector"]
    endpoints = 0 if spec.get("type") == "ExternalName" else _endpoints(random)
    return _made(name, team, spec, endpoints, 2 if endpoints > 2 and random.random() < 0.03 else 1, random)


def _policy(random: Random, local: float) -> str:
    return "Local" if random.random() < local else "Cluster"


def _balanced(random: Random, number: int) -> Object:
    ranges = {"loadBalancerSourceRanges": [f"203.0.113.{number % 200}/32"]} if random.random() < 0.3 else {}
    no_ports = {"allocateLoadBalancerNodePorts": False} if random.random() < 0.2 else {}
    return {"type": "LoadBalancer", "externalTrafficPolicy": _policy(random, 0.5), **ranges, **no_ports}


_KINDS: tuple[tuple[float, Callable[[Random, int], Object]], ...] = (
    (0.09, lambda _, __: {"clusterIP": "None"}),
    (0.10, lambda _, number: {"type": "ExternalName", "externalName": f"db-{number}.example.com"}),
    (0.14, lambda random, _: {"type": "NodePort", "externalTrafficPolicy": _policy(random, 0.25)}),
    (0.17, _balanced),
    (0.18, lambda _, __: {"sessionAffinity": "ClientIP"}),
    (0.185, lambda _, __: {"internalTrafficPolicy": "Local"}),
    (0.19, lambda _, number: {"externalIPs": [f"203.0.113.{number % 200}"]}),
)
"""Up to which share of all Services what is written into a Service's spec."""


def _ports(random: Random) -> list[Object]:
    kind = random.random()
    if kind < 0.86:
        protocols = ["TCP"]
    elif kind < 0.95:
        protocols = ["TCP", "TCP"]
    elif kind < 0.97:
        protocols = ["TCP"] * 3
    elif kind < 0.985:
        protocols = ["UDP"]
    else:
        protocols = ["UDP", "TCP", "TCP"]
    return [
        {"name": f"port-{place}", "port": 8_000 + 7 * place, "targetPort": 9_000 + place, "protocol": protocol}
        for place, protocol in enumerate(protocols)
    ]


def _endpoints(random: Random) -> int:
    kind = random.random()
    if kind < 0.06:
        return 0
    if kind < 0.97:
        return min(10, 1 + int(random.expovariate(0.55)))
    return random.randrange(11, 90)


def _made(
    name: str, team: str, spec: Object, endpoints: int, slices: int, random: Random
) -> tuple[Object, list[Object]]:
    labels = {"team": team, "release": f"{name}-v{random.randrange(9)}"}
    metadata = {"name": name, "namespace": team, "labels": labels, "annotations": {"owner": f"{team}@example.com"}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    if spec.get("type") == "ExternalName":
        return service, []
    mark: Object = {"service.kubernetes.io/headless": ""} if spec.get("clusterIP") == "None" else {}
    pods = [_endpoint(random) for _ in range(endpoints)]
    ports = [{"name": one["name"], "port": one["targetPort"], "protocol": one["protocol"]} for one in spec["ports"]]
    return service, [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-{place}",
                "namespace": team,
                "labels": {"kubernetes.io/service-name": name, **mark},
            },
            "addressType": "IPv4",
            "endpoints": pods[place * endpoints // slices : (place + 1) * endpoints // slices],
            "ports": ports,
        }
        for place in range(slices)
    ]


def _endpoint(random: Random) -> Object:
    kind, node = random.random(), min(random.randrange(NODES), random.randrange(2 * NODES))
    ready, leaving = kind >= 0.02, kind < 0.005
    return {
        "addresses": [f"10.{random.randrange(1, 250)}.{random.randrange(250)}.{random.randrange(1, 250)}"],
        "conditions": {"ready": ready, "serving": ready or leaving, "terminating": leaving},
        "nodeName": f"worker-{node}.example.com",
    }
