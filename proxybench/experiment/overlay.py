"""``config`` of a subject: what a user lays over the KubeProxyConfiguration that proxybench writes. Pure."""

from __future__ import annotations

import json
import math
from itertools import islice
from typing import TYPE_CHECKING, Any

from proxybench.experiment.words import show

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DEPTH = 8
_VALUES = 500
_ITS_OWN = "proxybench sets it itself; remove it"
_SETTING = "write it in settings, so that it is checked and shown: settings: {{{}: …}}"
RESERVED: Mapping[tuple[str, ...], str] = {
    ("apiVersion",): _ITS_OWN,
    ("kind",): _ITS_OWN,
    ("mode",): "write it beside config: mode: …",
    ("clientConnection", "kubeconfig"): _ITS_OWN,
    ("hostnameOverride",): _ITS_OWN,
    ("healthzBindAddress",): _ITS_OWN,
    ("metricsBindAddress",): _ITS_OWN,
    **{
        (section, key): _SETTING.format(name)
        for section in ("iptables", "ipvs", "nftables")
        for key, name in (("minSyncPeriod", "min_sync_period"), ("syncPeriod", "sync_period"))
    },
}
"""Keys that an overlay must not set, and what to do instead."""


def plain(value: object) -> object:
    """Check that a mapping is one that JSON could write: no dates, no loops, not deeper than 8, at most 500 values."""
    if not isinstance(value, dict):
        return value  # pydantic says that it is no mapping
    if sum(1 for _ in islice(_walk(value, 0), _VALUES + 2)) > _VALUES + 1:  # the mapping itself is one more
        raise ValueError(f"more than {_VALUES} values; write only what differs from the usual configuration")
    return value


def leaves(overlay: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value of an overlay with the keys that lead to it; a list, or an empty mapping, is one value."""
    for key, value in overlay.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def written(value: object) -> str:
    """Return a value in one line: text as it is, anything else as compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))


def _walk(value: object, depth: int) -> Iterator[object]:
    if depth > _DEPTH:
        raise ValueError(f"nested deeper than {_DEPTH}; a KubeProxyConfiguration is not")
    yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _walk(inner, depth + 1)
    elif not (value is None or isinstance(value, str | bool | int | float)):
        raise ValueError(f"{show(value)} is a {type(value).__name__}; write it in quotes")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no number that JSON knows; write another")
