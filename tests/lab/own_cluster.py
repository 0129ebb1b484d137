"""A netns lab that plays the user's own cluster: what a user has of it, and a kube-proxy started by hand.

Simulated: the kubelet (nobody restarts a kube-proxy that ends), and containers (each is a plain process in a cgroup of
its own). Real: SSH with host keys, the API's objects, kube-proxy, its rules and the traffic through them.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.experiment.compat import KubeVersion, feature_gates
from proxybench.experiment.requests import SubjectSpec
from proxybench.experiment.subjects import Backend
from proxybench.model import Mode, Subject
from proxybench.subjects.bundle import Bundle, put_folder
from proxybench.subjects.kube_proxy_config import render_config, render_kubeconfig
from proxybench.subjects.path_links import path_links
from proxybench.targets.lab.topology import CTL, DEFAULT, SERVICE_CIDR
from tests.lab.binaries import CLUSTER
from tests.lab.cluster_modes import OTHER
from tests.lab.control_plane import kubeconfig
from tests.lab.sudoers import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.hosts.base import Executor
    from proxybench.hosts.fleet import Fleet
    from proxybench.nodes.cluster import ApiAccess, Cluster
    from proxybench.nodes.node import NodeHandle

FOLDER = "/run/user-kube-proxy"
_PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAM = "from proxybench.cli.main import entry; entry()"
BACKENDS = ("198.18.1.101", "198.18.1.102", "198.18.1.103")
"""Further addresses of node2, which its user has given it."""

CGROUP = "/sys/fs/cgroup/user-kube-proxy-$(stat -Lc %i /proc/self/ns/net)"
"""A shell's word for the cgroup of a node's kube-proxy: the nodes of all labs of this machine share one hierarchy."""

# $1 folder, $2 binary: runs on after the connection has ended, as a container would.
_START = f"""
mkdir -p "{CGROUP}"
setsid sh -c 'echo $$ > "{CGROUP}/cgroup.procs"
PATH="$1/bin:$PATH" TZ=UTC exec "$2" --config="$1/config.yaml" --v=2' x "$1" "$2" >"$1/log" 2>&1 </dev/null &
"""


@dataclass(frozen=True)
class User:
    """A user's home folder, with what they have of their cluster."""

    home: Path
    experiment: Path

    @property
    def environment(self) -> dict[str, str]:
        """What their programs see."""
        return {
            "HOME": str(self.home),
            "PATH": _PLACES,
            "PROXYBENCH_SUDO_PASSWORD": PASSWORD,  # asked for where the inventory says so, and only there
        }


def make_user(
    home: Path, cluster: Cluster, experiment: str, api: ApiAccess | None = None, login: str = "user: root"
) -> User:
    """Write known_hosts, a kubeconfig, an inventory and an experiment file; ``login`` is how they log in by default."""
    access = api or cluster.api
    (home / ".ssh").mkdir(parents=True)
    (home / ".kube").mkdir()
    known = [f"[{node.ssh.host}]:{node.ssh.port} {node.ssh.host_key}" for node in cluster.nodes]
    (home / ".ssh" / "known_hosts").write_text("\n".join(known) + "\n")
    (home / ".kube" / "config").write_text(json.dumps(kubeconfig(access.url, access.token, access.ca_pem)))
    roles = {"client": "client", "client2": "client", "node1": "measured", "node2": "[other, backend]"}
    lines = [
        "version: 1",
        f"defaults: {{{login}, key: {cluster.client.ssh.identity}, python: {cluster.client.python}}}",
        "nodes:",
    ]
    for node in (one for one in cluster.nodes if one.name in roles):
        more = f", addresses: [{', '.join(BACKENDS)}]" if node.name == "node2" else ""
        more += ", sudo: password" if node.name == "node2" and "sudo" in login else ""
        place = f"host: {node.ssh.host}, port: {node.ssh.port}, address: {node.address}"
        lines.append(f"  - {{name: {node.name}, roles: {roles[node.name]}, {place}{more}}}")
    (home / "nodes.yaml").write_text("\n".join(lines) + "\n")
    target = f"inventory: nodes.yaml, node_url: '{access.node_url}', service_cidr: {SERVICE_CIDR}"
    (home / "experiment.yaml").write_text(experiment.replace("TARGET", f"{{cluster: {{{target}}}}}"))
    return User(home, home / "experiment.yaml")


_OTHER_BOOT = (
    "cat /proc/sys/kernel/random/uuid > /run/boot_id; mount --bind /run/boot_id /proc/sys/kernel/random/boot_id"
)


def seem_apart(fleet: Fleet) -> None:
    """Have each node seem to have a kernel of its own, and so a clock: which is this machine's all the same."""
    fleet.fan_out(lambda node: node.run(["sh", "-c", _OTHER_BOOT]), timeout=60)


