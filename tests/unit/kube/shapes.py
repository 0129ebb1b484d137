"""Profiles for tests: drawn by hypothesis, and one of all kinds."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from proxybench.experiment.profile import Profile, ServiceType, Shape, findings

MIXED = Profile.model_validate(
    {
        "version": 1,
        "nodes": {"count": 40, "shares": [0.01, 0.02, 0.25, 0.3, 0.4]},
        "shapes": [
            {
                "services": 60,
                "type": "ClusterIP",
                "ports": {"tcp": 1},
                "endpoints": {0: 5, 1: 20, 2: 30, 3: 5},
                "slices": {1: 60},
                "unready": 3,
                "terminating": 1,
            },
            {
                "services": 3,
                "type": "ClusterIP",
                "ports": {"tcp": 2, "udp": 1},
                "session_affinity": "ClientIP",
                "endpoints": {2: 2, 250: 1},
                "slices": {1: 2, 4: 1},
            },
            {
                "services": 2,
                "type": "NodePort",
                "ports": {"tcp": 2},
                "external_traffic_policy": "Local",
                "endpoints": {2: 2},
                "slices": {1: 2},
            },
            {
                "services": 2,
                "type": "LoadBalancer",
                "ports": {"tcp": 2},
                "external_traffic_policy": "Local",
                "load_balancer_ip": True,
                "source_ranges": True,
                "endpoints": {2: 2},
                "slices": {1: 2},
            },
            {
                "services": 1,
                "type": "LoadBalancer",
                "ports": {"udp": 1},
                "node_ports": False,
                "endpoints": {1: 1},
                "slices": {1: 1},
            },
            {
                "services": 1,
                "type": "ClusterIP",
                "ports": {"tcp": 1},
                "external_ips": True,
                "internal_traffic_policy": "Local",
                "endpoints": {2: 1},
                "slices": {2: 1},
            },
            {"services": 5, "type": "Headless"},
            {"services": 2, "type": "ExternalName"},
        ],
    }
)


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a shape whose numbers are small, so that none is rounded."""
    kind = draw(st.sampled_from(ServiceType))
    services = draw(st.integers(1, 6))
    if kind in {ServiceType.HEADLESS, ServiceType.EXTERNAL_NAME}:
        return {"services": services, "type": str(kind)}
    balanced = kind is ServiceType.LOAD_BALANCER
    external = draw(st.booleans())
    ports = draw(st.fixed_dictionaries({"tcp": st.integers(0, 3), "udp": st.integers(0, 2)}))
    numbers = draw(st.lists(st.integers(0, 9), min_size=services, max_size=services))
    slices = draw(st.lists(st.integers(1, 3), min_size=services, max_size=services))
    outside = balanced or external or kind is ServiceType.NODE_PORT
    return {
        "services": services,
        "type": str(kind),
        "ports": ports if sum(ports.values()) else {"tcp": 1},
        "external_traffic_policy": draw(st.sampled_from(["Cluster", "Local"])) if outside else "Cluster",
        "internal_traffic_policy": draw(st.sampled_from(["Cluster", "Local"])),
        "session_affinity": draw(st.sampled_from(["None", "ClientIP"])),
        "node_ports": draw(st.booleans()) if balanced else True,
        "external_ips": external,
        "load_balancer_ip": balanced and draw(st.booleans()),
        "source_ranges": balanced and draw(st.booleans()),
        "endpoints": {number: numbers.count(number) for number in numbers},
        "slices": {number: slices.count(number) for number in slices},
        "unready": draw(st.integers(0, min(4, sum(numbers) // 2))),
        "terminating": draw(st.integers(0, min(4, sum(numbers) // 2))),
    }


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Draw a profile of a few shapes, no two of one kind."""
    found = [Shape.model_validate(shape) for shape in draw(st.lists(shapes(), min_size=1, max_size=5))]
    told = {"services", "endpoints", "slices", "unready", "terminating"}
    kinds = {repr(shape.model_dump(exclude=told)): shape for shape in found}
    profile = Profile(version=1, shapes=tuple(kinds.values()))
    assert not list(findings(profile))
    return profile
