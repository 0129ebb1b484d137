"""The configuration file and the process around the loop, without a kernel."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from refproxy import __main__ as process
from refproxy.__main__ import PLANES, main, make_plane, serve
from refproxy.config import MODES, LoopConfig, dump, load, parse
from refproxy.errors import ProxierError, UsageError
from refproxy.iptables_plane import IptablesPlane

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = LoopConfig("iptables", "n", ("10.1.0.1",), "http://127.0.0.1:1", "t", "", 0.5, 30.0, "/x", 1, 2, "/ca")


def test_a_configuration_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(dump(CONFIG))
    assert load(str(path)) == CONFIG


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "magic"}, "mode: expected one of iptables, ipvs, userspace, nftables, got magic"),
        ({"more": 1, "extra": 2}, "unknown key: extra, more"),
        ({"node_ips": "10.1.0.1"}, "node_ips: expected a list of strings"),
        ({"node_ips": ["10.1.0.1", "node1"]}, "node_ips: expected IPv4 addresses, got 'node1'"),
        ({"node_ips": ["10.1\0"]}, "node_ips: expected IPv4 addresses, got '10.1\\x00'"),
        (
            {"mode": "userspace", "node_ips": []},
            "node_ips: userspace mode needs the address to which the node's own traffic is sent",
        ),
        ({"sync_period": "30"}, "sync_period: expected float"),
        ({"metrics_port": True}, "metrics_port: expected int"),
        (
            {"sync_period": 0},
            "periods: min_sync_period must not be negative, sync_period must be positive",
        ),
    ],
)
def test_a_wrong_setting_is_told(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse({**asdict(CONFIG), "node_ips": ["10.1.0.1"], **change})
    assert str(caught.value) == message


def test_missing_settings_are_told_together() -> None:
    data = asdict(CONFIG) | {"node_ips": []}
    del data["mode"], data["api_url"], data["metrics_port"]
    with pytest.raises(UsageError) as caught:
        parse(data)
    assert str(caught.value) == "missing key: api_url, mode"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: No such file or directory"), ("[]", "expected an object")],
)
def test_an_unreadable_file_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError) as caught:
        load(str(path))
    assert str(caught.value) == f"{path}: {message}"


def test_every_mode_with_a_plane_is_a_mode() -> None:
    assert set(PLANES) <= set(MODES)
    assert isinstance(make_plane(CONFIG), IptablesPlane)
    with pytest.raises(UsageError) as caught:
        make_plane(LoopConfig(**{**asdict(CONFIG), "mode": "nftables"}))
    assert str(caught.value) == "mode nftables: the reference proxier has no data plane for it"


def test_wrong_arguments_end_with_the_usage_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--what"]) == 2
    assert capsys.readouterr().err == "usage: python -m refproxy --config FILE.json\n"


def test_the_process_imports_nothing_heavy() -> None:
    heavy = ["asyncio", "pydantic", "pandas", "numpy", "prometheus_client", "paramiko", "pyroute2"]
    code = (
        "import sys, json; import refproxy.__main__, refproxy.reflector, "
        "refproxy.iptables_plane; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not set(heavy) & set(json.loads(done.stdout))


class FakePlane:
    """Notes what is asked, and what the metrics' port answers while all is being removed."""

    def __init__(self, metrics_port: int) -> None:
        self.metrics_port = metrics_port
        self.events: list[str] = []

    def setup(self) -> None:
        self.events.append("setup")
        raise ProxierError("sysctl x=1: Read-only file system")

    def sync(self, ports: object, changed: object) -> None:
        raise AssertionError("nothing was listed")

    def relayed_ns(self) -> None:
        raise AssertionError("nobody asks for metrics")

    def cleanup(self) -> None:
        with socket.socket() as probe:
            refused = probe.connect_ex(("127.0.0.1", self.metrics_port))
        self.events.append("cleanup, the port is free" if refused else "cleanup, the port is held")


@pytest.fixture
def signals() -> Iterator[None]:
    """Put back the handlers that ``serve`` sets."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("busy", [0, 1], ids=["metrics", "healthz"])
def test_a_second_loop_on_a_taken_port_touches_nothing(
    busy: int, free_ports: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = FakePlane(free_ports[0])
    monkeypatch.setattr(process, "make_plane", lambda config: plane)
    config = replace(CONFIG, metrics_port=free_ports[0], healthz_port=free_ports[1])
    with socket.create_server(("127.0.0.1", free_ports[busy])), pytest.raises(ProxierError) as caught:
        serve(config)
    assert str(caught.value) == f"127.0.0.1:{free_ports[busy]} cannot be listened on: {os.strerror(errno.EADDRINUSE)}"
    assert plane.events == []


@pytest.mark.usefixtures("signals")
def test_the_ports_are_held_until_all_is_removed(
    free_ports: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("secret")
    plane = FakePlane(free_ports[0])
    monkeypatch.setattr(process, "make_plane", lambda config: plane)
    config = replace(CONFIG, metrics_port=free_ports[0], healthz_port=free_ports[1], token_file=str(tmp_path / "token"))
    with pytest.raises(ProxierError, match=r"^sysctl x=1: Read-only file system$"):
        serve(config)
    assert plane.events == ["setup", "cleanup, the port is held"]