_PLUGIN = """\
#!/bin/sh
echo "$KUBERNETES_EXEC_INFO" >> "$1"
echo "{\\"apiVersion\\": \\"$VERSION\\", \\"kind\\": \\"ExecCredential\\", \\"status\\": {\\"token\\": \\"$TOKEN\\"}}"
"""


def use_plugin(user: User) -> Path:
    """Have a kubeconfig name a program that tells the token, not the token; return where it notes each asking."""
    plugin, asked, file = user.home / "login", user.home / "asked", user.home / ".kube" / "config"
    plugin.write_text(_PLUGIN)
    plugin.chmod(0o755)
    words = json.loads(file.read_text())
    version = "client.authentication.k8s.io/v1"
    values = {"TOKEN": words["users"][0]["user"]["token"], "VERSION": version}
    env = [{"name": name, "value": value} for name, value in values.items()]
    how = {"apiVersion": version, "command": str(plugin), "args": [str(asked)], "env": env, "interactiveMode": "Never"}
    words["users"][0]["user"] = {"exec": how}
    file.write_text(json.dumps(words))
    return asked


def config(cluster: Cluster, handle: NodeHandle, mode: Mode) -> str:
    """Return the configuration of a node's kube-proxy."""
    backend = None if mode is Mode.NFTABLES else Backend.LEGACY
    spec = SubjectSpec(Subject("kube-proxy", CLUSTER, mode), 1.0, 30.0, backend)
    text = render_config(spec, handle.node, cluster, f"{FOLDER}/kubeconfig")
    gates = feature_gates(Mode.NFTABLES, KubeVersion.of_release(CLUSTER))  # for a switch, which changes the mode alone
    return text if mode is Mode.NFTABLES or not gates else f"{text}featureGates: {json.dumps(dict(gates))}\n"


def start_kube_proxy(handle: NodeHandle, binary: Path, api: ApiAccess, text: str) -> None:
    """Start a kube-proxy on a node, as its user has."""
    files = {
        "token": api.token,
        "ca.pem": api.ca_pem,
        "kubeconfig": render_kubeconfig(api, f"{FOLDER}/ca.pem", f"{FOLDER}/token"),
        "config.yaml": text,
    }
    put_folder(handle.executor, FOLDER, Bundle(files, path_links(handle, Backend.LEGACY)))
    handle.executor.run(["sh", "-c", _START, "start", FOLDER, str(binary)])


# Stands for systemd's: a unit kube-proxy that is started anew, and the few words that are asked of it.
_SYSTEMCTL = """\
#!/bin/sh
[ "$2" = kube-proxy ] || { echo "Unit $2.service not found." >&2; exit 5; }
members=/sys/fs/cgroup/CGROUP/cgroup.procs
case "$1" in
show)
  echo LoadState=loaded
  echo ActiveState=active
  echo "ExecStart={ path=BINARY ; argv[]=BINARY --config=FOLDER/config.yaml --v=2 ; ignore_errors=no ; pid=0 }" ;;
restart)
  exec 9>/run/stand-in/lock
  flock 9  # systemd's come one after the other, whoever asks for them
  pids=$(cat "$members")
  [ -z "$pids" ] || kill $pids
  while [ -n "$(cat "$members")" ]; do sleep 0.1; done
  setsid sh -c 'echo $$ > MEMBERS
    PATH=FOLDER/bin:PLACES TZ=UTC exec BINARY --config=FOLDER/config.yaml --v=2' >>FOLDER/log 2>&1 </dev/null 9>&- & ;;
*) exit 1 ;;
esac
"""


def make_unit(handle: NodeHandle, binary: Path) -> None:
    """Let the kube-proxy that was started on a node be a unit of systemd's, as far as ``systemctl`` tells.

    Its program lies over the machine's own in the node's mounts alone.
    """
    members = f"{CGROUP}/cgroup.procs"
    words = {"/sys/fs/cgroup/CGROUP": CGROUP, "BINARY": str(binary), "FOLDER": FOLDER, "MEMBERS": members}
    words["PLACES"] = _PLACES  # a unit has systemd's, and not those of who asks for it
    text = _SYSTEMCTL
    for name, value in words.items():
        text = text.replace(name, value)
    handle.executor.run(["mkdir", "-p", "/run/stand-in"])
    handle.executor.put(text.encode(), "/run/stand-in/systemctl", mode=0o755)
    handle.executor.run(["mount", "--bind", "/run/stand-in", "/usr/local/sbin"])


def end_kube_proxy(executor: Executor) -> None:
    """End it, as a kubelet ends a container."""
    script = f'pids=$(cat "{CGROUP}/cgroup.procs"); [ -z "$pids" ] || kill $pids; sleep 0.2; rmdir "{CGROUP}"; true'
    executor.run(["sh", "-c", script], check=False)


