from __future__ import annotations

import pytest

from proxybench.targets.cluster.checkup import Row, _rows, lacking
from proxybench.targets.cluster.inventory import NodeWords

GOOD = {"uid": "0", "python": "3.11", "cgroup": "cgroup2fs", "workdir": "yes", "mode": "ipvs"}
NODE = NodeWords.model_validate({"name": "n1", "roles": ["measured"]})
CLIENT = NodeWords.model_validate({"name": "c1", "roles": "client"})


def said(words: dict[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in words.items())


def test_a_host_that_lacks_nothing() -> None:
    assert list(_rows(NODE, said(GOOD), {})) == [Row("n1", ("measured",), "", "", "kube-proxy in ipvs mode")]


def test_a_host_that_is_not_reached_says_what_mends_it() -> None:
    lost = {"n1": "the host key of n1:22 is not known; compare what it shows, then add it: ssh-keyscan n1"}
    assert list(_rows(NODE, None, lost)) == [
        Row(
            "n1",
            ("measured",),
            "the host key of n1:22 is not known",
            "compare what it shows, then add it: ssh-keyscan n1",
        )
    ]


@pytest.mark.parametrize(
    ("key", "value", "lacks"),
    [
        ("python", "", "no Python 3 there"),
        ("python", "3.6", "Python 3.6 is too old"),
        ("workdir", None, "the folder for the agent cannot be written"),
        ("uid", "1000", "not root: kube-proxy's cgroup and rules cannot be read"),
        ("cgroup", "tmpfs", "no cgroup of version 2"),
        ("mode", "", "no kube-proxy answers on port 10249 of its loopback"),
    ],
)
def test_each_lack_is_named(key: str, value: str | None, lacks: str) -> None:
    words = {name: text for name, text in {**GOOD, key: value}.items() if text is not None}
    assert [what for what, _ in lacking(NODE, words)] == [lacks]
    at_a_client = [what for what, _ in lacking(CLIENT, words)]
    assert at_a_client == ([lacks] if key in {"python", "workdir"} else [])
