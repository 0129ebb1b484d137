"""A program that switches a cluster by the API at a URL, and ends by SIGKILL at a request of whoever tests it."""

from __future__ import annotations

import http.server
import json
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from proxybench.errors import ApiError
from proxybench.model import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from proxybench.kube.base import ObjectApi

IMAGE_OF_BEFORE = "registry.k8s.io/kube-proxy:v1.36.3"
PROGRAM = f"""\
import sys
from contextlib import contextmanager
from pathlib import Path
from proxybench.kube.client import KubernetesServiceApi
from proxybench.model import Mode
from proxybench.targets.cluster.switch.changes import CONFIG_MAP
from proxybench.targets.cluster.switch.daemon_set import DaemonSetWay
from proxybench.targets.cluster.switch.switcher import Switcher
from proxybench.targets.cluster.switch.undo import Header

@contextmanager
def connect():
    with KubernetesServiceApi(sys.argv[1], "t") as api:
        yield DaemonSetWay(api)

def modes():
    with connect() as way:
        text = way.get(CONFIG_MAP)["data"]["config.conf"]
        return {{"n1": next(line[6:].strip('"') for line in text.splitlines() if line.startswith("mode:"))}}

folder = Path(sys.argv[2])
Switcher(connect, Header("https://192.0.2.1", "/k", "one"), modes, print, folder=folder).to(
    Mode(sys.argv[3]), "{IMAGE_OF_BEFORE}"
)
print("switched", flush=True)
"""


@contextmanager
def served(api: ObjectApi, asked: Callable[[], None], answered: Callable[[], None]) -> Iterator[str]:
    """Serve an API over HTTP; ``asked`` is called before each request is done, ``answered`` after."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked()
            code, found = 200, b"{}"
            try:
                found = json.dumps(api.ask(self.command, self.path, json.loads(body) if body else None)).encode()
            except ApiError as error:  # somebody else has written it meanwhile
                code = error.status or 503
            answered()
            self.send_response(code)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        do_GET = do_PUT = handle_any  # noqa: N815 - the names are the base class's

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.handle_error = lambda *_: None  # type: ignore[method-assign] # whoever asked may be dead
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


MOMENTS = (
    (1, True),
    (5, False),
    (8, False),
    (9, True),
    (9, False),
    (10, True),
    (10, False),
    (11, True),
    (11, False),
    (12, True),
)
"""Ten requests of one switch, of mode and image, and whether it is killed before or after each is done.

9 and 11 are writes, after 6 and 7, which are dry runs of them.
"""


def kill_at(api: ObjectApi, moment: int, folder: Path, *, early: bool, mode: Mode = Mode.NFTABLES) -> None:
    """Run it with its undo log in a folder, up to that request."""
    count = 0

    def kill(*, at: bool) -> None:
        if at is early and count == moment:
            process.kill()
            process.wait()

    def asked() -> None:
        nonlocal count
        count += 1
        kill(at=True)

    with served(api, asked, lambda: kill(at=False)) as url:
        argv = [sys.executable, "-c", PROGRAM, url, str(folder), mode]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        with process:
            said = process.communicate(timeout=60)[0]
    assert (process.returncode, b"switched" in said) == (-signal.SIGKILL, False)