# $@ processes of sshd to let live; ends the others of this network by force.
_CUT = """
own=$(readlink /proc/self/ns/net)
for comm in $(grep -lsE '^sshd' /proc/[0-9]*/comm); do
  pid=${comm#/proc/}; pid=${pid%/comm}
  [ "$(readlink /proc/$pid/ns/net)" = "$own" ] || continue
  case " $* " in *" $pid "*) ;; *) kill -9 "$pid" ;; esac
done
"""
_SESSION = "echo $PPID $(sed -n 's/^PPid:[^0-9]*//p' /proc/$PPID/status)"


def cut_ssh(executor: Executor) -> None:
    """End by force every connection to a node's sshd but this one."""
    executor.run(["sh", "-c", f"set -- $({_SESSION}); {_CUT}"])


# Ends whatever runs by sudo in this network, and sudo itself; says how many that were.
_END = """
own=$(readlink /proc/self/ns/net)
for comm in $(grep -lsx sudo /proc/[0-9]*/comm); do
  pid=${comm#/proc/}; pid=${pid%/comm}
  [ "$(readlink /proc/$pid/ns/net)" = "$own" ] || continue
  kill -9 $(pgrep -P "$pid") "$pid" && echo "$pid"
done | wc -l
"""


def end_commands(executor: Executor) -> int:
    """End by force every command of the user's on a node, agent and all; return how many, which is 0 without sudo."""
    return int(executor.run(["sh", "-c", _END]).stdout)


@contextmanager
def lost(lab_pid: int, executor: Executor) -> Iterator[None]:
    """Have a node be as good as dead: its connections break, new ones too, and it reaches nobody.

    The connection of ``executor`` stays. The lab's supervisor, whose process is ``lab_pid``, hands SSH to a node by a
    script for each connection, and not over the network.
    """
    plan = json.loads(Path(Path(f"/proc/{lab_pid}/cmdline").read_text().split("\0")[-2]).read_text())
    serving = Path(plan["connections"][executor.name])
    script, kept = serving.read_text(), executor.run(["sh", "-c", _SESSION]).stdout.split()
    serving.write_text("exit 1\n")
    _links(lab_pid, executor, "down")
    for _ in range(3):  # a connection that had begun ends, too
        executor.run(["sh", "-c", _CUT, "cut", *kept])
        time.sleep(0.3)
    try:
        yield
    finally:
        _links(lab_pid, executor, "up")
        serving.write_text(script)


def _links(lab_pid: int, executor: Executor, state: str) -> None:
    """Pull a node's cables, or plug them in: at the bridges, so that its own addresses and routes stay."""
    child = subprocess.run(["pgrep", "-P", str(lab_pid)], capture_output=True, text=True, check=True).stdout.split()[0]
    number = next(node.number for node in DEFAULT.nodes if node.name == executor.name)
    for network in ("mgmt", "data"):
        inside = ["nsenter", "-t", child, "-m", "-p", "ip", "-n", CTL]
        subprocess.run([*inside, "link", "set", f"{network}{number}", state], timeout=20, check=True)


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """Mount a disk of that size on a new folder."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "disk", folder], timeout=20, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], timeout=20, check=True)
        folder.rmdir()


def fill(disk: Path) -> None:
    """Take all the room of a disk."""
    with suppress(OSError), (disk / "others").open("ab", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def proxybench(user: User, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program as its user does."""
    argv = [sys.executable, "-c", _PROGRAM, *words]
    where = {"cwd": user.home, "env": user.environment}
    return subprocess.run(argv, **where, capture_output=True, text=True, timeout=200, check=False)  # type: ignore[call-overload,no-any-return] # of the same keys


def begun(user: User, *more: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Begin a run that switches to the other mode; return it, and the file in which it says what it does."""
    words = [*more, "--allow-switch", "--set", f"subjects=[{{kind: cluster, mode: {OTHER}}}]"]
    return started(user, "run", str(user.experiment), *words)


def started(user: User, *words: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Start the program as its user does; return it, and the file in which it says what it does."""
    said = user.home / "said"
    with said.open("w") as log:
        argv = [sys.executable, "-c", _PROGRAM, *words]
        return subprocess.Popen(argv, cwd=user.home, env=user.environment, stdout=log, stderr=log), said


def waited(process: subprocess.Popen[bytes], seconds: float) -> int:
    """Return how a run that was begun ends; one that does not is killed, and the test fails."""
    try:
        return process.wait(seconds)
    finally:
        process.kill()


def add_stranger(executor: Executor) -> None:
    """Have another program be in the cgroup of a node's kube-proxy; it ends with it."""
    script = f"setsid sh -c 'echo $$ > \"{CGROUP}/cgroup.procs\"; exec sleep 600' >/dev/null 2>&1 </dev/null &"
    executor.run(["sh", "-c", script])


def add_addresses(executor: Executor) -> None:
    """Give node2 its further addresses."""
    commands = [f"ip addr replace {shlex.quote(address)}/24 dev data" for address in BACKENDS]
    executor.run(["sh", "-c", "; ".join(commands)])
