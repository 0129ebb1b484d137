"""A whole run on a cluster of a hundred hosts against one on the smallest cluster: what users wait for.

Run as root: ``python -m benchmarks.whole_run [HOSTS]``. A lab in namespaces plays the user's own cluster: each host has
a real sshd, one a real kube-proxy, and each further host has both roles that a host can have without one: its clock is
asked before and after each step, and our backend runs there. All hosts share this machine's processors with the
orchestrator, as no cluster's do. By turns a run that only observes is made of the smallest cluster (a client, the
measured node, one further host) and of all; "ready" is the time until its first step began, "end" from its last
step's end on.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.children import heed_signals
from proxybench.hosts.fleet import Fleet
from proxybench.model import ClockKind, Mode
from proxybench.nodes.client import connect_agent, install
from proxybench.nodes.node import NodeHandle
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.netns import NetnsLab
from proxybench.targets.lab.topology import with_clients
from tests.lab.binaries import kube_proxy
from tests.lab.own_cluster import BACKENDS, User, config, end_kube_proxy, make_user, seem_apart, start_kube_proxy

if TYPE_CHECKING:
    from proxybench.nodes.cluster import Cluster

ROUNDS = 3
LIMIT_S = 1200
FIRST, SMALLEST = 2, 3
EXPERIMENT = """\
version: 1
name: hosts
target: TARGET
subjects: [{kind: cluster, mode: iptables}]
scale: {services: [10, 100]}
repetitions: 1
measure:
  sync: {scenarios: [add-one, change-endpoint, delete-one, add-batch], timeout: 60s}
  cpu: {idle: 10s}
  forwarding: {connections: 300}
"""
FREE = ("198.18.1.250", "198.18.1.251")
"""Further addresses of node2: other hosts of so large a lab have those of the tests."""
Seconds = tuple[float, float, float]


def main() -> None:
    heed_signals()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    layout = with_clients(count - FIRST)  # node1 and node2 are there besides
    lab = NetnsLab(Settings(ClockKind.WALL, "none", topology=layout))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stack.callback(lab.down)
        cluster = lab.up()
        targets = {name: cluster.targets[name] for name in ("client", "node1", "node2")}
        fleet = stack.enter_context(Fleet.connect(targets))
        node1 = fleet["node1"]
        agent = connect_agent(node1, cluster.measured.python, install(node1, cluster.measured.workdir))
        stack.callback(agent.close)
        handle = NodeHandle(cluster.measured, node1, agent)
        for address in FREE:
            fleet["node2"].run(["ip", "addr", "add", f"{address}/24", "dev", "data"])
        with Fleet.connect(cluster.targets) as every:
            seem_apart(every)
        start_kube_proxy(handle, kube_proxy(), cluster.api, config(cluster, handle, Mode.IPTABLES))
        stack.callback(end_kube_proxy, node1)
        users = {
            SMALLEST: user_of(Path(folder) / "few", cluster, SMALLEST),
            count: user_of(Path(folder) / "all", cluster, count),
        }
        measured: dict[int, list[Seconds]] = {hosts: [] for hosts in users}
        for _ in range(ROUNDS):
            for hosts, user in users.items():
                measured[hosts].append(a_run(user))
                print(hosts, *(f"{one:.2f}" for one in measured[hosts][-1]), flush=True)
    print(f"Medians of {ROUNDS}, seconds\n{'hosts':>8}{'ready':>8}{'end':>8}{'whole':>8}")
    for hosts, several in measured.items():
        print(f"{hosts:8}" + "".join(f"{median(values):8.2f}" for values in zip(*several, strict=True)))


def user_of(home: Path, cluster: Cluster, hosts: int) -> User:
    """Return a user whose inventory has so many hosts."""
    user = make_user(home, cluster, EXPERIMENT)
    file = home / "nodes.yaml"
    text = file.read_text().replace(", ".join(BACKENDS), ", ".join(FREE))
    lines = [line for line in text.splitlines() if "{name: client2," not in line]
    names = {node.name: node for node in cluster.nodes}
    for number in range(2, hosts - SMALLEST + 2):
        node = names[f"client{number}"]
        place = f"host: {node.ssh.host}, port: {node.ssh.port}, address: {node.address}"
        lines.append(f"  - {{name: host{number}, roles: [other, backend], {place}}}")
    file.write_text("\n".join(lines) + "\n")
    return user


def a_run(user: User) -> Seconds:
    """Run the experiment; return the seconds until its first step, from its last step on, and of all."""
    argv = [sys.executable, "-m", "proxybench", "run", str(user.experiment)]
    began = time.monotonic()
    first = last = 0.0
    said = []
    with subprocess.Popen(
        argv,
        cwd=user.home,
        env={**user.environment, "PYTHONPATH": str(Path.cwd())},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        timer = threading.Timer(LIMIT_S, process.kill)
        timer.daemon = True
        timer.start()
        for line in process.stderr or ():
            said.append(line)
            if not first and re.match(r"\[1/", line):
                first = time.monotonic()
            if re.match(r"\[\d+/\d+\].*: done in", line):
                last = time.monotonic()
        timer.cancel()
    if process.returncode or not last:
        sys.exit("".join(said))
    return first - began, time.monotonic() - last, time.monotonic() - began


if __name__ == "__main__":
    main()
