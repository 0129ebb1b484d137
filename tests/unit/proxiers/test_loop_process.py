"""The configuration file and the process around the loop, without a kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import UsageError
from proxybench.proxiers.reference.__main__ import PLANES, main, make_plane
from proxybench.proxiers.reference.config import MODES, LoopConfig, dump, load, parse
from proxybench.proxiers.reference.iptables_plane import IptablesPlane

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = LoopConfig("iptables", "n", ("10.1.0.1",), "http://127.0.0.1:1", "t", "", 0.5, 30.0, "/x", "/w", 1, 2)


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
    assert capsys.readouterr().err == "usage: python -m proxybench.proxiers.reference --config FILE.json\n"


def test_the_process_imports_nothing_heavy() -> None:
    heavy = ["asyncio", "pydantic", "pandas", "numpy", "prometheus_client", "paramiko", "pyroute2"]
    code = (
        "import sys, json; import proxybench.proxiers.reference.__main__, proxybench.kube.reflector, "
        "proxybench.proxiers.reference.iptables_plane; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not set(heavy) & set(json.loads(done.stdout))
