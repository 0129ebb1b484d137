"""What the control loop is told at its start: one small JSON file, read without any library."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from socket import AF_INET, inet_pton

from refproxy.errors import UsageError

MODES = ("iptables", "ipvs", "userspace", "nftables")


@dataclass(frozen=True)
class LoopConfig:
    """The settings of one control loop; periods in seconds.

    ``node_ips`` are the node's own IPv4 addresses. ``token_file`` holds the API's bearer token, so that
    neither the configuration nor the command line does. ``iptables`` is the full path of the multi-call
    binary of the backend to use. ``cluster_cidr`` is empty when unknown: then no traffic counts as coming from outside.
    ``ca_file`` holds the authority that signed the API's certificate (PEM); empty: the system's authorities.
    """

    mode: str
    node_name: str
    node_ips: tuple[str, ...]
    api_url: str
    token_file: str
    cluster_cidr: str
    min_sync_period: float
    sync_period: float
    iptables: str
    metrics_port: int = 10249
    healthz_port: int = 10256
    ca_file: str = ""


def dump(config: LoopConfig) -> bytes:
    """Write the configuration as the JSON that ``load`` reads."""
    return json.dumps(asdict(config), indent=2).encode() + b"\n"


def load(path: str) -> LoopConfig:
    """Read a configuration file; raise UsageError with one line that names the file and what is wrong."""
    try:
        data = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from error
    try:
        return parse(data)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def parse(data: object) -> LoopConfig:
    """Check a decoded configuration; raise UsageError for anything missing, unknown or wrong."""
    if not isinstance(data, dict):
        raise UsageError("expected an object")
    known = {field.name: field for field in fields(LoopConfig)}
    if unknown := sorted(set(data) - set(known)):
        raise UsageError(f"unknown key: {', '.join(unknown)}")
    optional = {"metrics_port", "healthz_port", "ca_file"}
    if missing := sorted(set(known) - optional - set(data)):
        raise UsageError(f"missing key: {', '.join(missing)}")
    for name, value in data.items():
        _check_type(name, value, str(known[name].type))
    if data["mode"] not in MODES:
        raise UsageError(f"mode: expected one of {', '.join(MODES)}, got {data['mode']}")
    if data["min_sync_period"] < 0 or data["sync_period"] <= 0:
        raise UsageError("periods: min_sync_period must not be negative, sync_period must be positive")
    _check_node_ips(data["mode"], data["node_ips"])
    return LoopConfig(**{**data, "node_ips": tuple(data["node_ips"])})


def _check_node_ips(mode: str, addresses: list[str]) -> None:
    """Refuse what a data plane would fail for in its first sync: it writes them in four bytes, or into a rule."""
    for address in addresses:
        try:
            inet_pton(AF_INET, address)
        except (OSError, ValueError):
            raise UsageError(f"node_ips: expected IPv4 addresses, got {address!r}") from None
    if mode == "userspace" and not addresses:
        raise UsageError("node_ips: userspace mode needs the address to which the node's own traffic is sent")


def _check_type(name: str, value: object, wanted: str) -> None:
    """Compare a JSON value with the field's annotation as it is written above."""
    good = {
        "str": isinstance(value, str),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
        "tuple[str, ...]": isinstance(value, list) and all(isinstance(item, str) for item in value),
    }[wanted]
    if not good:
        raise UsageError(f"{name}: expected {'a list of strings' if wanted.startswith('tuple') else wanted}")
