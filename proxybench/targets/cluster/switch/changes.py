"""What a switch changes, as data: a field of an object, what it was, what it becomes. Pure."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxybench.errors import UsageError
from proxybench.experiment.limits import KUBE_PROXY
from proxybench.experiment.source import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.kube.base import Object
    from proxybench.model import Mode

CONFIG_MAP: Final = "/api/v1/namespaces/kube-system/configmaps/kube-proxy"
DAEMON_SET: Final = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy"
CONFIG: Final = ("data", "config.conf")
IMAGE: Final = ("spec", "template", "spec", "containers", "kube-proxy", "image")
MARK: Final = ("spec", "template", "metadata", "annotations", "proxybench.io/switched")
TEXT: Final = ("text",)
"""All of a host's file, which is an object with this field."""
_MODE: Final = re.compile(r"^mode:.*$", re.MULTILINE)

Field = tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """A field of an object, None where it is not there.

    ``path`` is the object's in the API, which begins with a slash, or HOST:PATH of a file.
    """

    path: str
    field: Field
    before: Any
    after: Any

    @property
    def what(self) -> str:
        """Name it for people: "configmaps/kube-proxy data.config.conf", "worker-1:/etc/kube-proxy.yaml"."""
        if self.host:
            return self.path
        return f"{'/'.join(self.path.rsplit('/', 2)[-2:])} {'.'.join(self.field)}"

    @property
    def host(self) -> str:
        """The host of a file, "" for an object of the API."""
        return "" if self.path.startswith("/") else self.path.partition(":")[0]


def read(obj: Object, field: Field) -> Any:  # noqa: ANN401 - a field holds anything
    """Return what an object's field holds, None when it or what holds it is not there; lists are walked by ``name``."""
    here: Any = obj
    for name in field:
        here = _step(here, name)
    return here


def _step(here: Any, name: str) -> Any:  # noqa: ANN401 - a field holds anything
    if isinstance(here, list):
        return next((one for one in here if isinstance(one, dict) and one.get("name") == name), None)
    return here.get(name) if isinstance(here, dict) else None


def written(obj: Object, field: Field, value: Any) -> Object:  # noqa: ANN401 - a field holds anything
    """Return an object with a field set, or removed for None; what holds the field is made where it is missing."""
    made = copy.deepcopy(obj)
    here: Any = made
    for name in field[:-1]:
        here = _step(here, name) if isinstance(here, list) else here.setdefault(name, {})
    if value is None:
        here.pop(field[-1], None)
    else:
        here[field[-1]] = value
    return made


def said_by(config: str) -> dict[str, Any] | None:
    """Return what a kube-proxy's configuration says, read as YAML; None where it says nothing that can be read."""
    document = parse(config, "", KUBE_PROXY)
    data = {} if document.data is None else document.data
    return data if isinstance(data, dict) and not document.problems else None


def mode_change(path: str, field: Field, config: str, mode: Mode) -> Change:
    """Return the change of a kube-proxy's configuration to another mode.

    Only a line is edited; what that means is told by YAML. Raises UsageError where it would mean anything else, too.
    """
    change = Change(path, field, config, with_mode(config, mode))
    before, after = said_by(config), said_by(change.after)
    if before is None or after != {**before, "mode": str(mode)}:
        raise UsageError(
            f"kube-proxy cannot be switched: {change.what}: its mode cannot be changed by one line and nothing else "
            "with it; write YAML there, with a line such as mode: iptables that begins at its first column"
        )
    return change


def with_mode(config: str, mode: Mode) -> str:
    """Return a kube-proxy's configuration with another line for the mode; every other byte is as it was."""
    line = f"mode: {mode}"
    if _MODE.search(config):
        return _MODE.sub(line, config, count=1)
    return f"{config}{'' if config.endswith(chr(10)) or not config else chr(10)}{line}\n"


def switch_changes(config_map: Object, daemon_set: Object, mode: Mode, image: str, mark: str) -> tuple[Change, ...]:
    """Return what makes a kubeadm cluster's kube-proxy run in a mode: its configuration, then a rollout.

    ``image`` is what it is to be started from, "" for the one that is there. ``mark`` is what no switch before had: a
    template that has it already would not be rolled out. Further annotations are others' (``kubectl rollout restart``
    writes one). Raises UsageError as ``mode_change`` does.
    """
    config, there = read(config_map, CONFIG), read(daemon_set, IMAGE)
    return (
        mode_change(CONFIG_MAP, CONFIG, config, mode),
        *((Change(DAEMON_SET, IMAGE, there, image),) if image and image != there else ()),
        Change(DAEMON_SET, MARK, read(daemon_set, MARK), mark),
    )


def rolled_out(daemon_set: Object) -> bool:
    """Tell whether every node runs a pod of the DaemonSet's newest template, and it is ready."""
    status = daemon_set.get("status", {})
    wanted = status.get("desiredNumberScheduled", 0)
    newest = status.get("observedGeneration", 0) >= daemon_set["metadata"].get("generation", 0)
    there = [status.get(name, 0) for name in ("updatedNumberScheduled", "numberAvailable", "numberReady")]
    return newest and all(number == wanted for number in there) and not status.get("numberMisscheduled", 0)


def progress(daemon_set: Object) -> str:
    """Say how far a rollout has come, in words for people."""
    status = daemon_set.get("status", {})
    done, wanted = status.get("updatedNumberScheduled", 0), status.get("desiredNumberScheduled", 0)
    strays = status.get("numberMisscheduled", 0)  # of a Node that was tainted since; they are not started anew
    more = f", {strays} on Nodes that should have none" if strays else ""
    return f"{done} of {wanted} pods are new, {status.get('numberReady', 0)} ready{more}"


def strangers(services: Sequence[Object], own: str) -> tuple[str, ...]:
    """Return the Services of others that kube-proxy serves, "namespace/name": all but ours and the API's own.

    Headless ones and those of the type ExternalName have no address of which it would know.
    """
    served = (one for one in services if one["spec"].get("clusterIP", "") not in {"", "None"})
    names = (f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in served)
    return tuple(name for name in names if not name.startswith(f"{own}/") and name != "default/kubernetes")
