from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.targets.lab.surroundings import Influence, Surroundings
from proxybench.testing.hosts import done

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from proxybench.hosts.base import Completed

OTHERS = "nodes of a lab have namespaces of their own, so no connection of a measurement passes them"
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
    return list(Surroundings(asked, environ or {}, root, lambda: load, 2).influences())


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
        "LD_PRELOAD": "x",
    }
    proxy, preload = look(tmp_path, Asked(), environ)
    reach = "downloads go through that proxy, and nothing that is measured does"
    assert proxy == Influence("HTTP_PROXY, https_proxy in the environment", reach)
    assert preload.what == "LD_PRELOAD in the environment"


def test_a_busy_machine(tmp_path: Path) -> None:
    assert look(tmp_path, Asked(), load=1.0) == []
    (found,) = look(tmp_path, Asked(), load=1.26)
    assert found.what == "1.3 programs want this machine's 2 processors"
