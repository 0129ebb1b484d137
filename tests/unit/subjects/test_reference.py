from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import AgentError, CommandFailedError, ProxierError
from proxybench.hosts import batch
from proxybench.model import Mode
from proxybench.nodes import kernel_state as leftovers
from proxybench.subjects.base import LoopFigures, ProxierConfig
from proxybench.subjects.reference import ReferenceProxier, parse_figures
from proxybench.testing.clock import FakeClock
from proxybench.testing.hosts import FakeExecutor, Get, Put, Run, done
from refproxy.config import LoopConfig, dump
from refproxy.metrics import LoopMetrics
from tests.factories import make_cluster, make_node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.nodes.client import AgentClient
    from proxybench.subjects.base import Proxier
    from proxybench.subjects.reference import NodeAgent
    from proxybench.testing.hosts import Step

S = 1_000_000_000
FOLDER = "/run/pb/control-loop"
NODE = make_node("node-a", "198.18.0.2", cgroup_root="/sys/fs/cgroup/pb/node-a", python="/venv/python")
CLUSTER = make_cluster(measured=NODE, others=())
SETTINGS = LoopConfig(
    mode="iptables",
    node_name="node-a",
    node_ips=("198.18.0.2",),
    api_url="https://10.0.2.2:1",
    token_file=f"{FOLDER}/token",
    cluster_cidr="10.244.0.0/16",
    min_sync_period=1.0,
    sync_period=30.0,
    iptables="/xtables",
    ca_file=f"{FOLDER}/ca.pem",
)
ARGV = ["/venv/python", "-m", "refproxy", "--config", f"{FOLDER}/config.json"]
SYSCTL = ["grep", "-H", "", *(f"/proc/sys/{name}" for name in leftovers.SYSCTLS)]
CLEAN = "*nat\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
LOG = "one\ntwo\nthree\nfour\nfive\nsix\n"


@dataclass(frozen=True)
class Started:
    pid: int = 7
    at_ns: int = 123


@dataclass(frozen=True)
class Life:
    alive: bool = True
    code: int | None = None


@dataclass(frozen=True)
class End:
    code: int | None = 0
    killed: bool = False


@dataclass(frozen=True)
class Response:
    status: int
    body: str = ""


@dataclass
class FakeAgent:
    """Gives the scripted answers in their order; a wrong call fails."""

    script: list[tuple[str, object]] = field(default_factory=list)

    def _next(self, call: str) -> object:
        expected, answer = self.script.pop(0)
        assert call == expected
        if isinstance(answer, Exception):
            raise answer
        return answer

    def spawn(
        self,
        argv: Sequence[str],
        *,
        log: str,
        cgroup: str | None = None,
        env: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
    ) -> Started:
        assert (argv, log, cgroup) == (ARGV, f"{FOLDER}/log", "/sys/fs/cgroup/pb/node-a/control-loop")
        answer = self._next("spawn")
        assert isinstance(answer, Started)
        return answer

    def alive(self, pid: int) -> Life:
        answer = self._next(f"alive {pid}")
        assert isinstance(answer, Life)
        return answer

    def stop(self, pid: int, timeout_s: float = 10.0) -> End:
        answer = self._next(f"stop {pid} {timeout_s:g}")
        assert isinstance(answer, End)
        return answer

    def http_get(self, url: str, *, timeout_s: float = 10.0, max_bytes: int = 1 << 24) -> Response:
        answer = self._next(url)
        assert isinstance(answer, Response)
        return answer


HEALTH = "http://127.0.0.1:10256/healthz"
METRICS = "http://127.0.0.1:10249/metrics"


MARK = "0123456789abcdef"
TIDY = [["rm", "-f", f"{FOLDER}/token"], ["cat", f"{FOLDER}/log"]]
READ = [["/xtables", "iptables-save"], SYSCTL]
PREPARE = (
    'umask 077; mkdir -p -- "$1" && cd -- "$1" && rm -f token config.json log && '
    "IFS= read -r token && printf '%s\\n' \"$token\" > token && cat > config.json && : > log"
)


@pytest.fixture(autouse=True)
def known_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: MARK)


def together(commands: Sequence[Sequence[str]], *answers: tuple[str, int], stderr: str = "") -> Run:
    """Return the one exec of some commands, with each one's output and code."""
    stdout = "".join(f"{text}\n{MARK} {code}\n" for text, code in answers)
    return Run(["sh", "-c", batch.script(commands, MARK)], done(stdout, stderr))


