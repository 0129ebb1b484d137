from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner

from proxybench.cli.main import cli
from tests.unit.kube.scripted import kubeconfig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.kube.scripted import Answer

NODES: Answer = (
    200,
    {},
    b"""{"kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": [
      {"metadata": {"name": "w1"}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]}}
    ]}""",
)


def test_an_inventory_is_drafted_from_the_nodes_that_the_api_knows(tmp_path: Path) -> None:
    with kubeconfig(tmp_path, [NODES]) as (file, asked):
        result = CliRunner().invoke(cli, ["inventory", "from-kubeconfig", "--kubeconfig", str(file)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "version: 1\n"
        "defaults: {user: root}  # key, port, jump, sudo, python: see docs/cluster.md\n"
        "nodes:\n"
        "  - {name: w1, roles: [client, measured], host: 192.0.2.7, address: 192.0.2.7}\n"
    )
    assert asked == ["GET /api/v1/nodes?limit=500"]


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    with kubeconfig(tmp_path, []) as (file, asked):
        result = CliRunner().invoke(
            cli, ["inventory", "from-kubeconfig", "--kubeconfig", str(file), "--context", "two"]
        )
    assert (result.exit_code, result.stdout, asked) == (2, "", [])
    assert result.stderr == f'{file}:1:1: there is no context "two"; there are one\n'
