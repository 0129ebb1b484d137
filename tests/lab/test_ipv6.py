"""A real kube-proxy over IPv6, in a dual-stack netns lab, by the program as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from proxybench.results.folder import open_run
from tests.lab.binaries import FIRST_BUILD_S, kube_proxy

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root"),
    pytest.mark.timeout(FIRST_BUILD_S),
]

MEASURED = {
    ("add-one", "sync.end_to_end"),
    ("cold-start", "sync.end_to_end"),
    ("cold-start", "sync.programmed"),
    ("change-endpoint", "sync.end_to_end"),
    ("delete-one", "sync.end_to_end"),
    ("steady", "forwarding.bare"),
    ("steady", "forwarding.connect"),
    ("steady", "forwarding.direct"),
}


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_services_of_ipv6_are_programmed_changed_and_connected_to(mode: str, tmp_path: Path) -> None:
    experiment = {
        "version": 1,
        "name": "six",
        "target": {"lab": {"kind": "netns"}},
        "subjects": [{"kind": "kube-proxy", "path": str(kube_proxy()), "mode": mode}],
        "families": ["ipv6"],
        "scale": {"services": [10]},
        "repetitions": 1,
        "measure": {
            "sync": {"scenarios": ["cold-start", "add-one", "change-endpoint", "delete-one"]},
            "forwarding": {"connections": 20, "established": 0},
        },
    }
    (tmp_path / "six.yaml").write_text(json.dumps(experiment))
    argv = [sys.executable, "-m", "proxybench", "run", str(tmp_path / "six.yaml"), "--out", str(tmp_path)]
    subprocess.run(argv, check=True, timeout=120)
    run = open_run(tmp_path / "six" / "latest")
    found = [record for record in run.summary() if (record["scenario"], record["metric"]) in MEASURED]
    assert {(record["scenario"], record["metric"]) for record in found} == MEASURED
    assert {(record["family"], record["censored"]) for record in found} == {("ipv6", 0)}
    ranks = run.samples()["rank"].dropna()
    assert bool((ranks > 0).any()) == (mode == "iptables")
