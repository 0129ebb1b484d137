"""Reading a kubeconfig: where the API is, who vouches for it, and by what it knows us.

Format: Kubernetes' client-go, ``Config`` of ``clientcmd/api/v1``; exec plugins speak ``client.authentication.k8s.io``.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from proxybench.errors import ExperimentError, UsageError
from proxybench.experiment import source
from proxybench.experiment.limits import KUBECONFIG
from proxybench.here import run_here
from proxybench.home import expanded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from proxybench.experiment.source import Document, Loc

_EXEC_SECONDS: Final = 60.0
_IMPERSONATION: Final = ("as", "as-uid", "as-groups", "as-user-extra")
_BETA: Final = "client.authentication.k8s.io/v1beta1"
_EXTENSION: Final = "client.authentication.k8s.io/exec"


@dataclass(frozen=True)
class Credentials:
    """What a kubeconfig's context says; ``client_pem`` is a client certificate with its key, "" without one.

    One of ``token`` and ``client_pem`` is there; both are secrets. ``expires`` is when that ends, in seconds since
    1970, None where nobody says. ``ca_pem`` is "" where the system's authorities vouch for the server.
    """

    context: str
    server: str
    ca_pem: str
    token: str = field(default="", repr=False)
    client_pem: str = field(default="", repr=False)
    expires: float | None = None


def run_plugin(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run an exec plugin and return what it printed. Raises UsageError."""
    try:
        done = run_here(argv, _EXEC_SECONDS, env={**os.environ, **environment})
    except OSError as error:
        raise UsageError(f"the kubeconfig's plugin {argv[0]} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise UsageError(f"the kubeconfig's plugin {argv[0]} did not end within {_EXEC_SECONDS:g} s") from None
    if done.returncode != 0:
        why = " | ".join(done.stderr.strip().splitlines()[-3:]) or "it said nothing"
        raise UsageError(f"the kubeconfig's plugin {argv[0]} ended with {done.returncode}: {why}")
    return done.stdout


def read_kubeconfig(
    path: Path,
    context: str | None = None,
    plugin: Callable[[Sequence[str], Mapping[str, str]], str] = run_plugin,
    more: Sequence[Path] = (),
) -> Credentials:
    """Return what a context (None: the current one) says; ``plugin`` runs exec plugins.

    ``more`` are read as well, as kubectl does with those that KUBECONFIG names: the first that has a name, or says
    which context is current, counts. Raises ExperimentError with the line and column of what is wrong, UsageError for a
    plugin that fails.
    """
    files = []
    for one in (path, *more):
        document = source.read(one, kind=KUBECONFIG)
        if document.problems or not isinstance(document.data, dict):
            raise ExperimentError(document.problems)
        files.append(_Place(document, one.parent))
    return _Reader(files, plugin).credentials(context)


class _Place(NamedTuple):
    """A place in a file; ``folder`` is where the files lie that it names."""

    document: Document
    folder: Path
    loc: Loc = ()

    def at(self, *more: str | int) -> _Place:
        """Return a place within this one."""
        return self._replace(loc=(*self.loc, *more))

    def wrong(self, message: str) -> ExperimentError:
        return ExperimentError([self.document.problem(self.loc, message)])


class _Reader:
    def __init__(self, files: Sequence[_Place], plugin: Callable[[Sequence[str], Mapping[str, str]], str]) -> None:
        self._files = files
        self._plugin = plugin

    def credentials(self, wanted: str | None) -> Credentials:
        said = [(file, file.document.data.get("current-context")) for file in self._files]
        file, current = next(((file, name) for file, name in said if name), (self._files[0], None))
        name = wanted or current
        if not name:
            raise file.at("current-context").wrong("no context is current; name one: context: …")
        context, at = self._named("contexts", "context", str(name), file)
        cluster, place = self._named("clusters", "cluster", str(context.get("cluster")), at.at("cluster"))
        user, whom = self._named("users", "user", str(context.get("user")), at.at("user"))
        server, authority = _server(cluster, place), _data(cluster, "certificate-authority", place)  # before a plugin
        return self._identified(Credentials(str(name), server, authority), user, whom, cluster)

    def _named(self, section: str, key: str, name: str, asked: _Place) -> tuple[dict[str, Any], _Place]:
        names = []
        for file in self._files:
            entries = file.document.data.get(section) or []
            for index, entry in enumerate(entries if isinstance(entries, list) else []):
                if isinstance(entry, dict) and isinstance(entry.get(key), dict):
                    names.append(str(entry.get("name")))
                    if names[-1] == name:
                        return entry[key], file.at(section, index, key)
        raise asked.wrong(f'there is no {key} "{name}"; there are {", ".join(dict.fromkeys(names)) or "none"}')

    def _identified(self, found: Credentials, user: dict[str, Any], at: _Place, cluster: dict[str, Any]) -> Credentials:
        """Return what is found with the token, or the client certificate with its key."""
        for key in filter(user.get, _IMPERSONATION):  # left out, more would be allowed than was asked for
            raise at.at(key).wrong(f"{key} is not supported; name a context whose own user may do what is needed")
        if user.get("token"):
            return replace(found, token=_token(str(user["token"]), at.at("token")))
        if user.get("tokenFile"):
            there = at.at("tokenFile")
            return replace(found, token=_token(_file(str(user["tokenFile"]), there).strip(), there))
        certificate = _data(user, "client-certificate", at)
        if certificate:
            return replace(found, client_pem=f"{certificate}\n{_data(user, 'client-key', at)}")
        if isinstance(user.get("exec"), dict):
            return self._ask_plugin(found, user["exec"], at.at("exec"), cluster)
        raise at.wrong("the user has no token, client certificate or exec plugin")

    def _ask_plugin(
        self, found: Credentials, words: dict[str, Any], at: _Place, cluster: dict[str, Any]
    ) -> Credentials:
        version = str(words.get("apiVersion", _BETA))
        args, given = words.get("args") or [], words.get("env") or []
        argv = [str(words.get("command", "")), *(map(str, args) if isinstance(args, list) else ())]
        if not argv[0]:
            raise at.wrong('"command" is missing')
        if not isinstance(args, list) or "\0" in "".join(argv):
            raise at.at("args").wrong("args: write a list of words")
        if not isinstance(given, list) or not all(_is_variable(one) for one in given):
            raise at.at("env").wrong("env: write a list of {name: …, value: …}")
        if "/" in argv[0]:
            argv[0] = str(at.folder / argv[0])
        environment = {str(one["name"]): str(one["value"]) for one in given}
        spec = {"interactive": False, **({"cluster": _told(found, cluster)} if words.get("provideClusterInfo") else {})}
        asked = {"kind": "ExecCredential", "apiVersion": version, "spec": spec}
        printed = self._plugin(argv, {**environment, "KUBERNETES_EXEC_INFO": json.dumps(asked)})
        try:
            status = json.loads(printed)["status"]
            token = str(status.get("token") or "")
            pem = f"{status['clientCertificateData']}\n{status['clientKeyData']}" if not token else ""
            expires = seconds_of(status.get("expirationTimestamp"))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(f"the kubeconfig's plugin {argv[0]} printed no ExecCredential") from None
        if not (token.isascii() and token.isprintable()):
            raise UsageError(f"the kubeconfig's plugin {argv[0]} printed a token that is none")
        return replace(found, token=token, client_pem=pem, expires=expires)


def seconds_of(timestamp: str | None) -> float | None:
    """Return an API's time (RFC 3339) as seconds since 1970, None for none. Raises ValueError, TypeError."""
    return datetime.fromisoformat(timestamp).timestamp() if timestamp is not None else None


def _told(found: Credentials, cluster: dict[str, Any]) -> dict[str, Any]:
    """Return what a plugin that wants to know is told of the cluster, and what the kubeconfig has there for plugins."""
    authority = base64.b64encode(found.ca_pem.encode()).decode()
    entries = cluster.get("extensions")
    configs = [
        one.get("extension")
        for one in (entries if isinstance(entries, list) else ())
        if isinstance(one, dict) and one.get("name") == _EXTENSION
    ]
    return {
        "server": found.server,
        **({"certificate-authority-data": authority} if authority else {}),
        **({"config": configs[0]} if configs else {}),
    }


def _server(cluster: dict[str, Any], at: _Place) -> str:
    server = str(cluster.get("server", ""))
    if not server.startswith("https://"):
        raise at.at("server").wrong(f'server: "{server}" is not https; a token would be read by anyone on the way')
    if cluster.get("insecure-skip-tls-verify"):
        right = "remove it, and give certificate-authority-data"
        raise at.at("insecure-skip-tls-verify").wrong(f"insecure-skip-tls-verify is refused; {right}")
    for key in ("tls-server-name", "proxy-url"):
        if cluster.get(key):
            raise at.at(key).wrong(f"{key} is not supported; name the server by an address that it answers at")
    try:
        good = bool(urlsplit(server).hostname) and urlsplit(server).port != 0 and server.isprintable()
    except ValueError:
        good = False
    if not good:
        raise at.at("server").wrong(f'server: "{server}" is no address; write one such as https://192.0.2.1:6443')
    return server


def _token(text: str, at: _Place) -> str:
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise at.wrong("what is given as a token is none: it is not one word")
    return text


def _data(words: dict[str, Any], key: str, at: _Place) -> str:
    """Return a PEM text that is written in base64, with or without line breaks, or lies in a file; "" for none."""
    if words.get(f"{key}-data"):
        try:
            return base64.b64decode("".join(str(words[f"{key}-data"]).split()), validate=True).decode()
        except ValueError:  # binascii.Error and UnicodeDecodeError are such
            raise at.at(f"{key}-data").wrong(f"{key}-data is not PEM in base64") from None
    return _file(str(words[key]), at.at(key)) if words.get(key) else ""


def _file(name: str, at: _Place) -> str:
    path = at.folder / expanded(name)
    try:
        return path.read_text()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise at.wrong(f"{path} cannot be read: {why}") from error


def _is_variable(one: Any) -> bool:  # noqa: ANN401 - YAML holds anything
    return isinstance(one, dict) and not {"name", "value"} - one.keys() and not {"=", "\0"} & set(str(one["name"]))
