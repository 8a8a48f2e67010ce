"""All servers of a comparison up at once, and one at a time awake.

Starting a Serve takes many seconds, so that all are started before the rounds; but the ones that wait take CPU
that the one in its turn would have. They are frozen (SIGSTOP) meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import psutil  # type: ignore[import-untyped]  # it ships no types

from benchmarks.cards import Work, clients_of, work_of
from benchmarks.node import Node
from benchmarks.servers import Plan, Server, Used, running
from benchmarks.sides import Side

_SETTLE_S = 5.0
"""Ray's agents and its dashboard are still starting when the first answer comes."""


class Stage:
    """Servers that run, of which one is awake.

    Args:
        servers: by the name of their plans; all awake.
    """

    def __init__(self, servers: Mapping[str, Server]) -> None:
        self._servers = servers
        self._awake = set(servers)

    def turn_of(self, side: Side) -> Server:
        """Wake the server of a side and freeze the others."""
        for name in sorted(self._awake - {side.plan}):
            self._servers[name].freeze()
        if side.plan not in self._awake:
            self._servers[side.plan].thaw()
        self._awake = {side.plan}
        return self._servers[side.plan]


def port_of(server: Server, side: Side) -> int:
    """Where a side is asked.

    Raises:
        LookupError: no replica of its application listens at a port of its own.
    """
    if not side.direct:
        return server.plan.port
    first = int(server.plan.environment["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"])
    last = int(server.plan.environment["RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT"])
    for connection in psutil.Process(worker_of(server, side)).net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and first <= connection.laddr.port <= last:
            return int(connection.laddr.port)
    raise LookupError(f"the replica of '{side.application}' does not listen between {first} and {last}")


def worker_of(server: Server, side: Side) -> int:
    """The process that has the side's card open.

    Raises:
        LookupError: there is none.
    """
    tree = {process.pid for process in server.processes()}
    replicas = server.replicas()
    for client in clients_of(server.plan.name):
        if client in tree and side.application in (None, replicas.get(client)):
            return client
    raise LookupError(f"no process of '{side.name}' has a card open")


def card_work(server: Server, side: Side) -> Work:
    """What the side's card has done."""
    return work_of(server.plan.name, worker_of(server, side))


def cpu_of(server: Server, side: Side) -> dict[int, Used]:
    """CPU seconds of a side's processes: the whole server, Ray's own included, but no other application's replica."""
    replicas = server.replicas()
    return {
        number: used
        for number, used in server.cpu().items()
        if replicas.get(number) in (None, side.application)
    }


@contextmanager
def staged(plans: Mapping[str, Plan], sides: Sequence[Side], node: Node) -> Iterator[Stage]:
    """Start servers, wait until each side answers, and end them all at the end.

    Raises:
        RuntimeError: a server ended, or took too long.
    """
    with running(list(plans.values()), node) as servers:
        by_name = dict(zip(plans, servers, strict=True))
        for side in sides:
            server = by_name[side.plan]
            server.wait_until_answering(partial(port_of, server, side), side.requests[0])
        time.sleep(_SETTLE_S)
        yield Stage(by_name)
