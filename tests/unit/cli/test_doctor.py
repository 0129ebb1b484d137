"""doctor: the whole of it against a machine that is none, and its words against made findings."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from proxybench.cli.examine import Findings, examine
from proxybench.cli.main import cli
from proxybench.errors import ExperimentError
from proxybench.hosts.secrets import Secrets
from proxybench.model import Mode
from proxybench.subjects.outlook import Row
from proxybench.targets.cluster.checkup import Row as HostRow
from proxybench.targets.lab.capabilities import Machine
from proxybench.targets.lab.kernel_probe import Trial
from proxybench.targets.lab.surroundings import Influence, Surroundings
from proxybench.testing.hosts import done
from tests.factories import stand_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxybench.hosts.base import Completed
    from proxybench.targets.cluster.outlook import Switch
    from proxybench.targets.cluster.target import ClusterTarget

NAME = "kube-proxy v1.37.2 ipvs"
NO = Row(NAME, "netns", supported=False, required=True, binary="none", reason="no Go; no ip_vs", fix="install Go")
YES = Row(NAME, "vm 6.1", supported=True, required=True, binary="cached")
FILE = """\
version: 1
name: x
subjects:
  - {kind: kube-proxy, version: v1.37.2, mode: ipvs, otherwise: reference}
  - {kind: kube-proxy, path: ./kube-proxy, mode: iptables}
scale: {services: [10]}
measure: {sync: true}
"""


def tidy(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def call(monkeypatch: pytest.MonkeyPatch, found: Findings, *args: str) -> tuple[Result, list[object]]:
    asked: list[object] = []

    def look(path: Path | None, overrides: Sequence[str], *, online: bool) -> Findings:
        asked.extend([path and str(path), overrides, online])
        return found

    stand_in(monkeypatch, "proxybench.cli.examine", examine=look)
    return CliRunner().invoke(cli, ["doctor", *args]), asked


def test_the_table_and_what_else_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Findings([NO, YES], ["netns", "vm 6.1"], [], [Influence("a thing", "how far")])
    result, asked = call(monkeypatch, found)
    assert (result.exit_code, result.stderr, asked) == (0, "", [None, (), False])
    assert tidy(result.stdout) == (
        "subject                  node    can run  program  why not, or what to know  to mend it\n"
        "kube-proxy v1.37.2 ipvs  netns   no       none     no Go; no ip_vs           install Go\n"
        "kube-proxy v1.37.2 ipvs  vm 6.1  yes      cached\n"
        "note: a thing: how far\n"
    )


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Findings([NO], ["netns"], [], [Influence("a thing", "how far")])
    result, _ = call(monkeypatch, found, "--json")
    assert (result.exit_code, result.stderr) == (3, "")
    assert json.loads(result.stdout) == {
        "rows": [
            {
                "subject": NAME,
                "node": "netns",
                "supported": False,
                "required": True,
                "binary": "none",
                "reason": "no Go; no ip_vs",
                "fix": "install Go",
            }
        ],
        "allowed": ["netns"],
        "fits": [],
        "influences": [{"what": "a thing", "reach": "how far"}],
        "hosts": [],
    }


def test_an_experiment_has_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Findings([NO, YES], ["netns", "vm 6.1"], ["vm 6.1"], [])
    result, asked = call(monkeypatch, found, "x.yaml", "--online", "--set", "repetitions=2")
    assert (result.exit_code, asked) == (0, ["x.yaml", ("repetitions=2",), True])
    assert result.stdout.splitlines()[-1] == "x.yaml: can run here, on vm 6.1"
    absent = Row("other", "vm 6.1", supported=False, required=False, binary="none")
    result, _ = call(monkeypatch, Findings([YES, absent], ["vm 6.1"], ["vm 6.1"], []), "x.yaml")
    assert result.stdout.splitlines()[-1] == "x.yaml: can run here, on vm 6.1, without other"
    result, _ = call(monkeypatch, Findings([NO, YES], ["netns"], [], []), "x.yaml")
    last = "x.yaml: cannot run here: it allows netns, where something that it needs is lacking"
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (3, last)


def test_a_word_to_change_needs_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    result, asked = call(monkeypatch, Findings([], [], [], []), "--set", "repetitions=2")
    assert (result.exit_code, result.stderr) == (2, "error: --set changes an experiment; name its file, too\n")
    assert asked == []


def test_nothing_that_can_run_exits_3(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, Findings([NO], ["netns"], ["netns"], []))[0].exit_code == 3


def probe(mode: Mode, backend: str) -> Trial:
    return Trial(2, f"no {mode}, {backend}") if mode is Mode.IPVS else Trial(0, "")


def ask(argv: Sequence[str]) -> Completed:
    return done({"uname": "6.18.44", "nft": "nftables v1.0.6"}[argv[0]])


def no_qemu(name: str) -> str | None:
    return None if name.startswith("qemu") else name


HERE = Machine(is_root=True, architecture="x86_64", find=no_qemu, probe=probe, ask=ask)


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    monkeypatch.setenv("PROXYBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    return Surroundings(lambda _: done(code=1), {}, tmp_path, lambda: 0.0, 1, lambda: 1, lambda: 0, lambda: 65536)


def test_the_usual_subjects_are_kube_proxy_in_each_mode(around: Surroundings) -> None:
    found = examine(None, machine=HERE, around=around)
    here = [(row.subject, row.supported, row.binary) for row in found.rows if row.node == "netns"]
    assert here == [
        ("kube-proxy v1.37.2 iptables (iptables=legacy)", True, "download"),
        ("kube-proxy v1.37.2 iptables (iptables=nft)", True, "download"),
        ("kube-proxy v1.37.2 ipvs (iptables=legacy)", False, "download"),
        ("kube-proxy v1.37.2 nftables", True, "download"),
        ("reference 0.1.0 userspace (iptables=legacy)", True, "part of proxybench"),
    ]
    assert [row.node for row in found.rows[:3]] == ["netns", "vm 6.1", "vm 6.12"]
    assert (found.allowed, found.fits, found.influences) == (("netns", "vm 6.1"), (), ())


def test_a_subject_with_a_stand_in_is_not_required(around: Surroundings, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(FILE)
    rows = [row for row in examine(tmp_path / "x.yaml", machine=HERE, around=around).rows if row.node == "netns"]
    reason = "a trial of ipvs mode failed: no ipvs, legacy"
    assert [(row.subject.partition(" (")[0], row.required, row.reason) for row in rows] == [
        ("kube-proxy v1.37.2 ipvs", False, reason),
        ("reference 0.1.0 ipvs", False, reason),
        ("kube-proxy iptables", True, f"{tmp_path}/kube-proxy: cannot be read: No such file or directory"),
    ]


def test_words_of_the_file_can_be_changed(around: Surroundings, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(FILE)
    words = ["subjects=[{kind: reference, mode: iptables}]", "target.lab.kind=netns"]
    found = examine(tmp_path / "x.yaml", words, machine=HERE, around=around)
    assert (len(found.rows), found.allowed, found.fits) == (3, ("netns",), ("netns",))


def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(FILE.replace("name: x", "name: []"))
    with pytest.raises(ExperimentError, match=r"x\.yaml:2:7: "):
        examine(tmp_path / "x.yaml", machine=HERE)


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory of two hosts that are not reached, since a new user's folder knows no host keys."""
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "nodes.yaml"
    file.write_text(
        "version: 1\n"
        "nodes:\n"
        "  - {name: n1, roles: [client, measured], host: 127.0.0.1, port: 1, user: me}\n"
        "  - {name: n2, roles: [other, backend], host: 127.0.0.1, port: 2, user: me}\n"
    )
    return file


