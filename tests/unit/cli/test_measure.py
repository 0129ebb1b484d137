from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.cli.measure import measure
from proxybench.errors import ProxierError, UsageError
from proxybench.experiment.spec import Experiment
from proxybench.targets.cluster.switch.changes import CONFIG, CONFIG_MAP, Change
from proxybench.targets.cluster.switch.undo import FILE, Header, UndoLog
from proxybench.targets.cluster.target import ClusterTarget
from tests.unit.run.log import ProgressLog

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.subjects.cluster import ProxyFacts


def test_a_run_that_left_a_cluster_switched_is_not_resumed_without_leave_to_switch(tmp_path: Path) -> None:
    log = UndoLog(tmp_path / FILE, Header("https://192.0.2.1", "/k", ""))
    log.add(Change(CONFIG_MAP, CONFIG, "mode: iptables", "mode: nftables"))
    progress = ProgressLog()
    spec = {"version": 1, "name": "t", "modes": ["ipvs"], "scale": {"services": [10]}, "measure": {"cpu": True}}
    with pytest.raises(UsageError) as caught:
        measure(Experiment.model_validate(spec), tmp_path, resume=tmp_path, progress=progress)
    assert str(caught.value) == (
        f"{tmp_path}: the cluster's kube-proxy is still switched; run proxybench restore {tmp_path} first"
    )
    assert progress.stages == []


@pytest.mark.parametrize(
    ("nodes", "paths", "further"),
    [
        ("measured", ["cluster_ip"], {"n2", "n3"}),
        ("measured", ["cluster_ip@far"], {"n3"}),
        ("all", ["cluster_ip"], set()),
        ("all", ["cluster_ip", "node_port@other"], set()),
    ],
)
def test_which_further_nodes_of_a_cluster_are_needed_is_told_by_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: str, paths: list[str], further: set[str]
) -> None:
    roles = {"n1": "[client, measured]", "n2": "other", "n3": "other", "n4": "backend"}
    hosts = "".join(f"  - {{name: {name}, roles: {words}}}\n" for name, words in roles.items())
    (tmp_path / "nodes.yaml").write_text(f"version: 1\nnodes:\n{hosts}")
    made: list[ClusterTarget] = []

    def end(self: ClusterTarget) -> ProxyFacts:
        made.append(self)
        raise ProxierError("that is enough")

    monkeypatch.setattr(ClusterTarget, "look", end)
    spec = {
        "version": 1,
        "name": "t",
        "target": {"cluster": {"inventory": "nodes.yaml"}},
        "subjects": [{"kind": "cluster", "mode": "iptables"}],
        "proxier": {"nodes": nodes},
        "scale": {"services": [10]},
        "measure": {"forwarding": {"paths": paths}},
    }
    with pytest.raises(ProxierError, match=r"^that is enough$"):
        measure(Experiment.model_validate(spec), tmp_path, resume=None, progress=ProgressLog(), folder=tmp_path)
    (target,) = made
    assert target.inventory.further(target.needed) == further
