"""What kills or stops one of our own programs in the middle of a step fails that step, with the cause in one line.

Each is killed in a scenario that would otherwise go on, or whose number would look like that of a slow proxy. One run
survives many such deaths, one in each step; the API server, the lab's supervisor and a pods' server are not replaced.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.cli.measure import measure
from proxybench.experiment.spec import Experiment
from proxybench.results.folder import open_run
from tests.lab.binaries import FIRST_BUILD_S, RELEASES, kube_proxy
from tests.lab.labs import descendants
from tests.unit.run.log import ProgressLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxybench.experiment.matrix import Step
    from proxybench.results.manifest import Step as Taken

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root"),
    pytest.mark.timeout(200),
]

IDLE = {"cpu": {"idle": "2s"}}
ADDRESSES = {"client": "198.18.1.10", "node1": "198.18.1.11", "node2": "198.18.1.12"}
AGENT = "the agent was ended by SIGKILL"
SERVER = r"the lab's API server \(process \d+ of this machine\)"


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def on(node: str, pid: int) -> bool:
    """Tell whether a process runs on a node: whether the node's address is one of its network's own."""
    return f"|-- {ADDRESSES[node]}\n" in Path(f"/proc/{pid}/net/fib_trie").read_text()


def programs(*words: str, forked: bool = False) -> list[int]:
    """Return our processes whose command lines hold all these words; ``forked``: those that one such has forked."""
    found = {pid for pid, command in descendants(os.getpid()).items() if all(word in command for word in words)}
    return sorted(pid for pid in found if (parent(pid) in found) is forked)


def agent(node: str) -> int:
    (pid,) = [pid for pid in programs("proxybench-agent", "serve") if on(node, pid)]
    return pid


def prober() -> int:
    (pid,) = programs("proxybench-agent", "serve", forked=True)
    return pid


def locust(number: int) -> int:
    """Return the process of one load: of the client's worker, of the master beside it, of the other client's worker."""
    starter = programs("load/warm.py")[number]
    (pid,) = [pid for pid in programs("load/warm.py", forked=True) if parent(pid) == starter]
    return pid


def api_server() -> int:
    (pid,) = programs("apiserver.server")
    return pid


def control_loop(node: str) -> int:
    (pid,) = [pid for pid in programs("refproxy", "--config") if on(node, pid)]
    return pid


def sshd(node: str) -> int:
    """Return the sshd of the connection over which a node's agent is asked."""
    return parent(agent(node))


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def stop(pid: int) -> None:
    """Let it stand still for a while."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1.2)
    os.kill(pid, signal.SIGCONT)


class Straits:
    """A cgroup with a limit of memory that one process exceeds; whom its kernel kills first is chosen here.

    By either version of cgroups, wherever a kernel has the controller.
    """

    PLACES = (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),  # version 1
        (Path("/sys/fs/cgroup"), "memory.max"),
    )
    LIMIT, MORE = 8 << 20, 64 << 20

    def __init__(self) -> None:
        name = f"proxybench-test-{os.getpid()}"
        found = [(root, limit) for root, limit in self.PLACES if self._has_memory(root, limit)]
        if not found:
            pytest.skip("no cgroup here can limit memory")
        root, limit = found[0]
        self.folder = root / name
        self.folder.mkdir()
        (self.folder / limit).write_text(str(self.LIMIT))

    @staticmethod
    def _has_memory(root: Path, limit: str) -> bool:
        control = root / "cgroup.subtree_control"
        return (root / limit).exists() or (control.exists() and "memory" in control.read_text().split())

    def starve(self, pid: int) -> None:
        """Bring a process in, and one that takes more memory than there is."""
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
        (self.folder / "cgroup.procs").write_text(str(pid))
        eater = (
            f"import os; open({str(self.folder / 'cgroup.procs')!r}, 'w').write(str(os.getpid())); b'x' * {self.MORE}"
        )
        assert subprocess.run([sys.executable, "-c", eater], check=False, timeout=20).returncode == -signal.SIGKILL

    def close(self) -> None:
        deadline = time.monotonic() + 10
        while (self.folder / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.folder.rmdir()


@dataclass(frozen=True)
class Blow:
    """What is done to which process half a second into a scenario, and the problem that the step then has."""

    scenario: str
    victim: Callable[[], int]
    deed: Callable[[int], None]
    problem: str


def strike(blow: Blow) -> None:
    """Strike as soon as the victim is there."""
    deadline = time.monotonic() + 10
    while True:
        try:
            pid = blow.victim()
        except (ValueError, IndexError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            blow.deed(pid)
            return


class Striker(ProgressLog):
    """Strikes in the middle of steps: the first blow in the first step, and so on."""

    def __init__(self, blows: Sequence[Blow]) -> None:
        super().__init__()
        self.blows = blows
        self.struck: list[threading.Timer] = []

    def step_activity(self, step: Step, text: str) -> None:
        super().step_activity(step, text)
        if step.index <= len(self.blows) and text == self.blows[step.index - 1].scenario:
            self.struck.append(threading.Timer(0.5, strike, [self.blows[step.index - 1]]))
            self.struck[-1].start()


def taken(folder: Path, blows: Sequence[Blow], steps: int, measured: dict[str, Any], **more: Any) -> tuple[Taken, ...]:
    """Return what became of so many steps, into the first of which the blows fall."""
    experiment = Experiment.model_validate(
        {
            "version": 1,
            "name": "dies",
            "target": {"lab": {"kind": "netns", **more.pop("lab", {})}},
            "scale": {"services": [5]},
            "repetitions": steps,
            "measure": measured,
            "limits": {"cell": "60s"},
            **({} if "subjects" in more else {"modes": ["iptables"]}),
            **more,
        }
    )
    striker = Striker(blows)
    outcome = measure(experiment, folder, resume=None, progress=striker)
    for thread in striker.struck:
        thread.join()
    matrix = open_run(outcome.folder).manifest.matrix
    for step, blow in zip(matrix, blows, strict=False):
        assert step.state == "failed", (blow, step)
        assert step.problem is not None
        assert re.fullmatch(f"{blow.scenario}: {blow.problem}", step.problem), step.problem
    samples = open_run(outcome.folder).samples()
    struck = {(blow.scenario.split()[-1], repetition) for repetition, blow in enumerate(blows, 1)}
    spoilt = samples[[pair in struck for pair in zip(samples.scenario, samples.repetition, strict=True)]]
    assert spoilt.empty, spoilt[["scenario", "repetition", "metric", "value"]]
    return matrix


def test_agents_and_the_api_server_while_nothing_happens(tmp_path: Path) -> None:
    """Nobody would miss them: an idle proxy is watched by the counters at both ends alone."""
    blows = [
        Blow("idle", lambda: agent("client"), kill, f"client: {AGENT}"),
        Blow("idle", lambda: agent("node1"), kill, f"node1: {AGENT}"),
        Blow("idle", lambda: agent("node2"), kill, f"node2: {AGENT}"),
        Blow(
            "idle",
            api_server,
            stop,
            r"the lab's API server stood still \(.*, process \d+ of this machine, got SIGSTOP\)",
        ),
        Blow("idle", api_server, kill, f"{SERVER} was ended by SIGKILL"),
    ]
    steps = taken(tmp_path, blows, 6, IDLE)
    assert steps[5].problem is not None  # nothing goes on without an API server
    assert re.fullmatch(f"{SERVER} was ended by SIGKILL", steps[5].problem), steps[5].problem


def test_what_is_measured_and_what_it_is_reached_by(tmp_path: Path) -> None:
    blows = [
        Blow(
            "idle",
            lambda: control_loop("node1"),
            kill,
            "node1: the reference proxier was ended by SIGKILL: .*",
        ),
        Blow("idle", lambda: sshd("node1"), kill, "node1: .*"),
        Blow("idle", lambda: sshd("node2"), kill, "node2: .*"),
        Blow("idle", lambda: sshd("client"), kill, "client: .*"),
    ]
    assert taken(tmp_path, blows, 5, IDLE)[4].state == "done"


def node1_kube_proxy() -> int:
    (pid,) = [pid for pid in programs("kube-proxy", "--config=") if on("node1", pid)]
    return pid


def move(pid: int) -> None:
    """Take it out of its cgroup, as a tool that tidies cgroups does."""
    inside(pid, f"echo {pid} > /sys/fs/cgroup/cgroup.procs")


def remove(pid: int) -> None:
    group = Path(f"/proc/{pid}/cgroup").read_text().partition("0::")[2].split()[0]
    inside(pid, f"echo {pid} > /sys/fs/cgroup/cgroup.procs; rmdir /sys/fs/cgroup{group}")


def inside(pid: int, script: str) -> None:
    subprocess.run(["nsenter", "-t", str(pid), "-m", "sh", "-c", script], check=True, timeout=20)


@pytest.mark.timeout(FIRST_BUILD_S)
def test_a_real_kube_proxy(tmp_path: Path) -> None:
    """Stopped while a Service is added it would be slow, moved to another cgroup it would spend no CPU time."""
    version = RELEASES[-1]
    kube_proxy(version)
    blows = [
        Blow("idle", node1_kube_proxy, kill, "node1: kube-proxy was ended by SIGKILL: .*"),
        Blow("add-one", node1_kube_proxy, stop, "node1: kube-proxy stood still for a while, since it got SIGSTOP"),
        Blow("idle", node1_kube_proxy, move, "node1: kube-proxy was moved out of its cgroup /.*/node1/proxy"),
        Blow("idle", node1_kube_proxy, remove, "node1: kube-proxy lost its cgroup /.*/node1/proxy"),
    ]
    subject = {"kind": "kube-proxy", "version": version, "modes": ["nftables"]}
    steps = taken(tmp_path, blows, 5, {**IDLE, "sync": {"scenarios": ["add-one"]}}, subjects=[subject])
    assert steps[4].state == "done", steps[4]


def test_the_prober(tmp_path: Path) -> None:
    blows = [
        Blow(
            "restart", prober, kill, r"client: watched: the watch has no result: its process \d+ was ended by SIGKILL"
        ),
        Blow("restart", prober, stop, "client: watched: the watch has no result: it stood still for a while: .*"),
    ]
    assert taken(tmp_path, blows, 3, {"events": {"scenarios": ["restart"]}})[2].state == "done"


def test_the_kernel_when_memory_runs_out(tmp_path: Path) -> None:
    """The step says that it was the kernel, by the kernel's own word."""
    straits = Straits()
    memory = r", for want of memory: oom_kill of {}'s kernel went from \d+ to \d+"
    blows = [
        Blow("idle", lambda: agent("node2"), straits.starve, f"node2: {AGENT}{memory.format('node2')}"),
        Blow(
            "restart",
            prober,
            straits.starve,
            r"client: watched: the watch has no result: its process \d+ was ended by SIGKILL" + memory.format("client"),
        ),
        Blow("idle", api_server, straits.starve, f"{SERVER} was ended by SIGKILL{memory.format('this machine')}"),
    ]
    try:
        taken(tmp_path, blows, 3, {**IDLE, "events": {"scenarios": ["restart"]}})
    finally:
        straits.close()


