"""The shell scripts that turn a namespace into a node with its own sshd, or into a host of pods. Pure text."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.agent import schedule
from proxybench.targets.lab import topology as network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxybench.targets.lab.topology import Topology

API_PORT = 6443
FILES = 65_536
"""As many files may be open in a pods' server."""
IPTABLES = "xtables-legacy-multi"
"""The backend, by name and never the host's default: the two differ in what a rule costs."""
MOST_TRACKED = 2_097_152
RUN_BY_PROXIES = ("conntrack", "ipset", "nft", "xtables-legacy-multi", "xtables-nft-multi")
"""Programs that a Service proxy runs on its node."""
_ADMITTED = ("/etc/hosts.allow", "/etc/hosts.deny")
READY = "PROXYBENCH-LAB-READY"
FAILED = "PROXYBENCH-LAB-FAILED"

# iptables-restore asks twice for a file named after the target of each rule, a chain of ours in most: 20,000 names of
# which none is there. Over 9p each question is a way to the host and back, 2.4 s for adding one Service to 10,000.
_LOCAL_EXTENSIONS = (
    "for folder in /usr/lib/xtables /usr/lib/*/xtables; do",
    '  [ -d "$folder" ] || continue',
    '  mkdir -p "/run/local$folder"',
    '  cp -a "$folder/." "/run/local$folder"',
    '  mount --bind "/run/local$folder" "$folder"',
    "done",
)

# A proxy runs these at every sync, in IPVS mode ipset once for each new Service. Over 9p each start asks the host for
# every symbolic link and library on the way and waits for it, 16 of 20 ms. A touched one lies in the guest's memory.
_LOCAL_PROGRAMS = (
    "for link in /bin /lib /lib64 /sbin; do touch -c -h $link; done",
    f"for program in {' '.join(RUN_BY_PROXIES)}; do",
    '  path=$(command -v "$program") || continue',
    '  for file in "$path" $(ldd "$path" | grep -o "/[^ ]*") /etc/ld.so.cache; do',
    '    touch -c -h "$file"',
    '    touch -c "$file"',
    "  done",
    "done",
)

# Once a relay's work has woken it, ksoftirqd (nice 0) would not get a turn beside a real-time prober on the guest's one
# processor. While it waits for one, the kernel leaves all packets to it, and each connection takes 25 us more.
_SOFTIRQS_FIRST = (
    "for folder in /proc/[0-9]*; do",
    '  read -r name < "$folder/comm" || continue',
    f'  case "$name" in ksoftirqd/*) chrt --fifo --pid {schedule.PRIORITY + 1} "${{folder#/proc/}}" ;; esac',
    "done",
)


@dataclass(frozen=True)
class Paths:
    """Where things lie, as host and guest see them alike.

    ``state`` is the lab's folder, ``system`` the unpacked packages (kernel, sshd, libraries), ``python`` the
    interpreter with proxybench, ``agent`` the agent's zipapp.
    """

    state: Path
    system: Path
    python: Path
    agent: Path

    def config(self, name: str) -> Path:
        """Return the sshd configuration of a node."""
        return self.state / f"{name}.sshd"

    @property
    def sshd(self) -> str:
        """The command that starts sshd with its own libraries, quoted for the shell."""
        libraries = self.system / "usr/lib/x86_64-linux-gnu"
        return f"LD_LIBRARY_PATH={shlex.quote(str(libraries))} {shlex.quote(str(self.system / 'usr/sbin/sshd'))}"


def private_mounts(state: Path) -> list[str]:
    """Return the commands that give a process group its own /run, users and cgroup tree.

    Its own /run, because iptables takes its lock there: on two machines there are two locks. ``ip netns exec`` has
    made the mount namespace and a fresh /sys, from which the cgroups are missing. The namespaces' names are kept
    in /run too, so the folder that holds them comes along. A kube-proxy (80 MB) has room there, for one that lies
    where the node does not see it.
    """
    return [
        "mount -t tmpfs -o mode=755,size=256m run /run",
        "mkdir -p /run/sshd /run/home /run/proxybench",
        *_users(state),
        "mkdir -p /sys/fs/cgroup",
        "mount -t cgroup2 cgroup /sys/fs/cgroup",
    ]


def empty_tables() -> list[str]:
    """Return the commands that make a proxy node's tables before anything is measured.

    A table once looked at stays, and conntrack with it: the first mode must not find fewer than the next.
    """
    return [f"{IPTABLES} iptables -t {table} -S > /dev/null" for table in ("nat", "filter", "mangle")]


def node(paths: Paths, name: str, *, proxy: bool) -> str:
    """Return what a node runs inside its namespace: its mounts, then sshd in the foreground."""
    start = f"exec env {paths.sshd} -D -e -f {shlex.quote(str(paths.config(name)))}"
    return "\n".join(["set -e", *private_mounts(paths.state), *(empty_tables() if proxy else ()), start]) + "\n"