def look(saved: str = CLEAN, sysctls: str = "") -> Step:
    return together(READ, (saved, 0), (sysctls, 0))


def ending(log: tuple[str, int], saved: str = CLEAN, sysctls: str = "", *, removed: int = 0, stderr: str = "") -> Step:
    return together([*TIDY, *READ], ("", removed), log, (saved, 0), (sysctls, 0), stderr=stderr)


def starting() -> list[Step]:
    return [
        look(sysctls="/proc/sys/net/ipv4/ip_forward:1\n"),
        Run(["sh", "-c", PREPARE, "prepare", FOLDER], stdin=f"secret\n{dump(SETTINGS).decode()}"),
        Put(f"{FOLDER}/ca.pem", b"the CA"),
    ]


class Rig:
    def __init__(self, *more: Step) -> None:
        self.agent = FakeAgent([("spawn", Started())])
        self.executor = FakeExecutor("node-a", [*starting(), *more])
        self.proxier = ReferenceProxier(self.agent, self.executor, NODE, CLUSTER, FakeClock())
        assert self.proxier.start(ProxierConfig(Mode.IPTABLES, 1.0, 30.0)) == 123

    def then(self, *script: tuple[str, object]) -> None:
        self.agent.script += script


def said(caught: pytest.ExceptionInfo[ProxierError]) -> str:
    return str(caught.value)


def as_node_agent(agent: AgentClient) -> NodeAgent:
    return agent  # mypy's word that the driver can be given the real agent


def as_proxier(proxier: ReferenceProxier) -> Proxier:
    return proxier  # and that the runner can be given this driver


def test_a_start_that_fails_leaves_no_token() -> None:
    agent = FakeAgent([("spawn", AgentError("no such cgroup"))])
    executor = FakeExecutor("node-a", [*starting(), Run(["rm", "-f", f"{FOLDER}/token"], done())])
    with pytest.raises(ProxierError) as caught:
        ReferenceProxier(agent, executor, NODE, CLUSTER, FakeClock()).start(ProxierConfig(Mode.IPTABLES, 1.0, 30.0))
    assert said(caught) == "node-a: the control loop could not be started: no such cgroup"
    executor.close()
    executor.assert_done()


def test_ready_polls_until_the_first_sync() -> None:
    rig = Rig()
    rig.then((HEALTH, AgentError("refused")), ("alive 7", Life()))
    rig.then((HEALTH, Response(503)), ("alive 7", Life()), (HEALTH, Response(200)))
    rig.proxier.ready(5)
    assert rig.agent.script == []


def test_a_loop_that_dies_is_told_with_its_last_words() -> None:
    rig = Rig(Get(f"{FOLDER}/log", LOG.encode()))
    rig.then((HEALTH, AgentError("refused")), ("alive 7", Life(alive=False, code=2)))
    with pytest.raises(ProxierError) as caught:
        rig.proxier.ready(5)
    assert said(caught) == "node-a: the control loop ended with 2: two | three | four | five | six"


def test_a_failed_sync_is_told_in_its_own_words() -> None:
    event = b'{"event": "sync-failed", "elapsed_ns": 7, "error": "iptables-restore ended with code 4: line 7 failed"}'
    rig = Rig(Get(f"{FOLDER}/log", b"plain\n{not json\n[1]\n" + event))
    rig.then((HEALTH, AgentError("refused")), ("alive 7", Life(alive=False, code=2)))
    with pytest.raises(ProxierError) as caught:
        rig.proxier.ready(5)
    words = "plain | {not json | [1] | iptables-restore ended with code 4: line 7 failed"
    assert said(caught) == f"node-a: the control loop ended with 2: {words}"


def test_a_loop_that_never_syncs_is_told() -> None:
    rig = Rig(Get(f"{FOLDER}/log", b""))
    rig.then(*[(HEALTH, Response(503)), ("alive 7", Life())] * 3)
    with pytest.raises(ProxierError) as caught:
        rig.proxier.ready(0.1)
    assert said(caught) == "node-a: no first sync within 0.1 s: it wrote no log"


