"""Locust on every client of a cluster: alone on one, or workers of one master."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.clocks import Instant
from proxybench.hosts.fleet import close_together
from proxybench.load.command import LOOPBACK, Part, build_request, folder, locustfile, warm
from proxybench.load.result import LoadResult, parse
from proxybench.load.session import WarmLocust, run_together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.clocks import Clocks
    from proxybench.hosts.base import Executor
    from proxybench.load.plan import LoadPlan
    from proxybench.nodes.node import Node

_FREE_PORT = f"import socket; print(socket.create_server(('{LOOPBACK}', 0)).getsockname()[1])"
MASTER = "master"


@dataclass(frozen=True)
class Client:
    """A client node, the program that keeps locust imported there, and what it is in a load."""

    node: Node
    executor: Executor
    locust: WarmLocust
    part: Part


class LoadClients:
    """What makes a load; ``master`` beside the first client when there are several, ``None`` with one alone."""

    def __init__(self, clients: Sequence[Client], master: Client | None, stack: ExitStack) -> None:
        """Take what was started; ``stack`` ends it."""
        self._clients = clients
        self._master = master
        self._stack = stack

    @property
    def ended(self) -> str:
        """How one of the programs ended, in one line that names it; empty while all run."""
        ends = ((name, client.locust.ended) for name, client in self._named())
        return next((f"{name}: the program that starts locust {how}" for name, how in ends if how), "")

    @property
    def broken(self) -> bool:
        """Whether one of the programs has ended, or no longer answers."""
        return any(client.locust.silent or client.locust.ended for client in self._all())

    def ready(self, timeout: float) -> None:
        """Wait until locust is imported everywhere, up to ``timeout`` seconds each.

        Raises CommandTimeoutError (it may be asked again then) and ConnectionLostError.
        """
        for client in self._all():
            client.locust.ready(timeout)

    def run(self, plan: LoadPlan, clocks: Clocks, limit: float) -> LoadResult:
        """Make the load, for up to ``limit`` seconds; call ``ready`` before. Every client counts by its own clock.

        Raises MeasurementError (also where two clients' clocks cannot be compared), HostError; one client that fails
        ends the load.
        """
        first = self._clients[0]
        for place, client in enumerate(self._clients):
            apart = clocks.between(Instant(0, client.node.clock), Instant(0, first.node.clock))
            own = plan.to_json(client.part.records, place, len(self._clients), apart.ns)
            client.executor.put(own, client.part.plan)
        requests = {}
        if self._master:
            self._master.executor.put(plan.to_json("", 0, len(self._clients)), self._master.part.plan)
        for name, client in self._named():
            requests[name] = (client.locust, build_request(plan, client.part))
        run_together(requests, limit)
        return parse(*(client.executor.get(client.part.records).decode() for client in self._clients))

    def close(self) -> None:
        """End the programs, and the load if one runs. Never raises."""
        self._stack.close()

    def _named(self) -> list[tuple[str, Client]]:
        return [
            (f"{client.node.name} ({MASTER})" if client is self._master else client.node.name, client)
            for client in self._all()
        ]

    def _all(self) -> tuple[Client, ...]:
        return (self._master, *self._clients) if self._master else tuple(self._clients)


def start_load(nodes: Sequence[tuple[Node, Executor]]) -> LoadClients:
    """Put locust's files on the client nodes and start the programs that import it, without waiting for that.

    With several, the first one's loopback gets a master's port, and each other one's a port that leads there over SSH.
    The caller closes it. Raises HostError.
    """
    with ExitStack() as stack:
        forwards, opened = stack.enter_context(ExitStack()), list[WarmLocust]()
        stack.callback(lambda: close_together([one.close for one in opened]))
        (first, there), *others = nodes
        port = int(there.run([first.python, "-c", _FREE_PORT]).stdout) if others else 0
        clients = [_start(first, there, Part(folder(first.workdir), port=port), opened)]
        master = None
        if others:
            part = Part(folder(first.workdir), f"{MASTER}-", port, len(nodes))
            master = Client(first, there, _open(first, there, opened), part)
        for node, executor in others:
            near = forwards.enter_context(executor.forward(port, there))
            clients.append(_start(node, executor, Part(folder(node.workdir), port=near), opened))
        return LoadClients(clients, master, stack.pop_all())
    raise AssertionError  # an ExitStack swallows nothing here


def _start(node: Node, executor: Executor, part: Part, opened: list[WarmLocust]) -> Client:
    executor.run(["mkdir", "-p", part.folder])
    executor.put(locustfile(), f"{part.folder}/locustfile.py")
    executor.put(warm(), f"{part.folder}/warm.py")
    return Client(node, executor, _open(node, executor, opened), part)


def _open(node: Node, executor: Executor, opened: list[WarmLocust]) -> WarmLocust:
    locust = WarmLocust(executor.open([node.python, f"{folder(node.workdir)}/warm.py"]))
    opened.append(locust)
    return locust
