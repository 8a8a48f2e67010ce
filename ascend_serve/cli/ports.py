"""Ports that a run takes before the servers that will listen on them are there.

Nobody listens on a port in the seconds between its choice and the start of HAProxy and of Serve's proxies, so that
whoever else looks for a free one finds it too; and two proxies of Serve share a port without a word, because they
set SO_REUSEPORT. The socket that looked cannot be kept open instead: HAProxy is told to refuse such company. So a
port is also claimed by the name of an abstract socket, which the kernel gives to one process of a network namespace
and takes back when that ends by whatever means (unix(7)).
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from itertools import count
from types import TracebackType

LOOPBACK = "127.0.0.1"
ALL_INTERFACES = "0.0.0.0"  # noqa: S104 - where Ray's HAProxy has its two pages, unless it is `ascend-serve-haproxy`
_CLAIM = "\0ascend-serve/port/{port}"


class Ports:
    """The ports of one run, kept from every other run of this machine until it is closed; a context manager."""

    def __init__(self) -> None:
        self._claims = ExitStack()

    def __enter__(self) -> Ports:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._claims.close()

    def take(self, port: int, interface: str = LOOPBACK) -> bool:
        """Whether the port was free on that interface, and no run had it; it is this run's now."""
        with ExitStack() as undo:
            claim = undo.enter_context(socket.socket(socket.AF_UNIX))
            probe = undo.enter_context(socket.socket())
            # As servers do, so that connections that ended a moment ago do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                claim.bind(_CLAIM.format(port=port))
                probe.bind((interface, port))
            except OSError:
                return False
            probe.close()
            self._claims.push(undo.pop_all())
        return True

    def take_near(self, wanted: int) -> int:
        """The port wanted, or the next above it that is free on all interfaces; it is this run's now.

        Near, and not one that the system chooses: that would come from the range of its outgoing connections, any of
        which may be given it meanwhile.
        """
        return next(port for port in count(wanted) if self.take(port, ALL_INTERFACES))
