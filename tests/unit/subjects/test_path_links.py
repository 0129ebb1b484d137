from __future__ import annotations

from dataclasses import replace

import pytest

from proxybench.errors import ProxierError
from proxybench.subjects.path_links import environment, path_links
from tests.unit.subjects.rig import NODE, handle


def test_the_chosen_backend_has_every_name() -> None:
    node, _, _ = handle()
    assert path_links(node, "nft") == {
        "bin/iptables": "/x/nft",
        "bin/iptables-save": "/x/nft",
        "bin/iptables-restore": "/x/nft",
        "bin/ip6tables": "/x/nft",
        "bin/ip6tables-save": "/x/nft",
        "bin/ip6tables-restore": "/x/nft",
    }


def test_without_a_choice_it_is_what_the_node_has() -> None:
    assert set(path_links(handle()[0], None).values()) == {"/x/legacy"}
    bare, _, _ = handle(node=replace(NODE, iptables={}))
    assert path_links(bare, None) == {}
    with pytest.raises(ProxierError, match=r"^node-a: there is no iptables of the nft backend$"):
        path_links(bare, "nft")


def test_the_links_come_first() -> None:
    path = "/f/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert environment("/f") == {"PATH": path, "TZ": "UTC"}
