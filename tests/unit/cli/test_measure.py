from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.cli.measure import measure
from proxybench.errors import UsageError
from proxybench.experiment.spec import Experiment
from proxybench.targets.cluster.switch.changes import CONFIG, CONFIG_MAP, Change
from proxybench.targets.cluster.switch.undo import FILE, Header, UndoLog
from tests.unit.run.log import ProgressLog

if TYPE_CHECKING:
    from pathlib import Path


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
