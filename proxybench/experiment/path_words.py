"""The words of paths in an experiment file: which there are, and what a Service must have for them. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from proxybench.experiment.words import show, suggest
from proxybench.model import Address, Origin, ServicePath, Transport

_WAYS = {
    Address.CLUSTER_IP: (Origin.CLIENT, Origin.FAR, Origin.NODE, Origin.POD),
    Address.NODE_PORT: tuple(Origin),
    # Another node, and this one for pods elsewhere, drop what comes for a Service with externalTrafficPolicy: Local.
    Address.NODE_PORT_LOCAL: (Origin.CLIENT, Origin.NODE, Origin.POD),
    Address.EXTERNAL_IP: (Origin.CLIENT, Origin.FAR, Origin.NODE, Origin.POD),
    Address.LOAD_BALANCER_IP: (Origin.CLIENT, Origin.FAR, Origin.NODE, Origin.POD),
}
"""From where a Service can be connected to: only a node's own address is one of another node's."""

PATHS = {
    str(path): path
    for path in (
        ServicePath(address, origin, transport)
        for address, origins in _WAYS.items()
        for transport in Transport
        for origin in origins
    )
}
"""Every path that can be measured, by its word."""


def parse_path(value: object) -> ServicePath:
    """Read a path. Raises ValueError with what would be right."""
    if isinstance(value, ServicePath):
        return value
    found = PATHS.get(value) if isinstance(value, str) else None
    if found is None:
        addresses = ", ".join(Address)
        right = f"{addresses}, each with /udp, @far, @other, @node or @pod as docs/nodeport.md has it"
        near = suggest(str(value), PATHS, "")
        raise ValueError(f"{show(value)} is no path; {near if near.startswith('did') else f'one of: {right}'}")
    return found


PathWord = Annotated[
    ServicePath,
    BeforeValidator(parse_path),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "enum": list(PATHS)}),
]
"""A path as text."""
