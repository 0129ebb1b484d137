"""What the supervisor of a netns lab is to build and serve: a small JSON file between two processes. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003 - pydantic reads the annotations
from dataclasses import dataclass

from pydantic import TypeAdapter


@dataclass(frozen=True)
class Relay:
    """From ``address:port`` in a namespace to port ``to`` of this machine's loopback, bytes as they are."""

    namespace: str
    address: str
    port: int
    to: int


@dataclass(frozen=True)
class Plan:
    """Scripts are paths. ``network`` builds the namespaces; ``start`` holds commands to run beside them, by a name.

    By node, ``holders`` keeps its mounts alive and ``connections`` serves one SSH connection in it. ``ready`` is the
    file that is written, with the nodes' loopback ports, once all of them can be reached; in ``ended`` stands a line
    for each of those that are to stay and have ended.
    """

    network: str
    start: Mapping[str, tuple[str, ...]]
    holders: Mapping[str, str]
    connections: Mapping[str, str]
    relay: Relay
    ready: str
    ended: str

    def to_json(self) -> str:
        """Write it."""
        return json.dumps(_ADAPTER.dump_python(self, mode="json"))


_ADAPTER = TypeAdapter(Plan)


def read_plan(text: str) -> Plan:
    """Read what ``to_json`` wrote; raises ValueError for anything else."""
    return _ADAPTER.validate_json(text)
