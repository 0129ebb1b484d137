"""A hundred real sshds, each in a network namespace of its own, against one: what users wait for, and its parts.

Run as root: ``python -m benchmarks.fleet [HOSTS]``. All lies in namespaces of this program, and ends with it.

All hosts share this machine's processors with the orchestrator, as no cluster's do; so the CPU time that the sshds and
what they ran took is told apart, and ``own`` is how long it would take if each host had processors of its own: the time
of one host, or what the orchestrator itself works for all of them, whichever is longer. "doctor" is the whole program,
as users start it; "2 s there" a command that takes its time on the host and no processor, "2 s idle" connections on
which nothing goes, and "slow login" hosts that think for half a second about who may log in, as those do that ask a
directory. ``ulimit -n 1024`` before it, and 500 hosts, try what many systems allow.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from benchmarks.children import heed_signals, run
from proxybench.clocks import ClockDomain, ping
from proxybench.hosts.fleet import ASKED_AT_ONCE, AT_ONCE, reach
from proxybench.hosts.inventory import SshTarget
from proxybench.interrupts import undisturbed
from proxybench.nodes.client import connect_agent, install
from proxybench.nodes.node import Node, NodeHandle
from proxybench.nodes.requests import AskClocks
from proxybench.run.offsets import FEW, all_offsets
from proxybench.targets.lab import artifacts
from proxybench.targets.lab.sshd import USERS, make_key, sshd_config
from proxybench.units import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from proxybench.hosts.base import Executor
    from proxybench.hosts.fleet import Fleet
    from proxybench.nodes.client import AgentClient

INSIDE = "PROXYBENCH_BENCHMARK_INSIDE"
CONTAINED = ("unshare", "--net", "--mount", "--propagation", "private")
CGROUPS = Path("/run/cgroup")
GROUP = CGROUPS / "proxybench-fleet"
ROUNDS = 5
LIMIT_S = 1800
PORT = 2222
SLOW = "slow"
LOGIN_S = 0.5
Measured = tuple[float, float, float]
T = TypeVar("T")


def main() -> None:
    heed_signals()
    if INSIDE not in os.environ:
        argv = [*CONTAINED, sys.executable, "-m", "benchmarks.fleet", *sys.argv[1:]]
        code, output = run(argv, LIMIT_S, {**os.environ, INSIDE: "1"})
        sys.stdout.buffer.write(output)
        sys.exit(code)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder, sshds(Path(folder), count) as targets:
        one = dict(list(targets.items())[:1])
        work(one)  # imports, caches
        print(f"{count} hosts, {os.cpu_count()} processors; {AT_ONCE} connected to, {ASKED_AT_ONCE} asked at a time")
        print(f"Medians of {ROUNDS}, seconds")
        print(f"{'':12}{'one':>8}{'all':>8}{'own':>8}{'':4}CPU of the orchestrator and of a host, each in ms per host")
        few, many = [[work(some) | doctor(Path(folder), some) for _ in range(ROUNDS)] for some in (one, targets)]
        for what in few[0]:
            single, every = middle([each[what] for each in few]), middle([each[what] for each in many])
            ours, theirs = every[1] / count, every[2] / count
            own = max(single[0], every[1])
            print(f"{what:12}{single[0]:8.3f}{every[0]:8.3f}{own:8.3f}{'':4}{1000 * ours:.1f} {1000 * theirs:.1f}")
        print(memory())


def middle(several: list[Measured]) -> Measured:
    return tuple(median(values) for values in zip(*several, strict=True))


def work(targets: Mapping[str, SshTarget]) -> dict[str, Measured]:
    """Connect to hosts, run a command on each, start an agent on each and greet it, and ask all for their time."""
    found: dict[str, Measured] = {}
    found["slow login"], reached = timed(lambda: reached_all({n: replace(t, user=SLOW) for n, t in targets.items()}))
    reached.close()
    found["connect"], reached = timed(lambda: reached_all(targets))
    with reached as fleet:
        found["2 s idle"], _ = timed(lambda: time.sleep(2))
        found["command"], _ = timed(lambda: fleet.fan_out(lambda host: host.run(["true"]), timeout=60))
        found["2 s there"], _ = timed(lambda: fleet.fan_out(lambda host: host.run(["sleep", "2"]), timeout=60))
        found["agent"], _ = timed(lambda: fleet.fan_out(greet, timeout=300))
        agents = fleet.fan_out(start, timeout=300)
        handles = [
            NodeHandle(Node(name, targets[name], "", None, ClockDomain(name)), fleet[name], agent)
            for name, agent in agents.items()
        ]
        found["clocks"], _ = timed(lambda: ask_clocks(handles))
        for agent in agents.values():
            agent.close()
    return found


def ask_clocks(handles: Sequence[NodeHandle]) -> None:
    """Bound each host's offset, as before and after each step; a run with one clock asks nobody."""
    notes: list[str] = []
    if len(handles) == 1:
        ping(lambda: handles[0].agent.call(AskClocks()).monotonic_ns, SystemClock(), count=FEW)
    else:
        all_offsets(handles, SystemClock(), notes)
    if notes:
        sys.exit(notes[0])


def reached_all(targets: Mapping[str, SshTarget]) -> Fleet:
    fleet, lost = reach(targets)
    if lost:
        sys.exit(f"not reached: {lost}")
    return fleet


