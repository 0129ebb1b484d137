"""The reference proxier as a process: ``python -m refproxy --config FILE.json``.

SIGTERM or SIGINT ends it: everything that it made in the kernel is removed first, then it exits with 0. Only the
data plane of the configured mode is imported, since the start of the process is part of what is measured.
"""

from __future__ import annotations

import gc
import logging
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from refproxy import config as configs
from refproxy.errors import RefproxyError, UsageError
from refproxy.loop import ControlLoop
from refproxy.metrics import CONTENT_TYPE, LoopMetrics
from refproxy.objects import HEADLESS_LABEL, PROXY_NAME_LABEL
from refproxy.state import ServiceState
from refproxy.tools import SubprocessRunner
from refproxy.units import SystemClock
from refproxy.web import Answer, WebServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from refproxy.config import LoopConfig
    from refproxy.plane import Plane

SELECTOR = f"!{HEADLESS_LABEL},!{PROXY_NAME_LABEL}"
PLANES = {
    "iptables": ("iptables_plane", "IptablesPlane"),
    "ipvs": ("ipvs_plane", "IpvsPlane"),
    "userspace": ("userspace_plane", "UserspacePlane"),
}
"""Module and class of each mode's data plane."""


class Watcher(Protocol):
    """A thread that lists and watches one kind of object until it is stopped."""

    @property
    def path(self) -> str:
        """The collection that it watches."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        ...

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> None:
        """End, and wait for the end."""
        ...


def main(argv: Sequence[str]) -> int:
    """Run until told to stop; return the exit code: 0, or the error's own."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # Objects live long and have no cycles: looking through all of them again and again is a tax without a return.
    gc.set_threshold(100_000, 50, 100)
    try:
        if len(argv) != 2 or argv[0] != "--config":  # noqa: PLR2004 - the option and its value
            raise UsageError("usage: python -m refproxy --config FILE.json")
        serve(configs.load(argv[1]))
    except RefproxyError as error:
        _say(str(error))
        return int(error.exit_code)
    return 0


def serve(config: LoopConfig) -> None:
    """Run the control loop until SIGTERM or SIGINT, then remove what it made. Raises RefproxyError."""
    clock = SystemClock()
    metrics = LoopMetrics()
    state = ServiceState(config.node_name, clock.utc_ns(), config.mode)
    plane = make_plane(config)
    metrics.relayed_ns = plane.relayed_ns
    loop = ControlLoop(plane, state, config, clock, metrics, _say)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    closers: list[Callable[[], None]] = []
    watchers: list[Watcher] = []
    try:
        closers.append(WebServer(config.metrics_port, lambda path: _metrics(path, config, metrics)).close)
        closers.append(WebServer(config.healthz_port, lambda path: _healthz(path, loop, watchers)).close)
        # Not before the ports are ours: as long as they are another loop's, so are the tables. For the same reason
        # they are held until all is removed.
        closers.append(plane.cleanup)
        watchers += make_watchers(config, loop)
        for watcher in watchers:
            watcher.start()
            closers.append(watcher.stop)
        plane.setup()
        loop.run()
    finally:
        for close in reversed(closers):
            close()


def make_plane(config: LoopConfig) -> Plane:
    """Return the data plane of the configured mode; raise UsageError for one that this loop has not."""
    if config.mode not in PLANES:
        raise UsageError(f"mode {config.mode}: the reference proxier has no data plane for it")
    module, name = PLANES[config.mode]
    plane: Plane = getattr(import_module(f"{__package__}.{module}"), name)(SubprocessRunner(), config)
    return plane


def make_watchers(config: LoopConfig, loop: ControlLoop) -> tuple[Watcher, Watcher]:
    """Return the watches of Services and EndpointSlices."""
    from refproxy.reflector import Reflector  # noqa: PLC0415 - lazily

    try:
        token = Path(config.token_file).read_text().strip()
    except OSError as error:
        raise UsageError(f"{config.token_file}: cannot be read: {error.strerror}") from error
    url, ca_file = config.api_url, config.ca_file or None
    services = Reflector(
        url,
        token,
        "/api/v1/services",
        loop.services_listed,
        loop.service_event,
        label_selector=SELECTOR,
        ca_file=ca_file,
    )
    slices = Reflector(
        url,
        token,
        "/apis/discovery.k8s.io/v1/endpointslices",
        loop.slices_listed,
        loop.slice_event,
        ca_file=ca_file,
    )
    return services, slices


def _metrics(path: str, config: LoopConfig, metrics: LoopMetrics) -> Answer:
    if path == "/metrics":
        return Answer(200, metrics.render(), CONTENT_TYPE)
    if path == "/proxyMode":
        return Answer(200, config.mode.encode())
    return Answer(404, b"not here\n")


def _healthz(path: str, loop: ControlLoop, watchers: Sequence[Watcher]) -> Answer:
    if path != "/healthz":
        return Answer(404, b"not here\n")
    if not loop.healthy():
        return Answer(503, b"no sync succeeded recently\n")
    for watcher in watchers:
        if not watcher.alive:
            return Answer(503, f"nothing watches {watcher.path}\n".encode())
    return Answer(200, b"ok\n")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
