from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from proxybench.agent import schedule
from proxybench.targets.cluster.checkup import _ASK, _LOOK, Row, _rows, checkup, lacking, modes_there
from proxybench.targets.cluster.inventory import NodeWords
from tests.unit.hosts.conftest import SshServer, new_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = {"uid": "0", "python": "3.11", "workdir": "yes", "mode": "ipvs", "real_time": "yes"}
FOUND = "found pid 7\nfound cgroup /kube-proxy\nfound log /dev/null\nfound member 7 1\n"
TOOLS = {"kernel": "6.1.0-50-amd64", **dict.fromkeys(["ipvs", "nft", "ipset", "xtables-nft-multi"], "yes")}
ALL = {"iptables": "", "nftables": "", "ipvs": ""}
NODE = NodeWords.model_validate({"name": "n1", "roles": ["measured"]})
CLIENT = NodeWords.model_validate({"name": "c1", "roles": "client"})


def said(words: dict[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in words.items())


def test_a_host_that_lacks_nothing() -> None:
    assert list(_rows(NODE, said({**GOOD, **TOOLS}) + FOUND, "")) == [
        Row("n1", ("measured",), "", "", "kube-proxy in ipvs mode, alone in its cgroup", ALL, "ipvs")
    ]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (f"{FOUND}found member 9 1\n", "kube-proxy shares its cgroup /kube-proxy with 1 other processes, such as 9"),
        (
            "found pid 7\nfound name k3s-server\nfound cgroup /system.slice/k3s.service\nfound log socket:[5]\n",
            "kube-proxy runs inside k3s-server, which does other work, too",
        ),
        (
            "found pid 7\nfound name kube-proxy\nfound cgroup \nfound log /dev/null\n",
            "kube-proxy is in no cgroup of version 2, so that its CPU time cannot be told from others'",
        ),
    ],
)
def test_a_kube_proxy_whose_cpu_cannot_be_told_from_others_lacks_nothing(found: str, why: str) -> None:
    note = f"kube-proxy in ipvs mode, its CPU and memory left out: {why}"
    assert list(_rows(NODE, said({**GOOD, **TOOLS}) + found, "")) == [
        Row("n1", ("measured",), "", "", note, ALL, "ipvs")
    ]


@pytest.mark.parametrize(
    ("found", "lacks"),
    [
        (f"{FOUND}{FOUND.replace('7', '8')}", "2 kube-proxies run there: 7, 8"),
        ("", "no kube-proxy runs in its network namespace"),
    ],
)
def test_a_measured_host_must_have_one_kube_proxy(found: str, lacks: str) -> None:
    fix = "run one kube-proxy there"
    assert list(_rows(NODE, said({**GOOD, **TOOLS}) + found, "")) == [
        Row("n1", ("measured",), lacks, fix, "", ALL, "ipvs")
    ]
    one = {name: text for name, text in GOOD.items() if name != "mode"}
    assert [row.lacks for row in _rows(NODE, said(one) + found, "")] == [
        "no kube-proxy answers on port 10249 of its loopback"
    ]


@pytest.mark.parametrize(
    ("without", "kernel", "lacks"),
    [
        ("ipvs", "6.1.0", {"ipvs": "no module ip_vs: install it"}),
        ("nft", "5.13.0", {"nftables": "no nft there: install nftables"}),
        ("", "5.10.0-30", {"nftables": "Linux 5.10.0-30 is older than 5.13: take a newer one"}),
        (
            "xtables-nft-multi",
            "6.1.0",
            {"iptables": "no iptables there: install it", "ipvs": "no iptables there: install it"},
        ),
        ("ipset", "6.1.0", {"ipvs": "no ipset there: install it"}),
    ],
)
def test_each_mode_says_what_it_lacks_on_a_host(without: str, kernel: str, lacks: dict[str, str]) -> None:
    words = {name: text for name, text in {**TOOLS, "kernel": kernel}.items() if name != without}
    assert modes_there(words) == {**ALL, **lacks}
    (row,) = _rows(NODE, said({**GOOD, **words, "uid": "7"}), "")
    assert (row.lacks[:8], row.modes) == ("not root", {**ALL, **lacks})


@pytest.mark.parametrize(
    ("words", "note"),
    [
        ({"locust": "True"}, ""),
        ({"locust": "False"}, "no locust for its Python, which load: needs"),
        ({"real_time": ""}, "no real-time priority for probes"),
    ],
)
def test_what_a_client_has_not_is_told_and_lacks_nothing(words: dict[str, str], note: str) -> None:
    assert list(_rows(CLIENT, said({**GOOD, "mode": "", **words}), "")) == [Row("c1", ("client",), "", "", note)]