def doctor(folder: Path, targets: Mapping[str, SshTarget]) -> dict[str, Measured]:
    """Let ``proxybench doctor`` look at hosts, as a user does who has them in an inventory and in known_hosts."""
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True, exist_ok=True)
    known = [f"{one.known_name} {one.host_key}\n" for one in targets.values()]
    (home / ".ssh" / "known_hosts").write_text("".join(known))
    first = next(iter(targets.values()))
    lines = [
        f"version: 1\ndefaults: {{user: root, port: {PORT}, key: {first.identity}, python: {sys.executable}}}\nnodes:"
    ]
    for name, one in targets.items():
        roles = "[client, measured]" if one is first else "other"
        lines.append(f"  - {{name: {name}, roles: {roles}, host: {one.host}, workdir: /run/{name}}}")
    (home / "nodes.yaml").write_text("\n".join(lines) + "\n")
    argv = [sys.executable, "-m", "proxybench", "doctor", "--inventory", str(home / "nodes.yaml"), "--json"]
    found, (_, output) = timed(lambda: run(argv, LIMIT_S, {**os.environ, "HOME": str(home)}))
    rows = json.loads(output)
    if {row["node"] for row in rows} != set(targets) or any("connect" in row["lacks"] for row in rows):
        sys.exit(f"doctor did not reach all: {output.decode()[:2000]}")
    return {"doctor": found}


def memory() -> str:
    usage, files = resource.getrusage(resource.RUSAGE_SELF), resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"at most {usage.ru_maxrss // 1024} MiB of memory; files that may be open: {files[0]}"


def greet(host: Executor) -> None:
    start(host).close()


def start(host: Executor) -> AgentClient:
    return connect_agent(host, sys.executable, install(host, f"/run/{host.name}"))


def timed(job: Callable[[], T]) -> tuple[Measured, T]:
    """Return the seconds that a job took, the orchestrator's CPU time and the hosts', and what it returned."""
    hosts, own, began = hosts_cpu(), own_cpu(), time.monotonic()
    result = job()
    return (time.monotonic() - began, own_cpu() - own, hosts_cpu() - hosts), result


def own_cpu() -> float:
    """Return the CPU time of the orchestrator: this program's, and of those that it has run to their end."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def hosts_cpu() -> float:
    words = dict(line.split() for line in (GROUP / "cpu.stat").read_text().splitlines())
    return int(words["usage_usec"]) / 1_000_000


@contextmanager
def sshds(folder: Path, count: int) -> Iterator[dict[str, SshTarget]]:
    """Run an sshd in each of so many namespaces; give how they are reached."""
    root = artifacts.ensure(None, print).root
    passwd = folder / "passwd"
    passwd.write_text(f"{USERS}{SLOW}:x:0:0:root:/run/home:/bin/sh\n")
    for line in (
        "mount -t tmpfs run /run",
        f"mkdir -p /run/netns /run/sshd /run/home {CGROUPS}",
        f"mount -t cgroup2 cgroup {CGROUPS}",
        f"mount --bind {passwd} /etc/passwd",
        "ip link set lo up",
        "ip link add bridge type bridge",
        "ip addr add 10.250.255.254/16 dev bridge",
        "ip link set bridge up",
    ):
        subprocess.run(line.split(), check=True)
    client, host = make_key(folder / "client"), make_key(folder / "host")
    GROUP.mkdir(exist_ok=True)
    targets, running = {}, []
    environment = {**os.environ, "LD_LIBRARY_PATH": str(root / "usr/lib/x86_64-linux-gnu")}
    try:
        for number in range(count):
            name, address = f"h{number}", f"10.250.{number // 250}.{number % 250 + 1}"
            make_namespace(name, address)
            config = folder / f"{name}.conf"
            keys = client.private.with_suffix(".pub")
            text = sshd_config(host_key=host.private, authorized_keys=keys, listen=address, forwards="no")
            slow = f"AuthorizedKeysCommand /bin/sh -c 'sleep {LOGIN_S}; cat {keys}'\nAuthorizedKeysCommandUser root\n"
            config.write_text(f"Port {PORT}\n{text}Match User {SLOW}\nAuthorizedKeysFile none\n{slow}")
            command = ["ip", "netns", "exec", name, str(root / "usr/sbin/sshd"), "-D", "-e", "-f", str(config)]
            with undisturbed():
                running.append(
                    subprocess.Popen(
                        ["sh", "-c", f'echo $$ > {GROUP}/cgroup.procs; exec "$@"', "x", *command], env=environment
                    )
                )
            targets[name] = SshTarget(address, PORT, "root", client.private, host.public)
        time.sleep(2)
        yield targets
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        end = time.monotonic() + 10
        while (GROUP / "cgroup.procs").read_text() and time.monotonic() < end:
            time.sleep(0.1)
        GROUP.rmdir()


def make_namespace(name: str, address: str) -> None:
    lines = (
        f"link add v{name} type veth peer name data netns {name}",
        f"link set v{name} master bridge up",
    )
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
    inside = (f"addr add {address}/16 dev data", "link set data up", "link set lo up")
    subprocess.run(["ip", "-n", name, "-batch", "-"], input="\n".join(inside), text=True, check=True)


if __name__ == "__main__":
    main()
