from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.targets.lab.surroundings import Influence, Surroundings
from proxybench.testing.hosts import done

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from proxybench.hosts.base import Completed

OTHERS = "nodes of a lab have namespaces of their own, so no connection of a measurement passes them"
OWN = "what a lab starts, and each command on a node, has an environment of its own"
SHARE = "what it starts has no more, and by the wall clock that shows: take clock: instructions"
# As nft 1.0.6 lists the chains of a machine with kube-proxy (iptables-nft), docker and firewalld.
CHAINS = """\
table ip nat {
	chain KUBE-SERVICES {
	}
	chain DOCKER {
	}
}
table inet firewalld {
	chain mangle_PREROUTING {
		type filter hook prerouting priority mangle + 10; policy accept;
	}
}
"""


class Asked:
    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.argv: list[str] = []

    def __call__(self, argv: Sequence[str]) -> Completed:
        self.argv.append(" ".join(argv))
        answer = self.answers.get(argv[0].partition("-")[0])
        return done(code=127) if answer is None else done(answer)


def look(root: Path, asked: Asked, environ: Mapping[str, str] | None = None, load: float = 0.2) -> list[Influence]:
    return list(
        Surroundings(asked, environ or {}, root, lambda: load, 2, lambda: 2, lambda: 0, lambda: 65536).influences()
    )


def test_a_quiet_machine(tmp_path: Path) -> None:
    asked = Asked()
    assert look(tmp_path, asked) == []
    assert asked.argv == ["nft list chains"]


def test_whose_rules_are_in_the_way(tmp_path: Path) -> None:
    assert look(tmp_path, Asked(nft=CHAINS)) == [
        Influence(f"rules of {owner} in this machine's own network namespace", OTHERS)
        for owner in ("kube-proxy", "docker", "firewalld")
    ]
    (found,) = look(tmp_path, Asked(nft="table ip kube-proxy {\n}\n"))
    assert found.what == "rules of kube-proxy in this machine's own network namespace"


def test_legacy_tables_are_read_only_where_there_are_some(tmp_path: Path) -> None:
    asked = Asked(nft="", xtables="*nat\n:DOCKER - [0:0]\nCOMMIT\n")
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/ip_tables_names").write_text("")
    assert look(tmp_path, asked) == []
    (tmp_path / "proc/net/ip_tables_names").write_text("nat\n")
    assert [found.what for found in look(tmp_path, asked)] == [
        "rules of docker in this machine's own network namespace"
    ]


def test_services_of_ipvs(tmp_path: Path) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    table = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n"
    (tmp_path / "proc/net/ip_vs").write_text(table)
    assert look(tmp_path, Asked()) == []
    (tmp_path / "proc/net/ip_vs").write_text(f"{table}TCP  0A600001:01BB rr\n")
    assert look(tmp_path, Asked()) == [Influence("IPVS services in this machine's own network namespace", OTHERS)]


def test_the_alternative_of_iptables(tmp_path: Path) -> None:
    (tmp_path / "etc/alternatives").mkdir(parents=True)
    link = tmp_path / "etc/alternatives/iptables"
    for backend in ("nft", "legacy"):
        link.unlink(missing_ok=True)
        link.symlink_to(f"/usr/sbin/iptables-{backend}")
        reach = "no measurement asks it: each subject finds the backend that its experiment names"
        assert look(tmp_path, Asked()) == [Influence(f"the alternative iptables of this machine is {backend}", reach)]


def test_a_proxy_is_named_and_its_password_is_not(tmp_path: Path) -> None:
    environ = {
        "https_proxy": "http://me:secret@proxy",
        "HTTP_PROXY": "http://proxy",
        "ALL_PROXY": "",
    }
    (proxy,) = look(tmp_path, Asked(), environ)
    reach = "downloads go through that proxy, and nothing that is measured does"
    assert proxy == Influence("HTTP_PROXY, https_proxy in the environment", reach)


def test_settings_of_the_loader_and_of_python(tmp_path: Path) -> None:
    environ = {"LD_PRELOAD": "x", "LD_AUDIT": "", "GLIBC_TUNABLES": "y", "PYTHONPATH": "/p", "PYTHONMALLOC": "debug"}
    assert look(tmp_path, Asked(), environ) == [
        Influence("GLIBC_TUNABLES, LD_PRELOAD in the environment", OWN),
        Influence("PYTHONMALLOC, PYTHONPATH in the environment", OWN),
    ]
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ld.so.preload").write_text("/lib/spy.so\n")
    reach = "every program has it loaded, those of nodes and guests too, and starts more slowly: remove it"
    assert look(tmp_path, Asked()) == [Influence("/etc/ld.so.preload names /lib/spy.so", reach)]


def test_connections_that_the_kernel_tracks_for_others(tmp_path: Path) -> None:
    folder = tmp_path / "proc/sys/net/netfilter"
    folder.mkdir(parents=True)
    (folder / "nf_conntrack_buckets").write_text("1000\n")
    (folder / "nf_conntrack_count").write_text("500\n")
    assert look(tmp_path, Asked()) == []
    (folder / "nf_conntrack_count").write_text("501\n")
    reach = "the kernel keeps those of all namespaces in one table, so a netns lab's take longer to find"
    assert look(tmp_path, Asked()) == [
        Influence("501 connections tracked on this machine, in 1000 buckets", f"{reach}: use target.lab.kind: vm")
    ]


@pytest.mark.parametrize(
    ("limit", "shown"), [("max 100000", []), ("200000 100000", []), ("150000 100000", ["1.5"]), ("", [])]
)
def test_a_share_of_the_machine(tmp_path: Path, limit: str, shown: list[str]) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("1:cpu:/\n0::/user.slice\n")
    (tmp_path / "sys/fs/cgroup/user.slice").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/user.slice/cpu.max").write_text(f"{limit}\n")
    what = "this shell's cgroup has the time of {} processors, then waits"
    assert look(tmp_path, Asked()) == [Influence(what.format(share), SHARE) for share in shown]


def test_a_shell_with_less_than_the_machine_has(tmp_path: Path) -> None:
    found = Surroundings(Asked(), {}, tmp_path, lambda: 0.0, 4, lambda: 3, lambda: 10, lambda: 256).influences()
    assert found == (
        Influence("this shell's niceness is 10", SHARE),
        Influence("this shell may use 3 of this machine's 4 processors", SHARE),
        Influence(
            "programs of this shell may open 256 files",
            "so many connections at once have pods and clients of a netns lab: raise it (ulimit -n), or use the vm",
        ),
    )


def test_a_busy_machine(tmp_path: Path) -> None:
    assert look(tmp_path, Asked(), load=1.0) == []
    (found,) = look(tmp_path, Asked(), load=1.26)
    assert found.what == "1.3 programs want this machine's 2 processors"
