"""A replica's journal in a file: what `batching.journal` says of each event, a line each.

Events are only collected on the event loop. At most once a second they are written and turned into lines on another
thread, one batch after another, so that the request path touches no file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ascend_serve.batching.journal import Event, encode
from ascend_serve.serving.log import logger

WRITE_EVERY_S = 1.0
MOST_WAITING = 200_000
"""Events that may wait for a disk; some 20 s of a busy replica. A journal with a hole could not be replayed, so past
this it ends: what it has until then stays good."""


class FileJournal:
    """Appends events to a file; made and used on one running event loop.

    Args:
        path: the file; its folder is made.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
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
        """Write what waits, and close the file. Nothing is kept any more."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await self._writing
        await self._write()
        self._file.close()

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
        try:
            await asyncio.to_thread(self._append, events)
        except OSError as error:
            self._end(str(error))

    def _append(self, events: Sequence[Event]) -> None:
        self._file.write(b"".join(map(encode, events)))
        self._file.flush()

    def _end(self, cause: str) -> None:
        self._ended = True
        logger.error(f"the journal {self._path} ends here: {cause}")