def test_figures_are_those_of_the_loop() -> None:
    metrics = LoopMetrics()
    metrics.sync_duration.observe(0.5)
    metrics.programming.observe(2)
    metrics.build_seconds, metrics.tool_seconds, metrics.kernel_seconds = 0.1, 0.2, 0.3
    metrics.wait_seconds, metrics.relayed_ns = 0.75, lambda: 250_000_000
    rig = Rig()
    rig.then((METRICS, Response(200, metrics.render().decode())), (METRICS, Response(500)))
    rig.then((METRICS, AgentError("refused")))
    assert rig.proxier.figures() == LoopFigures(0.5, 1, 2.0, 1, 0.1, 0.2, 0.3, 0.75, 0.25)
    with pytest.raises(ProxierError) as caught:
        rig.proxier.figures()
    assert said(caught) == "node-a: no metrics: HTTP 500"
    with pytest.raises(ProxierError) as caught:
        rig.proxier.figures()
    assert said(caught) == "node-a: no metrics: refused"


def test_kube_proxys_own_text_has_no_split() -> None:
    text = (
        "kubeproxy_sync_proxy_rules_duration_seconds_sum 1.5\nkubeproxy_sync_proxy_rules_duration_seconds_count 3\n"
        "kubeproxy_network_programming_duration_seconds_sum 2\nkubeproxy_network_programming_duration_seconds_count 4\n"
    )
    assert parse_figures(text) == LoopFigures(1.5, 3, 2.0, 4)
    with pytest.raises(
        ProxierError, match=r"^the metrics lack kubeproxy_sync_proxy_rules_duration_seconds: nothing was synced yet$"
    ):
        parse_figures("")


def test_stop_waits_and_removes_the_token() -> None:
    rig = Rig(ending((LOG, 0)))
    rig.then(("stop 7 20", End()))
    rig.proxier.stop(20)
    rig.proxier.stop(20)
    assert rig.agent.script == []
    rig.executor.assert_done()
    with pytest.raises(ProxierError) as caught:
        rig.proxier.figures()
    assert said(caught) == "node-a: the control loop was not started"


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (End(code=-9, killed=True), "node-a: the control loop did not end within 20 s: x"),
        (End(code=3), "node-a: the control loop ended with 3: x"),
    ],
)
def test_a_bad_end_is_told(end: End, message: str) -> None:
    rig = Rig(ending(("x\n", 0)))
    rig.then(("stop 7 20", end))
    with pytest.raises(ProxierError) as caught:
        rig.proxier.stop(20)
    assert said(caught) == message


def test_only_one_at_a_time() -> None:
    rig = Rig()
    with pytest.raises(ProxierError) as caught:
        rig.proxier.start(ProxierConfig(Mode.IPTABLES, 1.0, 30.0))
    assert said(caught) == "node-a: the control loop runs already"


def test_leftovers_are_what_was_not_there_before() -> None:
    saved = (
        "*nat\n:INPUT ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:OTHER - [0:0]\n-A INPUT -j KUBE-SERVICES\n"
        "-A KUBE-SERVICES -j OTHER\nCOMMIT\n"
    )
    sysctls = "/proc/sys/net/ipv4/ip_forward:1\n/proc/sys/net/ipv4/conf/all/route_localnet:1\n"
    rig = Rig(look(saved, sysctls), look(sysctls="/proc/sys/net/ipv4/ip_forward:1\n"), ending(("", 0), saved, sysctls))
    left = (
        "iptables nat: chain KUBE-SERVICES",
        "iptables nat: rule in INPUT to KUBE-SERVICES",
        "sysctl net.ipv4.conf.all.route_localnet = 1",
    )
    assert rig.proxier.leftovers() == left
    assert rig.proxier.leftovers() == ()
    rig.then(("stop 7 20", End()))
    rig.proxier.stop(20)
    assert rig.proxier.leftovers() == left
    rig.executor.assert_done()


def test_after_stop_nothing_more_is_asked() -> None:
    sysctls = "/proc/sys/net/ipv4/ip_forward:1\n"
    rig = Rig(Get(f"{FOLDER}/log", b"one\n"), ending((LOG, 0), sysctls=sysctls))
    assert rig.proxier.log() == "one\n"
    rig.then(("stop 7 20", End()))
    rig.proxier.stop(20)
    assert rig.proxier.log() == LOG
    assert rig.proxier.leftovers() == ()
    rig.executor.assert_done()


