"""From what a user writes of a host, and ~/.ssh/config, to how it is reached."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko

from proxybench.errors import UsageError
from proxybench.home import expanded
from proxybench.home import home as home_of_user
from proxybench.home import user as user_name
from proxybench.hosts.inventory import SSH_PORT, SshTarget, Sudo
from proxybench.hosts.keys import is_encrypted
from proxybench.hosts.known_hosts import KnownHosts

if TYPE_CHECKING:
    from proxybench.hosts.secrets import Secrets

_MOST_JUMPS = 8
_LAST_PORT, _DIGITS = 65_535, 6
PASSPHRASE = "PROXYBENCH_SSH_PASSPHRASE"  # noqa: S105 - its name
"""The environment variable with the passphrase of private keys."""
SUDO_PASSWORD = "PROXYBENCH_SUDO_PASSWORD"  # noqa: S105 - its name
"""The environment variable with the password that sudo asks for."""


@dataclass(frozen=True)
class HostWords:
    """What a user says of a host; what is None is as in ~/.ssh/config, or as ssh has it.

    ``jump`` is the name of another host ("me@bastion:2222" too). ``sudo``: whether commands need it; "password" where
    it asks for one.
    """

    host: str
    port: int | None = None
    user: str | None = None
    key: str | None = None
    jump: str | None = None
    sudo: bool | str = False


class SshConfig:
    """Answers how a host is reached. ``file`` is ~/.ssh/config, ``home`` the user's folder."""

    def __init__(self, secrets: Secrets, file: Path | None = None, home: Path | None = None) -> None:
        self._secrets = secrets
        self._known = KnownHosts()
        self._home = home or home_of_user()
        self._config = paramiko.SSHConfig()
        path = file or self._home / ".ssh" / "config"
        if path.is_file():
            try:
                self._config = paramiko.SSHConfig.from_path(str(path))
            except (paramiko.ssh_exception.ConfigParseError, UnicodeDecodeError) as error:
                raise UsageError(f"{path}: {error}") from error
            except OSError as error:
                raise UsageError(f"{path}: cannot be read: {error.strerror}") from error

    def target(self, words: HostWords, depth: int = 0) -> SshTarget:
        """Return how the host is reached. Raises UsageError."""
        if depth > _MOST_JUMPS:
            raise UsageError(f"{words.host}: more than {_MOST_JUMPS} jump hosts, or a circle of them")
        entry: dict[str, Any] = dict(self._config.lookup(words.host))
        agent = bool(os.environ.get("SSH_AUTH_SOCK")) and entry.get("identitiesonly", "no") != "yes"
        identity = self._identity(words, entry)
        usual = words.key is None and not self._secrets.given(PASSPHRASE)
        if agent and usual and identity is not None and is_encrypted(identity):
            identity = None  # whoever runs an ssh-agent has unlocked it there, as ssh would try first
        bare = SshTarget(
            host=entry.get("hostname", words.host),
            port=words.port or self._port(words.host, entry),
            user=words.user or entry.get("user") or user_name(),
            identity=identity,
            host_key="",
            passphrase=self._passphrase(identity),
            agent=agent,
            known_hosts=str(self._known_files(entry)[0]),
            alias=entry.get("hostkeyalias", ""),
        )
        jump = words.jump or entry.get("proxyjump", "none")
        return replace(
            bare,
            host_key=self._known.find(self._known_files(entry), bare.known_name),
            jump=None if jump == "none" else self._jump(jump, depth),
            sudo=self._sudo(words, bare.user),
        )

    def _port(self, host: str, entry: dict[str, Any]) -> int:
        text = str(entry.get("port", SSH_PORT))
        if not _is_port(text):
            raise UsageError(f"{host}: ~/.ssh/config gives it the port {text}, which is none")
        return int(text)

    def _jump(self, text: str, depth: int) -> SshTarget:
        """Read "user@host:port", several with commas: the last one is the nearest."""
        *before, last = text.split(",")
        user, _, place = last.strip().rpartition("@")
        host, _, port = place.partition(":")
        if port and not _is_port(port):
            raise UsageError(f"{host}: {port} is no port; write user@host:port")
        words = HostWords(host, int(port) if port else None, user or None, None, ",".join(before) or None)
        return self.target(words, depth + 1)

    def _identity(self, words: HostWords, entry: dict[str, Any]) -> Path | None:
        if words.key is not None:
            path = Path(words.key.replace("~", str(self._home), 1) if words.key.startswith("~") else words.key)
            if not path.is_file():
                raise UsageError(f"{words.host}: there is no key {path}; make one with ssh-keygen, or name another")
            return path
        usual = [self._home / ".ssh" / name for name in ("id_ed25519", "id_ecdsa", "id_rsa")]
        named = [expanded(file) for file in entry.get("identityfile", ())]
        return next((path for path in named or usual if path.is_file()), None)

    def _passphrase(self, identity: Path | None) -> str | None:
        if identity is None or not is_encrypted(identity):
            return None
        return self._secrets.get(f"the passphrase of {identity}", PASSPHRASE)

    def _sudo(self, words: HostWords, user: str) -> Sudo | None:
        if not words.sudo:
            return None
        password = self._secrets.get(f"sudo's password of {user}", SUDO_PASSWORD) if words.sudo == "password" else None
        return Sudo(password)

    def _known_files(self, entry: dict[str, Any]) -> list[Path]:
        named = entry.get("userknownhostsfile", "").split()
        files = [expanded(file) for file in named] or [self._home / ".ssh" / "known_hosts"]
        return [*files, Path("/etc/ssh/ssh_known_hosts")]


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text[:_DIGITS]) <= _LAST_PORT