def test_the_hosts_of_an_inventory_are_looked_at_instead(hosts: Path) -> None:
    known = hosts.parent / ".ssh" / "known_hosts"
    result = CliRunner().invoke(cli, ["doctor", "--inventory", str(hosts), "--json"])
    assert (result.exit_code, result.stderr) == (3, "")
    assert json.loads(result.stdout) == [
        {
            "node": f"n{number}",
            "roles": roles,
            "lacks": f"n{number}: the host key of 127.0.0.1:{number} is not known: "
            f"[127.0.0.1]:{number} is not in {known}",
            "fix": f"compare what it shows, then add it: ssh-keyscan -p {number} 127.0.0.1 >> {known}",
            "note": "",
            "modes": {},
            "mode": "",
        }
        for number, roles in ((1, ["client", "measured"]), (2, ["other", "backend"]))
    ]


def test_hosts_are_told_in_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        HostRow("n1", ("client", "measured"), "", "", "in ipvs mode", {"nftables": "no nft there", "ipvs": ""}),
        HostRow("n2", ("other",), "no Python 3 there", "install python3"),
    ]
    result, asked = hosts_told(monkeypatch, rows)
    assert (result.exit_code, result.stderr, asked) == (3, "", ["x.yaml"])
    assert tidy(result.stdout) == (
        "node  roles             lacks              to mend it       note          nftables      ipvs\n"
        "n1    client, measured  nothing                             in ipvs mode  no nft there  nothing lacks\n"
        "n2    other             no Python 3 there  install python3\n"
    )
    assert hosts_told(monkeypatch, rows[:1])[0].exit_code == 0


def hosts_told(monkeypatch: pytest.MonkeyPatch, rows: list[HostRow]) -> tuple[Result, list[str]]:
    asked: list[str] = []

    def checkup(path: Path) -> tuple[HostRow, ...]:
        asked.append(str(path))
        return tuple(rows)

    stand_in(monkeypatch, "proxybench.targets.cluster.checkup", checkup=checkup)
    return CliRunner().invoke(cli, ["doctor", "--inventory", "x.yaml"]), asked