def test_locust_its_master_and_what_starts_them(tmp_path: Path) -> None:
    blows = [
        Blow("load", lambda: locust(0), kill, "client: locust was ended by SIGKILL and said: .*"),
        Blow("load", lambda: locust(1), kill, r"client \(master\): locust was ended by SIGKILL and said: .*"),
        Blow("load", lambda: locust(2), stop, "locust of client 2 stood still for a while: it got SIGSTOP and SIGCONT"),
        Blow(
            "load",
            lambda: programs("load/warm.py")[2],
            kill,
            "client2: the program that starts locust was ended by SIGKILL",
        ),
    ]
    load = {"rate": 40, "users": 4, "duration": "3s"}
    steps = taken(tmp_path, blows, 5, {"cpu": {"idle": "1s"}}, load=load, lab={"clients": 2})
    assert steps[4].state == "done", steps[4]


def supervisor() -> int:
    return next(pid for pid in programs("lab.supervisor", forked=True))


def test_a_network_that_is_taken_away_behind_our_back(tmp_path: Path) -> None:
    """Its name is needed by nobody; without its link a Service that is added would be answered after "> 120 s"."""
    blows = [
        Blow(
            "add-one",
            supervisor,
            lambda pid: inside(pid, "ip netns del node1; ip -n client link del data"),
            r"in the lab, client has lost its interface data and \d more",
        )
    ]
    steps = taken(tmp_path, blows, 2, {"sync": {"scenarios": ["add-one"], "timeout": "3s"}})
    assert steps[1].problem is not None
    assert re.fullmatch(r"in the lab, client has lost its interface data and \d more", steps[1].problem)


@pytest.mark.parametrize(
    ("victim", "problem"),
    [
        (
            supervisor,
            r"the lab's supervisor \(process \d+ of this machine\) ended with code 1",
        ),
        (
            lambda: programs("agent.pyz", "backend")[0],
            r"in the lab, the server of pods[12], number 1 was ended by SIGKILL",
        ),
    ],
)
def test_what_holds_the_lab_up(tmp_path: Path, victim: Callable[[], int], problem: str) -> None:
    steps = taken(tmp_path, [Blow("idle", victim, kill, problem)], 2, IDLE)
    assert steps[1].state == "failed"
    assert re.fullmatch(problem, steps[1].problem or ""), steps[1].problem
