from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from proxybench.cli.main import cli
from proxybench.experiment.profile import read_profile
from tests.unit.kube.scripted import kubeconfig
from tests.unit.targets.cluster.test_tally import endpoint, service, slice_

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.kube.scripted import Answer


def page(*items: dict[str, object]) -> Answer:
    return 200, {}, json.dumps({"metadata": {"resourceVersion": "1"}, "items": items}).encode()


SELECTOR = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless"
WRITTEN = """\
version: 1
nodes: {count: 1, shares: [1, 1, 1, 1, 1]}
shapes:
  - services: 1
    type: ClusterIP
    ports: {tcp: 1}
    endpoints: {1: 1}
    slices: {1: 1}
"""


def test_a_profile_is_printed_and_what_goes_on_is_told_beside_it(tmp_path: Path) -> None:
    answers: list[Answer | None] = [
        page(service("secret", "hidden")),
        page(slice_(endpoint(), of="secret", namespace="hidden")),
    ]
    with kubeconfig(tmp_path, answers) as (file, asked):
        result = CliRunner().invoke(cli, ["profile", "--kubeconfig", str(file), "--watch", "0s"])
    assert result.exit_code == 0
    head, _, words = result.stdout.partition("version: 1\n")
    assert all(line.startswith("# ") for line in head.splitlines())
    assert f"version: 1\n{words}" == WRITTEN
    assert result.stderr == (
        "1 Services; listing their EndpointSlices\n"
        "1 of the shapes is that of a single Service; read the file before you give it away\n"
    )
    assert asked == [
        f"GET /api/v1/services?limit=500&labelSelector={SELECTOR}",
        f"GET /apis/discovery.k8s.io/v1/endpointslices?limit=500&labelSelector={SELECTOR}",
    ]


def test_a_profile_is_written_to_a_file(tmp_path: Path) -> None:
    answers: list[Answer | None] = [page(service("a"), service("b")), page()]
    with kubeconfig(tmp_path, answers) as (file, _):
        arguments = ["profile", "--kubeconfig", str(file), "--watch", "0s", "-o", str(tmp_path / "out.yaml")]
        result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"2 Services; listing their EndpointSlices\n{tmp_path}/out.yaml: 2 Services in 1 shape\n"
    assert read_profile(tmp_path / "out.yaml").services == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--watch", "60"], '--watch: "60" is not a duration; write a number and ms, s, m or h, such as 500ms'),
        (["--watch", "2h"], "--watch: 2h is too long; write at most 1h"),
        (
            ["-o", "/dev/null/x"],
            "Invalid value for '-o' / '--out': '/dev/null/x' cannot be written: /dev/null is not a folder",
        ),
    ],
)
def test_what_is_wrong_with_the_options_is_told_in_a_line(tmp_path: Path, arguments: list[str], error: str) -> None:
    with kubeconfig(tmp_path, [page(service()), page()]) as (file, _):
        result = CliRunner().invoke(cli, ["profile", "--kubeconfig", str(file), "--watch", "0s", *arguments])
    assert result.exit_code == 2
    assert f"error: {error}" in result.stderr.splitlines()


def test_a_refusal_is_told(tmp_path: Path) -> None:
    refused = b'{"kind": "Status", "reason": "Forbidden", "message": "user cannot list services"}'
    with kubeconfig(tmp_path, [(403, {}, refused)]) as (file, _):
        result = CliRunner().invoke(cli, ["profile", "--kubeconfig", str(file)])
    assert (result.exit_code, result.stdout) == (3, "")
    assert "403 Forbidden: user cannot list services" in result.stderr