def test_the_next_start_forgets_what_was_read() -> None:
    rig = Rig(ending((LOG, 0)), *starting(), Get(f"{FOLDER}/log", b"new\n"), look(sysctls="a:b\n"))
    rig.then(("stop 7 20", End()), ("spawn", Started()))
    rig.proxier.stop(20)
    rig.proxier.start(ProxierConfig(Mode.IPTABLES, 1.0, 30.0))
    assert rig.proxier.log() == "new\n"
    assert rig.proxier.leftovers() == ("sysctl a = b",)
    rig.executor.assert_done()


def test_a_log_that_stop_could_not_read_is_read_again() -> None:
    rig = Rig(ending(("", 1)), Get(f"{FOLDER}/log", CommandFailedError("node-a: cannot read it")))
    rig.then(("stop 7 20", End()))
    rig.proxier.stop(20)
    with pytest.raises(CommandFailedError, match=r"^node-a: cannot read it$"):
        rig.proxier.log()


def test_a_token_that_stays_is_told() -> None:
    rig = Rig(ending((LOG, 0), removed=1, stderr="rm: read-only\n"))
    rig.then(("stop 7 20", End()))
    with pytest.raises(ProxierError) as caught:
        rig.proxier.stop(20)
    assert said(caught) == "node-a: the token could not be removed: rm: read-only"


def test_a_missing_tool_at_the_end_is_told_by_leftovers_alone() -> None:
    rig = Rig(together([*TIDY, *READ], ("", 0), (LOG, 0), ("", 127), ("", 0)))
    rig.then(("stop 7 20", End()))
    rig.proxier.stop(20)
    with pytest.raises(ProxierError) as caught:
        rig.proxier.leftovers()
    assert said(caught) == "node-a: cannot look for what was left: /xtables is missing"


def test_a_real_shell_makes_files_that_only_the_owner_reads(tmp_path: Path) -> None:
    folder = tmp_path / "it's" / "new"
    folder.mkdir(parents=True)
    (folder / "token").write_text("an old and longer one")
    (folder / "token").chmod(0o644)
    token = " to\\ken $HOME "
    for _ in range(2):
        (folder / "log").write_text("of the last start")
        subprocess.run(
            ["/bin/sh", "-c", PREPARE, "prepare", str(folder)],
            input=f"{token}\n".encode() + dump(SETTINGS),
            check=True,
            timeout=10,
        )
        assert {path.name: (path.read_bytes(), path.stat().st_mode & 0o777) for path in folder.iterdir()} == {
            "token": (f"{token}\n".encode(), 0o600),
            "config.json": (dump(SETTINGS), 0o600),
            "log": (b"", 0o600),
        }


def test_the_token_is_in_no_configuration() -> None:
    assert b"secret" not in dump(SETTINGS)
    assert json.loads(dump(SETTINGS))["token_file"] == f"{FOLDER}/token"


GOLDEN = Path(__file__).parents[2] / "golden" / "kube-proxy-1.20.2"


def test_readings_of_ipvs() -> None:
    assert leftovers.IpsetReading().parse("KUBE-LOOP-BACK\nmine\n") == {"ipset KUBE-LOOP-BACK"}
    links = "lo  UNKNOWN  00:00 <LOOPBACK>\nkube-ipvs0  DOWN  aa:bb <BROADCAST>\nveth0@if3 UP\n"
    assert leftovers.LinkReading().parse(links) == {"device kube-ipvs0"}
    servers = (
        "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n"
        "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\nTCP  0A600101:0050 rr  \n"
        "  -> 0AF4000B:1F90      Masq    1      0          0         \nUDP  0A600106:0035 rr  \n"
    )
    assert leftovers.IpvsReading().parse(servers) == {"ipvs TCP 10.96.1.1:80", "ipvs UDP 10.96.1.6:53"}


def test_golden_dumps_are_full_of_leftovers() -> None:
    text = (GOLDEN / "iptables.iptables-save.nat").read_text()
    found = leftovers.IptablesReading("/x").parse(text)
    assert len([line for line in found if "chain" in line]) == 35
    assert len([line for line in found if "rule in" in line]) == 3


def test_a_missing_tool_is_not_taken_for_a_clean_kernel() -> None:
    executor = FakeExecutor("node-a", [together([["ipset", "list", "-n"]], ("", 127))])
    with pytest.raises(ProxierError) as caught:
        leftovers.read_all(executor, [leftovers.IpsetReading()])
    assert said(caught) == "node-a: cannot look for what was left: ipset is missing"
