"""The journal in a file: whole lines in their order, off the event loop, and bounded."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ascend_serve.batching.journal import Offered, decode_all
from ascend_serve.serving.watching import journal
from ascend_serve.serving.watching.journal import FileJournal

pytestmark = pytest.mark.unit


def events(count: int) -> list[Offered]:
    return [Offered(float(number), number, 1) for number in range(count)]


async def test_what_is_noted_is_in_the_file_in_its_order_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.jsonl"
    file = FileJournal(path)
    for event in events(1000):
        file.note(event)
    assert path.read_bytes() == b"", "nothing is written on the loop"
    await file.close()
    assert list(decode_all(path.read_bytes().splitlines(keepends=True))) == events(1000)
    file.note(Offered(0.0, 0, 1))
    assert len(path.read_bytes().splitlines()) == 1000


async def test_it_is_written_while_more_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "WRITE_EVERY_S", 0.0)
    file = FileJournal(tmp_path / "log.jsonl")
    for event in events(50):
        file.note(event)
        if file._writing is None and file._timer is not None:
            file._timer.cancel()
            file._start_writing()
        writing = file._writing
        assert writing is not None
        if event.ticket % 7 == 0:
            await writing
    await file.close()
    lines = (tmp_path / "log.jsonl").read_bytes().splitlines(keepends=True)
    assert list(decode_all(lines)) == events(50)


async def test_past_its_bound_it_ends_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal, "MOST_WAITING", 3)
    file = FileJournal(tmp_path / "log.jsonl")
    with caplog.at_level(logging.ERROR, logger="ray.serve.ascend_serve"):
        for event in events(6):
            file.note(event)
    await file.close()
    lines = (tmp_path / "log.jsonl").read_bytes().splitlines(keepends=True)
    assert list(decode_all(lines)) == events(3)
    assert [record.getMessage() for record in caplog.records] == [
        f"the journal {tmp_path / 'log.jsonl'} ends here: 3 events wait to be written"
    ]


class Disk:
    """A file on a disk with so many bytes left; `cuts` is whether it can be truncated."""

    def __init__(self, file: BinaryIO, free: int, *, cuts: bool = True) -> None:
        self.free = free
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self._file = file
        self._cuts = cuts

    def write(self, data: memoryview) -> int:
        if not self.free:
            self.reached.set()
            assert self.go_on.wait(5)
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._file.write(data[: self.free])
        self.free -= written
        return written

    def truncate(self, size: int) -> int:
        if not self._cuts:
            raise OSError(errno.EINVAL, "Invalid argument")
        return self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


def on(disk: Disk, file: FileJournal) -> None:
    holder: Any = file
    holder._file = disk


async def test_nothing_follows_what_a_full_disk_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal, "WRITE_EVERY_S", 0.0)
    path = tmp_path / "log.jsonl"
    file = FileJournal(path)
    first, lost, later = events(2), events(5)[2:], Offered(9.0, 9, 1)
    size = sum(len(journal.encode(event)) for event in first)
    disk = Disk(file._file, size + 20)
    on(disk, file)
    await noted(file, first)
    for event in lost:
        file.note(event)
    assert file._timer is not None
    file._timer.cancel()
    file._start_writing()
    writing = file._writing
    assert writing is not None
    await asyncio.to_thread(disk.reached.wait, 5)
    file.note(later)  # it waits while the write before it fails
    disk.go_on.set()
    with caplog.at_level(logging.ERROR, logger="ray.serve.ascend_serve"):
        await writing
    disk.free = 10_000
    file.note(later)
    await file.close()
    assert path.stat().st_size == size, "the half line is cut off"
    assert list(decode_all(path.read_bytes().splitlines(keepends=True))) == first
    assert [record.getMessage() for record in caplog.records] == [
        f"the journal {path} ends here: [Errno {errno.ENOSPC}] No space left on device"
    ]


async def test_what_cannot_be_cut_is_an_unfinished_last_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    file = FileJournal(path)
    disk = Disk(file._file, len(journal.encode(events(1)[0])) + 20, cuts=False)
    disk.go_on.set()
    on(disk, file)
    for event in events(3):
        file.note(event)
    await file.close()
    assert list(decode_all(path.read_bytes().splitlines(keepends=True))) == events(1)


async def test_what_stood_in_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(journal.encode(events(1)[0]))
    file = FileJournal(path)
    disk = Disk(file._file, 7)
    disk.go_on.set()
    on(disk, file)
    file.note(events(2)[1])
    await file.close()
    assert list(decode_all(path.read_bytes().splitlines(keepends=True))) == events(1)


async def test_a_full_disk_is_logged_when_it_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    file = FileJournal(Path("/dev/full"))
    for event in events(3):
        file.note(event)
    with caplog.at_level(logging.ERROR, logger="ray.serve.ascend_serve"):
        await file.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"the journal /dev/full ends here: [Errno {errno.ENOSPC}] No space left on device"
    ]


async def noted(file: FileJournal, some: list[Offered]) -> None:
    """Note events, and wait until they are written."""
    for event in some:
        file.note(event)
    assert file._timer is not None
    file._timer.cancel()
    file._start_writing()
    assert file._writing is not None
    await file._writing
