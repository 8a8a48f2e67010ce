"""Threads that make calls when they are told to."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

LIMIT_S = 60


class Worker:
    """A thread that makes calls one at a time."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def do(self, work: Callable[[], Any]) -> Any:
        """What the work gives in this thread."""
        self._orders.put(work)
        result = self._results.get(timeout=LIMIT_S)
        if isinstance(result, BaseException):
            raise result
        return result

    def end(self) -> None:
        self._orders.put(None)
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()

    def _run(self) -> None:
        while (work := self._orders.get()) is not None:
            try:
                self._results.put(work())
            except BaseException as error:  # noqa: BLE001 - `do` raises it
                self._results.put(error)
