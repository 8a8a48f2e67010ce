"""A replica's journal in a file: what `batching.journal` says of each event, a line each.

Events are only collected on the event loop. At most once a second they are turned into lines and written on another
thread, one batch after another, so that the request path touches no file. A journal with a hole could not be replayed,
so with the first event that is lost it ends: what is in the file until then stays good.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ascend_serve.batching.journal import Event, encode
from ascend_serve.serving.log import logger

WRITE_EVERY_S = 1.0
MOST_WAITING = 200_000
"""Events that may wait for a disk; some 20 s of a busy replica. Past this the journal ends."""


class FileJournal:
    """Appends events to a file; made and used on one running event loop.

    Args:
        path: the file; its folder is made.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: what a failed write left in a buffer would be written later, behind a hole.
        self._file = path.open("ab", buffering=0)
        self._good = os.fstat(self._file.fileno()).st_size
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Event] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._ended = False

    def note(self, event: Event) -> None:
        """Keep one event."""
        if self._ended:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._end(f"{MOST_WAITING} events wait to be written")
            return
        self._waiting.append(event)
        if self._timer is None and self._writing is None:
            self._timer = self._loop.call_later(WRITE_EVERY_S, self._start_writing)

    async def close(self) -> None:
        """Write what waits, and close the file. Nothing is kept any more.

        A disk that fails is logged and not raised: it must not stop what else is to be closed.
        """
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await self._writing
        await self._write()
        try:
            await asyncio.to_thread(self._file.close)  # a network file system writes only now
        except OSError as error:
            logger.error(f"the journal {self._path} may be incomplete: {error}")

    def _start_writing(self) -> None:
        self._timer = None
        self._writing = self._loop.create_task(self._write_and_go_on())

    async def _write_and_go_on(self) -> None:
        await self._write()
        self._writing = None
        if self._waiting and not self._ended:
            self._timer = self._loop.call_later(WRITE_EVERY_S, self._start_writing)

    async def _write(self) -> None:
        events, self._waiting = self._waiting, []
        if not events:
            return
        try:
            await asyncio.to_thread(self._append, events)
        except OSError as error:
            self._end(str(error))
            self._waiting.clear()  # it would follow a hole

    def _append(self, events: Sequence[Event]) -> None:
        lines = b"".join(map(encode, events))
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            with suppress(OSError):  # a pipe cannot be cut; readers leave out an unfinished last line
                self._file.truncate(self._good)
            raise
        self._good += len(lines)

    def _end(self, cause: str) -> None:
        self._ended = True
        logger.error(f"the journal {self._path} ends here: {cause}")
