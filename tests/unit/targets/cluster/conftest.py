"""The user's own cluster, for the tests of this folder that take it as it usually is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.kube.objects import node as node_object
from tests.unit.targets.cluster.own_cluster import Own

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def own(tmp_path: Path) -> Own:
    own = Own(tmp_path)
    own.usual()
    own.api.create_many(
        [node_object("n1", "192.0.2.11", "10.244.0.0/24"), node_object("n2", "192.0.2.12", "10.244.1.0/24")]
    )
    return own