def holder(paths: Paths, *, proxy: bool) -> str:
    """Return what keeps a node's mounts alive where no sshd runs all the time; it says "ready" when they are made."""
    lines = ["set -e", *private_mounts(paths.state), *(empty_tables() if proxy else ())]
    return "\n".join([*lines, "echo ready", "exec sleep infinity"]) + "\n"


def connection(paths: Paths, name: str) -> str:
    """Return what serves one SSH connection on standard input and output, inside the node's namespace."""
    return f"exec env {paths.sshd} -i -e -f {shlex.quote(str(paths.config(name)))}\n"


def backends(paths: Paths, topology: Topology) -> list[list[str]]:
    """Return the commands of the pods' servers: one for each family of addresses."""
    usual = [str(paths.python), "-I", "-S", str(paths.agent), "backend", "--port", str(network.BACKEND_PORT)]
    return [usual, [*usual, "--family", "ipv6"]] if topology.dual_stack else [usual]


def in_namespace(name: str, argv: Sequence[str]) -> str:
    """Return a shell command that runs ``argv`` in a namespace."""
    return shlex.join(["ip", "netns", "exec", name, *argv])


def guest(paths: Paths, topology: Topology, cgroup: str) -> str:
    """Return the script that becomes process 1 of the guest: system, network, pods, nodes, then waits."""
    modules = shlex.quote(str(paths.system / "lib/modules"))
    jump = f"env {paths.sshd} -D -e -f {shlex.quote(str(paths.config(network.CTL)))}"
    lines = [
        f"trap 'echo {FAILED}' EXIT",
        "set -e",
        "export PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "mount -t proc proc /proc",
        "mount -t sysfs sys /sys",
        "mount -t devtmpfs dev /dev",
        "mkdir -p /dev/pts /dev/shm /lib/modules",
        "mount -t devpts pts /dev/pts",
        "mount -t tmpfs shm /dev/shm",
        "mount -t tmpfs -o mode=755 run /run",
        "mkdir -p /run/netns /run/sshd /run/home",
        *_LOCAL_EXTENSIONS,
        *_LOCAL_PROGRAMS,
        *_users(paths.state),
        f"mount --bind {modules} /lib/modules",
        "mount -t cgroup2 cgroup /sys/fs/cgroup",
        "echo +memory > /sys/fs/cgroup/cgroup.subtree_control",
        f"mkdir -p {cgroup}",
        f"echo +memory > {cgroup}/cgroup.subtree_control",
        "hostname lab",
        "modprobe -a virtio_net br_netfilter",
        "ip link set lo up",
        "echo 1048576 > /proc/sys/fs/nr_open",
        *_SOFTIRQS_FIRST,
        network.script(topology).rstrip(),
        # The guest's only way out is QEMU's address of the host's loopback; nothing else has a route.
        f"ip link set eth0 netns {network.CTL}",
        f"ip -n {network.CTL} addr add 10.0.2.15/24 dev eth0",
        f"ip -n {network.CTL} link set eth0 up",
        f"ip netns exec {network.CTL} {IPTABLES} iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE",
        # As many connections as change-udp-tracked may ask for; by itself a guest of 3 GiB takes 65,536.
        f"echo {MOST_TRACKED} > /proc/sys/net/netfilter/nf_conntrack_max",
    ]
    lines += [
        f"{in_namespace(str(member.pods), ['sh', '-c', _limit(argv)])} &"
        for member in topology.nodes
        if member.pods
        for argv in backends(paths, topology)
    ]
    lines += [
        f"{in_namespace(member.name, ['sh', str(paths.state / f'{member.name}.sh')])} &" for member in topology.nodes
    ]
    lines += [
        f"{in_namespace(network.CTL, ['sh', '-c', jump])} &",
        *(_await_sshd(name) for name in (*(member.name for member in topology.nodes), network.CTL)),
        f"echo {READY}",
        "trap - EXIT",
        "set +e",
        "while :; do sleep 86400 & wait $!; done",  # process 1 reaps what others leave
    ]
    return "\n".join(lines) + "\n"


def _users(state: Path) -> list[str]:
    """Return the commands that put the lab's users, and who may come, in place of this machine's.

    Any file but passwd may be missing in a system. Debian's sshd asks hosts.allow and hosts.deny.
    """
    own = {"/etc/shadow": shlex.quote(str(state / "shadow")), **dict.fromkeys(_ADMITTED, "/dev/null")}
    return [
        f"mount --bind {shlex.quote(str(state / 'passwd'))} /etc/passwd",
        *(f"[ ! -e {theirs} ] || mount --bind {ours} {theirs}" for theirs, ours in own.items()),
    ]


def _await_sshd(name: str) -> str:
    """Return a wait until something listens on port 22 (0x16, state 0A) in a namespace."""
    listens = in_namespace(name, ["grep", "-q", ":0016 00000000:0000 0A", "/proc/net/tcp"])
    return f"until {listens}; do sleep 0.1; done"


def _limit(argv: list[str]) -> str:
    return f"ulimit -n {FILES}; exec {shlex.join(argv)}"
