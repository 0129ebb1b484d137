"""Reading a kubeconfig: where the API is, who vouches for it, and by what it knows us.

Format: Kubernetes' client-go, ``Config`` of ``clientcmd/api/v1``; exec plugins speak ``client.authentication.k8s.io``.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
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
_BETA: Final = "client.authentication.k8s.io/v1beta1"


@dataclass(frozen=True)
class Credentials:
    """What a kubeconfig's context says; ``client_pem`` is a client certificate with its key, "" without one.

    One of ``token`` and ``client_pem`` is there; both are secrets.
    """

    context: str
    server: str
    ca_pem: str
    token: str = field(default="", repr=False)
    client_pem: str = field(default="", repr=False)


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
    path: Path, context: str | None = None, plugin: Callable[[Sequence[str], Mapping[str, str]], str] = run_plugin
) -> Credentials:
    """Return what a context (None: the current one) says; ``plugin`` runs exec plugins.

    Raises ExperimentError with the line and column of what is wrong, UsageError for a plugin that fails.
    """
    document = source.read(path, kind=KUBECONFIG)
    if document.problems or not isinstance(document.data, dict):
        raise ExperimentError(document.problems)
    return _Reader(document, path.parent, plugin).credentials(context)


class _Reader:
    def __init__(
        self, document: Document, folder: Path, plugin: Callable[[Sequence[str], Mapping[str, str]], str]
    ) -> None:
        self._document = document
        self._folder = folder
        self._plugin = plugin

    def credentials(self, wanted: str | None) -> Credentials:
        name = wanted or self._document.data.get("current-context")
        if not name:
            raise self._wrong(("current-context",), "no context is current; name one: context: …")
        context, at = self._named("contexts", "context", str(name), ())
        cluster, place = self._named("clusters", "cluster", str(context.get("cluster")), (*at, "cluster"))
        user, whom = self._named("users", "user", str(context.get("user")), (*at, "user"))
        server, authority = self._server(cluster, place), self._authority(cluster, place)  # before a plugin is asked
        return Credentials(str(name), server, authority, *self._identity(user, whom))

    def _named(self, section: str, key: str, name: str, asked: Loc) -> tuple[dict[str, Any], Loc]:
        entries = self._document.data.get(section) or []
        names = []
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, dict) and isinstance(entry.get(key), dict):
                names.append(str(entry.get("name")))
                if names[-1] == name:
                    return entry[key], (section, index, key)
        raise self._wrong(asked, f'there is no {key} "{name}"; there are {", ".join(names) or "none"}')

    def _server(self, cluster: dict[str, Any], at: Loc) -> str:
        server = str(cluster.get("server", ""))
        if not server.startswith("https://"):
            raise self._wrong(
                (*at, "server"), f'server: "{server}" is not https; a token would be read by anyone on the way'
            )
        if cluster.get("insecure-skip-tls-verify"):
            right = "remove it, and give certificate-authority-data"
            raise self._wrong((*at, "insecure-skip-tls-verify"), f"insecure-skip-tls-verify is refused; {right}")
        for key in ("tls-server-name", "proxy-url"):
            if cluster.get(key):
                raise self._wrong(
                    (*at, key), f"{key} is not supported; name the server by an address that it answers at"
                )
        try:
            good = bool(urlsplit(server).hostname) and urlsplit(server).port != 0 and server.isprintable()
        except ValueError:
            good = False
        if not good:
            raise self._wrong(
                (*at, "server"), f'server: "{server}" is no address; write one such as https://192.0.2.1:6443'
            )
        return server

    def _authority(self, cluster: dict[str, Any], at: Loc) -> str:
        pem = self._data(cluster, "certificate-authority", at)
        if not pem:
            raise self._wrong(at, "the cluster has no certificate-authority-data; nobody vouches for its API server")
        return pem

    def _identity(self, user: dict[str, Any], at: Loc) -> tuple[str, str]:
        """Return the token and the client certificate with its key."""
        if user.get("token"):
            return self._token(str(user["token"]), (*at, "token")), ""
        if user.get("tokenFile"):
            there = (*at, "tokenFile")
            return self._token(self._file(str(user["tokenFile"]), there).strip(), there), ""
        certificate = self._data(user, "client-certificate", at)
        if certificate:
            return "", f"{certificate}\n{self._data(user, 'client-key', at)}"
        if isinstance(user.get("exec"), dict):
            return self._ask_plugin(user["exec"], (*at, "exec"))
        raise self._wrong(at, "the user has no token, client certificate or exec plugin")

    def _token(self, text: str, at: Loc) -> str:
        if not (text.isascii() and text.isprintable() and " " not in text):
            raise self._wrong(at, "what is given as a token is none: it is not one word")
        return text

    def _data(self, words: dict[str, Any], key: str, at: Loc) -> str:
        """Return a PEM text that is written in base64, or lies in a file."""
        if words.get(f"{key}-data"):
            try:
                return base64.b64decode(str(words[f"{key}-data"]), validate=True).decode()
            except ValueError:  # binascii.Error and UnicodeDecodeError are such
                raise self._wrong((*at, f"{key}-data"), f"{key}-data is not PEM in base64") from None
        return self._file(str(words[key]), (*at, key)) if words.get(key) else ""

    def _file(self, name: str, at: Loc) -> str:
        path = self._folder / expanded(name)
        try:
            return path.read_text()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise self._wrong(at, f"{path} cannot be read: {why}") from error

    def _ask_plugin(self, words: dict[str, Any], at: Loc) -> tuple[str, str]:
        version = str(words.get("apiVersion", _BETA))
        args, given = words.get("args") or [], words.get("env") or []
        argv = [str(words.get("command", "")), *(map(str, args) if isinstance(args, list) else ())]
        if not argv[0]:
            raise self._wrong(at, '"command" is missing')
        if not isinstance(args, list) or "\0" in "".join(argv):
            raise self._wrong((*at, "args"), "args: write a list of words")
        if not isinstance(given, list) or not all(_is_variable(one) for one in given):
            raise self._wrong((*at, "env"), "env: write a list of {name: …, value: …}")
        if "/" in argv[0]:
            argv[0] = str(self._folder / argv[0])
        environment = {str(one["name"]): str(one["value"]) for one in given}
        asked = {"kind": "ExecCredential", "apiVersion": version, "spec": {"interactive": False}}
        printed = self._plugin(argv, {**environment, "KUBERNETES_EXEC_INFO": json.dumps(asked)})
        try:
            status = json.loads(printed)["status"]
            token = str(status.get("token") or "")
            pem = f"{status['clientCertificateData']}\n{status['clientKeyData']}" if not token else ""
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(f"the kubeconfig's plugin {argv[0]} printed no ExecCredential") from None
        if not (token.isascii() and token.isprintable()):
            raise UsageError(f"the kubeconfig's plugin {argv[0]} printed a token that is none")
        return token, pem

    def _wrong(self, loc: Loc, message: str) -> ExperimentError:
        return ExperimentError([self._document.problem(loc, message)])


def _is_variable(one: Any) -> bool:  # noqa: ANN401 - YAML holds anything
    return isinstance(one, dict) and not {"name", "value"} - one.keys() and not {"=", "\0"} & set(str(one["name"]))
