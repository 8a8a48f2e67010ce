"""Clients that leave before they have their answer.

ASGI tells of it by one more message, and to wait for that message takes a task. Started for each request, that task
costs about 20 us of CPU, an eighth of what a server in Python needs in all, and hardly ever has anything to tell. So a
request is listened for only when it has run for a while: most have their answer before. What this gives up is little:
the rows of a client that leaves within that while are run for nobody, as those of one that leaves a moment later are.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from ascend_serve.errors import TicketCancelled
from ascend_serve.serving.doors.asgi import Message, Receive

PATIENCE_S = 0.05
"""A request is listened for when it is between one and two of these old."""

T = TypeVar("T")
_Task = asyncio.Task[Any]


class ClientLeft(Exception):  # noqa: N818  (nothing went wrong here; there is just nobody to answer)
    """The client closed the connection before it had its answer."""


class Leaving:
    """Cancels the requests of clients that leave; one event loop's.

    Requests are in two generations. Every `PATIENCE_S` those of the older one begin to be listened for, and the younger
    one becomes the older; while there are no requests there is no timer.
    """

    def __init__(self) -> None:
        self._young: dict[_Task, Receive] = {}
        self._old: dict[_Task, Receive] = {}
        self._listening: dict[_Task, asyncio.Future[Message]] = {}
        self._left: set[_Task] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def unless(self, receive: Receive, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which runs in the caller's own task and is cancelled when the client leaves first.

        Args:
            receive: of the request, whose body is read: what it gives next can only be the disconnect.
            work: what the client waits for.

        Raises:
            ClientLeft: the client left.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        me = asyncio.current_task(self._loop)
        assert me is not None, "a coroutine runs in a task"
        self._young[me] = receive
        if self._timer is None:
            self._timer = self._loop.call_later(PATIENCE_S, self._grow_older)
        try:
            return await work
        except (asyncio.CancelledError, TicketCancelled):
            if me not in self._left:
                raise
            if sys.version_info >= (3, 11) and me.uncancel() > 0:
                raise  # somebody else cancelled this task as well, and must see it end so
            raise ClientLeft from None
        finally:
            if self._young.pop(me, None) is None and self._old.pop(me, None) is None:
                self._listening.pop(me).cancel()
                self._left.discard(me)

    def _grow_older(self) -> None:
        loop = asyncio.get_running_loop()
        for task, receive in self._old.items():
            message: asyncio.Future[Message] = asyncio.ensure_future(receive())
            self._listening[task] = message
            message.add_done_callback(lambda message, task=task: self._heard(task, message))  # type: ignore[misc]
        self._old, self._young = self._young, {}
        self._timer = loop.call_later(PATIENCE_S, self._grow_older) if self._old else None

    def _heard(self, task: _Task, message: asyncio.Future[Message]) -> None:
        if message.cancelled():
            return  # the request had its answer
        # A `receive` that raises is a connection that cannot be used any more.
        left = message.exception() is not None or message.result()["type"] == "http.disconnect"
        # The answer may have come in the same turn of the loop: then the task does something else by now.
        if left and self._listening.get(task) is message:
            self._left.add(task)
            task.cancel()
