"""The settings of a subject: what ``Subject.settings`` may hold, and what each kind of proxy takes from it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from proxybench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.model import Subject

BACKENDS = ("legacy", "nft")


@dataclass(frozen=True)
class ProxySettings:
    """How a proxy is to run; pinned for every mode, and printed in the report.

    ``min_sync_period`` and ``sync_period`` in seconds. ``iptables`` is the backend: "legacy" or "nft".
    ``content_type`` is what kube-proxy asks the API server for. ``node_port_addresses`` are the ranges of the node's
    addresses on which NodePorts answer; unset, the modes differ. ``path``, ``source``: a kube-proxy binary, or a
    checkout of Kubernetes to build one from, instead of a release. ``config``: what is laid over the rendered
    configuration at last.
    """

    min_sync_period: float = 1.0
    sync_period: float = 30.0
    iptables: str = "legacy"
    content_type: str = "application/json"
    node_port_addresses: tuple[str, ...] = ("0.0.0.0/0",)
    path: str = ""
    source: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)


DEFAULTS = ProxySettings()
_NAMES = tuple(item.name for item in fields(ProxySettings))


def read_settings(subject: Subject, common: ProxySettings = DEFAULTS) -> ProxySettings:
    """Return ``common`` with what the subject sets differently.

    ``Subject.settings`` holds texts: periods in seconds ("1.5"), addresses separated by commas, ``config`` as JSON.
    Raises UsageError for a name or a value that makes no sense.
    """
    changes: dict[str, Any] = {}
    for name, text in subject.settings:
        if name == "binary":
            continue  # tells two files of one version apart; nothing to set
        if name not in _NAMES:
            raise UsageError(f"{subject.kind}: there is no setting {name}; there are {', '.join(_NAMES)}")
        changes[name] = _value(name, text)
    return replace(common, **changes)


def _value(name: str, text: str) -> object:
    if name in {"min_sync_period", "sync_period"}:
        return _seconds(name, text)
    if name == "node_port_addresses":
        return tuple(filter(None, text.split(",")))
    if name == "config":
        return _overlay(text)
    if name == "iptables" and text not in BACKENDS:
        raise UsageError(f'iptables: expected one of {", ".join(BACKENDS)}, got "{text}"')
    return text


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise UsageError(f'{name}: expected seconds, got "{text}"') from None
    if not 0 <= seconds < float("inf"):
        raise UsageError(f'{name}: expected seconds, got "{text}"')
    return seconds


def _overlay(text: str) -> dict[str, Any]:
    try:
        overlay = json.loads(text)
    except ValueError:
        overlay = None
    if not isinstance(overlay, dict):
        raise UsageError("config: expected a mapping, as JSON")
    return overlay
