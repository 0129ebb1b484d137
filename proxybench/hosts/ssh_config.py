"""From what a user writes of a host, and ~/.ssh/config, to how it is reached."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxybench.errors import UsageError
from proxybench.home import expanded
from proxybench.home import home as home_of_user
from proxybench.home import user as user_name
from proxybench.hosts.config_file import ConfigFile, Signs, signs
from proxybench.hosts.inventory import SSH_PORT, SshTarget, Sudo
from proxybench.hosts.keys import is_encrypted, keys_of_agent, public_half
from proxybench.hosts.known_hosts import KnownHosts

if TYPE_CHECKING:
    from proxybench.hosts.secrets import Secrets

_MOST_JUMPS = 8
_LAST_PORT, _DIGITS = 65_535, 6
_NONE: Final = "none"
_USUAL: Final = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk")
_PLACE: Final = re.compile(r"(?:ssh://)?(?:(?P<user>.*)@)?(?:\[(?P<six>[^]]+)\]|(?P<host>[^:]*))(?::(?P<port>.*))?")
_YES: Final = ("yes", "true")
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
        self._agents: dict[str, frozenset[bytes]] = {}
        self._home = home or home_of_user()
        self._config = ConfigFile(file or self._home / ".ssh" / "config", self._home / ".ssh")

    def target(self, words: HostWords, depth: int = 0) -> SshTarget:
        """Return how the host is reached. Raises UsageError; ConnectionLostError for an agent that does not answer."""
        if depth > _MOST_JUMPS:
            raise UsageError(f"{words.host}: more than {_MOST_JUMPS} jump hosts, or a circle of them")
        entry = _Entry(self._config.lookup(words.host))
        host, alias = entry.first("hostname").lower(), entry.first("hostkeyalias").lower()
        port = words.port or self._port(words.host, entry)
        user = words.user or entry.first("user") or user_name()
        put = signs(words.host, host=host, port=str(port), user=user, alias=alias)
        files = self._identities(words, entry, put)
        agent, only = _agent(entry, put), entry.first("identitiesonly").lower() in _YES
        known = self._known_files(entry, put)
        jump, proxy = self._way(words, entry, put)
        bare = SshTarget(
            host=host,
            port=port,
            user=user,
            identity=files[0] if files else None,
            host_key="",
            further=files[1:],
            passphrase=self._passphrase(files, agent, asks=words.key is not None or only or not agent),
            agent=agent,
            only=only,
            known_hosts=str(known[0]),
            alias=alias,
            proxy=proxy,
        )
        return replace(
            bare,
            host_key=self._known.find(known, bare.known_name),
            jump=self._jump(jump, depth),
            sudo=self._sudo(words, bare.user),
        )

    def _port(self, host: str, entry: _Entry) -> int:
        text = entry.first("port", str(SSH_PORT))
        if not _is_port(text):
            raise UsageError(f"{host}: ~/.ssh/config gives it the port {text}, which is none")
        return int(text)

    def _way(self, words: HostWords, entry: _Entry, put: Signs) -> tuple[str, str]:
        """Return the jump host, or "none", and the ProxyCommand, or "": what is set first counts, as with ssh."""
        if words.jump:
            return words.jump, ""
        for key in entry:
            text = entry.first(key, _NONE)
            if key == "proxyjump" and text.lower() != _NONE:  # which leaves it to a ProxyCommand
                return put.put_into(text), ""
            if key == "proxycommand":
                return _NONE, "" if text.lower() == _NONE else put.put_into_command("ProxyCommand", text)
        return _NONE, ""

    def _jump(self, text: str, depth: int) -> SshTarget | None:
        """Read "user@host:port", several with commas: the last one is the nearest."""
        if text.lower() == _NONE:
            return None
        *before, last = text.split(",")
        place = _PLACE.fullmatch(last.strip())
        user, host, port = (place["user"], place["six"] or place["host"], place["port"]) if place else ("", last, "")
        if port and not _is_port(port):
            raise UsageError(f"{host}: {port} is no port; write user@host:port, and an IPv6 address as [::1]")
        words = HostWords(host, int(port) if port else None, user or None, None, ",".join(before) or None)
        return self.target(words, depth + 1)

    def _identities(self, words: HostWords, entry: _Entry, put: Signs) -> tuple[Path, ...]:
        """Return the files of keys that are there: that named for the host, else ~/.ssh/config's, or ssh's."""
        if words.key is not None:
            path = Path(words.key.replace("~", str(self._home), 1) if words.key.startswith("~") else words.key)
            if not _is_there(path):
                raise UsageError(f"{words.host}: there is no key {path}; make one with ssh-keygen, or name another")
            return (path,)
        usual = [self._home / ".ssh" / name for name in _USUAL]
        named = [expanded(put.put_into(file)) for file in entry.get("identityfile", ())]
        return tuple(path for path in dict.fromkeys(named or usual) if _is_there(path))

    def _passphrase(self, files: tuple[Path, ...], agent: str, *, asks: bool) -> str | None:
        """Return the passphrase of keys. Who ``asks`` does so for the first one, where no agent has unlocked it."""
        encrypted = [file for file in files if is_encrypted(file)]
        if not encrypted:
            return None
        locked = asks and encrypted[0] == files[0] and public_half(files[0]) not in self._held(agent)
        if locked or self._secrets.given(PASSPHRASE):
            return self._secrets.get(f"the passphrase of {encrypted[0]}", PASSPHRASE)
        return None

    def _held(self, agent: str) -> frozenset[bytes]:
        if agent not in self._agents:
            self._agents[agent] = keys_of_agent(agent)
        return self._agents[agent]

    def _sudo(self, words: HostWords, user: str) -> Sudo | None:
        if not words.sudo:
            return None
        password = self._secrets.get(f"sudo's password of {user}", SUDO_PASSWORD) if words.sudo == "password" else None
        return Sudo(password)

    def _known_files(self, entry: _Entry, put: Signs) -> list[Path]:
        named = entry.get("userknownhostsfile", ())
        files = [expanded(put.put_into(file)) for file in named] or [self._home / ".ssh" / "known_hosts"]
        return [*files, Path("/etc/ssh/ssh_known_hosts")]


class _Entry(dict[str, tuple[str, ...]]):
    """What ~/.ssh/config says of a host, in the order in which it was set."""

    def first(self, key: str, usual: str = "") -> str:
        """Return the first word after a keyword."""
        return next(iter(self.get(key, ())), usual)


def _agent(entry: _Entry, put: Signs) -> str:
    """Return the socket of the ssh-agent that is asked; "" for none."""
    named = entry.first("identityagent", "SSH_AUTH_SOCK")
    if named.lower() == _NONE:
        return ""
    if named == "SSH_AUTH_SOCK" or named.startswith("$"):
        return os.environ.get(named.strip("${}"), "")
    return str(expanded(put.put_into(named)))


def _is_there(path: Path) -> bool:
    """Tell whether a key is; of one that only an agent has, the public half may be all that there is."""
    return path.is_file() or path.with_name(f"{path.name}.pub").is_file()


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text[:_DIGITS]) <= _LAST_PORT
