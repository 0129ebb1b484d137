"""The lines of sudoers that docs/cluster.md tells a user to write, and nodes of a lab whose users have nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxybench.hosts.base import Executor
    from proxybench.hosts.fleet import Fleet
    from proxybench.nodes.cluster import Cluster

USER = "ann"
LOGIN = f"user: {USER}, sudo: true"
"""How an inventory says so."""
PASSWORD = "s3 cret"
_DOCS = Path(__file__).parents[2] / "docs" / "cluster.md"
# $1 what sudoers says, $2 what is said to chpasswd, $3 the public keys. The machine's own files lie below these.
_ADD = """
set -e
cp -a /etc /run/etc
mount --bind /run/etc /etc
rm -rf /etc/sudoers.d
printf '%s\\n' "$1" > /etc/sudoers
chmod 440 /etc/sudoers
printf '%s:x:1000:1000::/:/bin/sh\\n' "${2%%:*}" >> /etc/passwd
printf '%s:*:19000::::::\\n' root "${2%%:*}" > /etc/shadow
printf '%s\\n' "$2" | chpasswd
printf '%s\\n' "$3" > /etc/keys
mkdir -p /run/sudo
"""
# sudo has no path of its own in such a file. The user's is that of people, plus where tests have stand-ins.
_LOGIN = f"""\
Match User {USER}
  AuthorizedKeysFile /etc/keys
  SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/bin:/bin
"""


def documented() -> str:
    """Return the line by which sudo asks for no password."""
    (line,) = (words for words in _DOCS.read_text().split("`") if "NOPASSWD" in words)
    return line.replace("admin", USER, 1)


def documented_with_password() -> str:
    """Return the line by which it asks for one."""
    return documented().replace("NOPASSWD: ", "")


def add_user(node: Executor, state: Path, *, asks: bool = False) -> None:
    """Let a user log in on a node of a lab that has its folder at ``state``; sudo ``asks`` for a password, or not.

    sudoers has the documented line and no other.
    """
    line = documented_with_password() if asks else documented()
    node.run(["sh", "-c", _ADD, "add", line, f"{USER}:{PASSWORD}", (state / "identity.pub").read_text()])
    with (state / f"{node.name}.sshd").open("a") as config:  # which is read at each connection
        config.write(_LOGIN)


def add_users(fleet: Fleet, cluster: Cluster, asking: str) -> None:
    """Do so on every node of a lab; on ``asking`` alone sudo asks for a password."""
    assert cluster.client.ssh.identity is not None
    state = cluster.client.ssh.identity.parent
    fleet.fan_out(lambda node: add_user(node, state, asks=node.name == asking), timeout=60)
