from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from proxybench.agent import schedule
from proxybench.targets.lab import node_script, topology
from proxybench.targets.lab.node_script import Paths

PATHS = Paths(Path("/my lab"), Path("/cache/it's"), Path("/venv/bin/python"), Path("/my lab/agent.pyz"))
PLAIN = Paths(Path("/state"), Path("/system"), Path("/python"), Path("/state/agent.pyz"))
MOUNTS = (
    "set -e\n"
    "mount -t tmpfs -o mode=755,size=256m run /run\n"
    "mkdir -p /run/sshd /run/home /run/proxybench\n"
    "mount --bind /state/passwd /etc/passwd\n"
    "[ ! -e /etc/shadow ] || mount --bind /state/shadow /etc/shadow\n"
    "[ ! -e /etc/hosts.allow ] || mount --bind /dev/null /etc/hosts.allow\n"
    "[ ! -e /etc/hosts.deny ] || mount --bind /dev/null /etc/hosts.deny\n"
    "mkdir -p /sys/fs/cgroup\n"
    "mount -t cgroup2 cgroup /sys/fs/cgroup\n"
)
TABLES = "".join(f"xtables-legacy-multi iptables -t {table} -S > /dev/null\n" for table in ("nat", "filter", "mangle"))
SSHD = "exec env LD_LIBRARY_PATH=/system/usr/lib/x86_64-linux-gnu /system/usr/sbin/sshd"


def texts(paths: Paths) -> dict[str, str]:
    return {
        "node": node_script.node(paths, "node1", proxy=True),
        "holder": node_script.holder(paths, proxy=True),
        "connection": node_script.connection(paths, "node1"),
        "guest": node_script.guest(paths, topology.DEFAULT, "/sys/fs/cgroup/proxybench"),
    }


def test_a_node_is_its_mounts_and_an_sshd_in_the_foreground() -> None:
    assert node_script.node(PLAIN, "node1", proxy=True) == f"{MOUNTS}{TABLES}{SSHD} -D -e -f /state/node1.sshd\n"
    assert node_script.node(PLAIN, "client", proxy=False) == f"{MOUNTS}{SSHD} -D -e -f /state/client.sshd\n"


def test_a_holder_says_ready_only_after_its_mounts() -> None:
    assert node_script.holder(PLAIN, proxy=True) == f"{MOUNTS}{TABLES}echo ready\nexec sleep infinity\n"
    assert node_script.holder(PLAIN, proxy=False) == f"{MOUNTS}echo ready\nexec sleep infinity\n"


def test_a_connection_is_one_sshd_on_standard_input() -> None:
    assert node_script.connection(PLAIN, "client") == f"{SSHD} -i -e -f /state/client.sshd\n"


def test_the_backend_runs_the_agent_without_the_users_packages() -> None:
    usual = ["/python", "-I", "-S", "/state/agent.pyz", "backend", "--port", "8080"]
    assert node_script.backends(PLAIN, topology.DEFAULT) == [usual]
    assert node_script.backends(PLAIN, topology.DUAL_STACK) == [usual, [*usual, "--family", "ipv6"]]


def test_a_command_in_a_namespace_is_quoted() -> None:
    assert node_script.in_namespace("pods1", ["sh", "-c", "a; b"]) == "ip netns exec pods1 sh -c 'a; b'"


@pytest.mark.parametrize("name", ["node", "holder", "connection", "guest"])
def test_a_shell_can_read_paths_with_blanks_and_quotes(name: str) -> None:
    subprocess.run(["sh", "-n"], input=texts(PATHS)[name], text=True, check=True, timeout=10)


@pytest.mark.parametrize("name", ["node", "holder", "guest"])
def test_paths_stay_one_word(name: str) -> None:
    lines = [shlex.split(line) for line in texts(PATHS)[name].splitlines() if line.startswith("mount --bind")]
    assert ["mount", "--bind", "/my lab/passwd", "/etc/passwd"] in lines
    assert "mount --bind '/my lab/shadow' /etc/shadow\n" in texts(PATHS)[name]


def test_sshd_finds_its_own_libraries_where_paths_need_quoting() -> None:
    assert shlex.split(node_script.connection(PATHS, "node1")) == [
        "exec",
        "env",
        "LD_LIBRARY_PATH=/cache/it's/usr/lib/x86_64-linux-gnu",
        "/cache/it's/usr/sbin/sshd",
        "-i",
        "-e",
        "-f",
        "/my lab/node1.sshd",
    ]


def test_the_guest_reports_ready_after_every_sshd_listens_and_failure_before() -> None:
    lines = texts(PLAIN)["guest"].splitlines()
    assert lines[:2] == ["trap 'echo PROXYBENCH-LAB-FAILED' EXIT", "set -e"]
    ready = lines.index("echo PROXYBENCH-LAB-READY")
    waits = [line.split()[4] for line in lines[:ready] if line.startswith("until ip netns exec ")]
    assert waits == ["client", "node1", "node2", "pod1", "ctl"]
    assert lines[ready + 1 :] == ["trap - EXIT", "set +e", "while :; do sleep 86400 & wait $!; done"]


def test_the_guest_builds_the_network_starts_pods_and_nodes_and_masquerades_towards_the_host() -> None:
    text = texts(PLAIN)["guest"]
    assert topology.script(topology.DEFAULT) in text
    backend = "ulimit -n 65536; exec /python -I -S /state/agent.pyz backend --port 8080"
    for pods in ("pods1", "pods2"):
        assert f"ip netns exec {pods} sh -c '{backend}' &\n" in text
    for name in ("client", "node1", "node2"):
        assert f"ip netns exec {name} sh /state/{name}.sh &\n" in text
    assert "ip netns exec ctl xtables-legacy-multi iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE\n" in text
    assert text.index("-j MASQUERADE") < text.index("echo 2097152 > /proc/sys/net/netfilter/nf_conntrack_max\n")


def test_the_guest_lets_its_softirqs_run_before_a_prober_can() -> None:
    text = texts(PLAIN)["guest"]
    turn = f'ksoftirqd/*) chrt --fifo --pid {schedule.PRIORITY + 1} "${{folder#/proc/}}" ;;'
    assert text.index("mount -t proc") < text.index(turn) < text.index("PROXYBENCH-LAB-READY")


def test_the_guest_keeps_the_programs_of_proxies_in_its_memory_and_a_namespace_touches_nothing() -> None:
    found = texts(PLAIN)
    loop = "for program in conntrack ipset nft xtables-legacy-multi xtables-nft-multi; do\n"
    assert loop in found["guest"]
    assert found["guest"].index(loop) < found["guest"].index("PROXYBENCH-LAB-READY")
    assert [name for name, text in found.items() if "touch" in text] == ["guest"]