def test_a_host_that_is_not_reached_says_what_mends_it() -> None:
    lost = "the host key of n1:22 is not known; compare what it shows, then add it: ssh-keyscan n1"
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
        ("mode", "", "no kube-proxy answers on port 10249 of its loopback"),
    ],
)
def test_each_lack_is_named(key: str, value: str | None, lacks: str) -> None:
    words = {name: text for name, text in {**GOOD, key: value}.items() if text is not None}
    assert [what for what, _ in lacking(NODE, words)] == [lacks]
    at_a_client = [what for what, _ in lacking(CLIENT, words)]
    assert at_a_client == ([lacks] if key in {"python", "workdir"} else [])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a key and no known hosts."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir()
    return tmp_path


@pytest.fixture
def sshd(home: Path) -> Iterator[SshServer]:
    """An sshd of this machine, whose host key the user knows."""
    key, pem = new_key()
    identity = home / ".ssh" / "id_ed25519"
    identity.write_text(pem)
    server = SshServer(identity, key)
    place = f"[127.0.0.1]:{server.target.port}"
    (home / ".ssh" / "known_hosts").write_text(f"{place} ssh-ed25519 {server.key.get_base64()}\n")
    yield server
    server.close()


def write(home: Path, sshd: SshServer, **words: str) -> Path:
    """Write an inventory: a client that is reached, and a measured host whose key nobody knows."""
    defaults = {"user": "root", "workdir": str(home / "work"), "python": sys.executable}
    client = {"name": "c1", "roles": "client", "host": "127.0.0.1", "port": sshd.target.port, **words}
    file = home / "nodes.yaml"
    nodes = [client, {"name": "n1", "roles": ["measured"], "host": "127.0.0.1", "port": 1}]
    file.write_text(json.dumps({"version": 1, "defaults": defaults, "nodes": nodes}))
    return file


def not_reached(home: Path) -> Row:
    known = home / ".ssh" / "known_hosts"
    return Row(
        "n1",
        ("measured",),
        f"n1: the host key of 127.0.0.1:1 is not known: [127.0.0.1]:1 is not in {known}",
        f"compare what it shows, then add it: ssh-keyscan -p 1 127.0.0.1 >> {known}",
    )


def test_hosts_are_asked_over_ssh_and_one_that_is_dead_stops_no_other(home: Path, sshd: SshServer) -> None:
    rows = checkup(write(home, sshd))
    note = "" if schedule.real_time() else "no real-time priority for probes"  # as those who try this may
    assert rows == (Row("c1", ("client",), "", "", note), not_reached(home))
    assert (home / "work").is_dir()
    assert len(sshd.commands) == 1


def test_a_host_s_own_words_go_before_the_usual_ones(home: Path, sshd: SshServer) -> None:
    rows = checkup(write(home, sshd, python="/none/python3", workdir="/proc/none"))
    assert rows == (
        Row("c1", ("client",), "no Python 3 there", "install python3, or name one: python: /path"),
        Row("c1", ("client",), "the folder for the agent cannot be written", "name another: workdir: /path"),
        not_reached(home),
    )
    assert not (home / "work").exists()


def test_a_host_that_breaks_off_when_it_is_asked_stops_no_other(home: Path, sshd: SshServer) -> None:
    killer = home / "killer"
    killer.write_text("#!/bin/sh\nkill -9 0\n")
    killer.chmod(0o755)
    broken, other = checkup(write(home, sshd, python=str(killer)))
    assert broken == Row("c1", ("client",), "c1: the look at it was ended by SIGKILL", "look whether ssh reaches it")
    assert other == not_reached(home)


def test_a_host_that_has_none_of_the_tools_is_told_of_and_has_not_failed(tmp_path: Path) -> None:
    script = f"command() {{ return 1; }}\nchrt() {{ return 1; }}\n{_ASK}"
    argv = [
        "sh",
        "-c",
        script,
        "ask",
        sys.executable,
        str(tmp_path / "work"),
        _LOOK.replace("SCHED_FIFO", "SCHED_NONE"),
        "print('ipvs')",
        "echo",
        "pid 7",
    ]
    ended = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "mode ipvs\n" in ended.stdout
    assert "xtables" not in ended.stdout
    assert "real_time" not in ended.stdout
    assert ended.stdout.endswith("\nfound pid 7\n")


def test_a_host_of_which_nothing_more_is_known() -> None:
    assert list(_rows(CLIENT, None, "c1: gone")) == [Row("c1", ("client",), "c1: gone", "look whether ssh reaches it")]
