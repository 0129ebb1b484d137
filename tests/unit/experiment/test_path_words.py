from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.errors import UsageError
from proxybench.experiment.load import load_experiment
from proxybench.experiment.path_words import PATHS, parse_path
from proxybench.model import Address, Origin, ServicePath

if TYPE_CHECKING:
    from pathlib import Path

BASE = """version: 1
name: e
subjects: [{kind: kube-proxy, version: v1.37.2, mode: nftables}]
proxier: {nodes: %s}
scale: {services: [%s]}
families: [%s]
measure: {forwarding: {paths: [%s]}}
"""


@given(st.sampled_from(sorted(PATHS)))
def test_every_word_is_the_text_of_its_path(word: str) -> None:
    assert str(parse_path(word)) == word


def test_what_a_node_drops_is_no_path() -> None:
    found = {(path.address, path.origin) for path in PATHS.values()}
    assert {address for address, origin in found if origin is Origin.OTHER} == {Address.NODE_PORT}
    assert (Address.NODE_PORT_LOCAL, Origin.FAR) not in found


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("node_prt", '"node_prt" is no path; did you mean "node_port"?'),
        ("cluster_ip@other", '"cluster_ip@other" is no path; did you mean "cluster_ip@node"?'),
        (
            7,
            (
                "7 is no path; one of: cluster_ip, node_port, node_port_local, external_ip, load_balancer_ip, each with"
                " /udp, @far, @other, @node or @pod as docs/nodeport.md has it"
            ),
        ),
    ],
)
def test_another_word_is_refused(word: object, message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the words are compared below
        parse_path(word)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ("measured", "10", "ipv4", "cluster_ip, node_port@other"),
            "7:44: paths: node_port@other goes by another node, which needs a proxy too; write proxier: {nodes: all}",
        ),
        (
            ("all", "10", "ipv6", "cluster_ip, node_port"),
            "7:44: paths: node_port is measured over IPv4 only; write families: [ipv4]",
        ),
        (
            ("all", "1, 10", "ipv4", "cluster_ip, cluster_ip@far"),
            "7:44: paths: cluster_ip@far needs 2 Services, one of which is reached so; write no fewer in scale",
        ),
        (
            ("all", "3", "ipv4", "node_port_local, node_port"),
            "7:32: paths: node_port_local needs 4 Services, one of which is reached so; write no fewer in scale",
        ),
    ],
)
def test_what_a_path_needs(tmp_path: Path, values: tuple[str, ...], message: str) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(BASE % values)
    with pytest.raises(UsageError) as raised:
        load_experiment(file)
    assert message in str(raised.value)


def test_paths_are_read_and_written_as_words(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(BASE % ("all", "10", "ipv4", "cluster_ip, node_port@other, cluster_ip/udp@pod"))
    read = load_experiment(file)
    words = ("cluster_ip", "node_port@other", "cluster_ip/udp@pod")
    assert read.measure.paths == tuple(ServicePath.parse(word) for word in words)
    assert read.model_dump(mode="json")["measure"]["forwarding"]["paths"] == list(words)
