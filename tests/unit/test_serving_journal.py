"""The journal in a file: whole lines in their order, off the event loop, and bounded."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ascend_serve.batching.journal import Offered, decode_all
from ascend_serve.serving import journal
from ascend_serve.serving.journal import FileJournal

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