@pytest.mark.parametrize("words", [["x.yaml"], ["--online"]])
def test_an_inventory_stands_alone(words: list[str]) -> None:
    result = CliRunner().invoke(cli, ["doctor", "--inventory", "nodes.yaml", *words])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: --inventory is about a cluster's hosts; name no experiment beside it\n"


def test_an_inventory_that_is_wrong_is_refused_with_its_place(hosts: Path) -> None:
    hosts.write_text(hosts.read_text().replace("measured", "measurd"))
    result = CliRunner().invoke(cli, ["doctor", "--inventory", str(hosts)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f'{hosts}:3:32: roles, number 2: "measurd" is not a role; did you mean "measured"?\n'


OWN = """\
version: 1
name: own
target: {cluster: {inventory: nodes.yaml}}
subjects: [{kind: cluster, modes: [iptables, ipvs]}]
scale: {services: [10]}
measure: {sync: true}
"""


def own(hosts: Path, monkeypatch: pytest.MonkeyPatch, rows: list[HostRow], *args: str) -> Result:
    """Return what is said of an experiment on a cluster whose hosts have said this."""
    hosts.with_name("own.yaml").write_text(OWN)
    stand_in(
        monkeypatch, "proxybench.targets.cluster.checkup", checkup=lambda path, ssh: tuple(rows if path and ssh else ())
    )
    monkeypatch.chdir(hosts.parent)
    return CliRunner().invoke(cli, ["doctor", "own.yaml", *args])


def test_of_an_experiment_on_a_cluster_its_hosts_are_looked_at(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [HostRow("n1", ("client", "measured"), "", "", "a note", {"iptables": "", "ipvs": "no ipset"}, "iptables")]
    result = own(hosts, monkeypatch, rows)
    assert (result.exit_code, result.stderr) == (0, "")
    assert tidy(result.stdout) == (
        "node  roles             lacks    to mend it  note    iptables       ipvs\n"
        "n1    client, measured  nothing              a note  nothing lacks  no ipset\n"
        "\n"
        "subject           node          can run  program        why not, or what to know  to mend it\n"
        "cluster iptables  your cluster  yes      the cluster's\n"
        "cluster ipvs      your cluster  no       the cluster's  n1: no ipset\n"
        "own.yaml: can run here, on your cluster, without cluster ipvs\n"
    )
    found = json.loads(own(hosts, monkeypatch, rows, "--json").stdout)
    assert ([host["node"] for host in found["hosts"]], found["fits"]) == (["n1"], ["your cluster"])
    lacking = [HostRow("n1", ("client", "measured"), "no Python 3 there", "install python3")]
    result = own(hosts, monkeypatch, lacking)
    words = "own.yaml: cannot run here: it allows your cluster, where something that it needs is lacking"
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (3, words)


def test_a_switch_is_promised_only_where_the_api_has_told_that_it_can_be(
    hosts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [HostRow("n1", ("client", "measured"), "", "", "", {"iptables": "", "ipvs": ""}, "iptables")]
    monkeypatch.setenv("KUBECONFIG", "/none")
    result = own(hosts, monkeypatch, rows)
    assert (result.exit_code, result.stderr) == (0, "")
    *_, row, verdict = tidy(result.stdout).splitlines()
    why = "whether kube-proxy can be switched is not known: /none:1:1: cannot be read: No such file or directory"
    assert row == f"cluster ipvs      your cluster  no       the cluster's  {why}"
    assert verdict == "own.yaml: can run here, on your cluster, without cluster ipvs"


def test_a_passphrase_is_asked_for_once_though_hosts_are_reached_to_be_looked_at_and_as_a_switch_would(
    hosts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = str(hosts.with_name("key"))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", key], check=True, timeout=30)
    hosts.write_text(hosts.read_text().replace("user: me", f"user: me, key: {key}"))
    hosts.with_name("own.yaml").write_text(OWN)
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "secret"

    def refusals(target: ClusterTarget, wanted: Sequence[Switch]) -> dict[Switch, str]:
        assert {one.passphrase for one in target.targets.values()} == {"secret"}
        return dict.fromkeys(wanted, "")

    monkeypatch.setattr("proxybench.targets.cluster.target.Secrets", partial(Secrets, {}, ask))
    monkeypatch.setattr("proxybench.targets.cluster.checkup.Secrets", partial(Secrets, {}, ask))
    monkeypatch.setattr("proxybench.targets.cluster.prospect.refusals", refusals)
    examine(hosts.with_name("own.yaml"))
    assert asked == [f"the passphrase of {key}: "]


def test_of_an_experiment_on_a_cluster_no_release_is_asked_for(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = own(hosts, monkeypatch, [], "--online")
    words = "--online asks for releases, and target.cluster runs a kube-proxy of its own; leave it out"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"error: {words}\n")


def test_an_experiment_without_its_inventory_is_refused_as_by_run(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts.unlink()
    result = own(hosts, monkeypatch, [])
    words = "nodes.yaml:1:1: cannot be read: No such file or directory\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", words)
