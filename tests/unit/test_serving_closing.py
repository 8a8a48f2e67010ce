"""A replica's way out: the device is given back whatever the disk, the engine or a caller does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ascend_serve.batching.journal import Offered
from ascend_serve.errors import LaneStalled
from ascend_serve.serving import closing
from ascend_serve.serving.watching.journal import FileJournal

pytestmark = pytest.mark.unit


class Parts:
    """Lane and model of a replica; each says when it was called, and may do something else."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.does: dict[str, Callable[[], object]] = {}
        self.journal: FileJournal | None = None

    def _call(self, name: str) -> None:
        self.calls.append(name)
        self.does.get(name, lambda: None)()

    def close(self, timeout_s: float) -> None:
        assert timeout_s > 0
        self._call("lane")

    def keep_times(self) -> None:
        self._call("keep")

    async def drain(self) -> None:
        self._call("drain")

    async def close_journal(self) -> None:
        if self.journal is not None:
            await self.journal.close()


@pytest.fixture
def parts() -> Parts:
    return Parts()


async def give_back(parts: Parts, *, models: int = 1) -> None:
    whole: Any = parts
    await closing.give_back(whole, [whole] * models)


async def test_everything_in_its_order(parts: Parts) -> None:
    await give_back(parts)
    assert parts.calls == ["drain", "keep", "lane"]


async def test_a_replica_that_did_not_come_so_far_closes_its_lane(parts: Parts) -> None:
    await give_back(parts, models=0)
    assert parts.calls == ["lane"]


async def test_all_models_go_together(parts: Parts) -> None:
    await give_back(parts, models=2)
    assert parts.calls == ["drain", "drain", "keep", "keep", "lane"]


async def test_a_full_disk_does_not_keep_the_device(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    journal = FileJournal(Path("/dev/full"))
    journal.note(Offered(0.0, 0, 1))
    with caplog.at_level(logging.ERROR, logger="ray.serve.ascend_serve"):
        parts.journal = journal
        await give_back(parts)
    assert parts.calls == ["drain", "keep", "lane"]
    assert "the journal /dev/full ends here" in caplog.text


async def test_a_disk_that_hangs_does_not_keep_the_device(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(closing, "FILE_TIMEOUT_S", 0.01)
    back = threading.Event()
    parts.does["keep"] = lambda: back.wait(5)
    try:
        with caplog.at_level(logging.ERROR, logger="ray.serve.ascend_serve"):
            await give_back(parts)
    finally:
        back.set()
    assert parts.calls == ["drain", "keep", "lane"]
    assert "what the gears take could not be written within 0.01 s" in caplog.text


@pytest.mark.parametrize("where", ["drain", "keep"])
async def test_a_fault_on_the_way_is_raised_after_the_device_is_back(parts: Parts, where: str) -> None:
    def fail() -> None:
        raise KeyError(where)

    parts.does[where] = fail
    with pytest.raises(KeyError, match=where):
        await give_back(parts)
    assert parts.calls[-1] == "lane"


async def test_a_device_that_does_not_come_back_is_logged(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    def stall() -> None:
        raise LaneStalled("no device")

    parts.does["lane"] = stall
    with caplog.at_level(logging.ERROR, logger="ray.serve.ascend_serve"):
        await give_back(parts)
    assert "its memory is reclaimed when this process ends" in caplog.text


def test_the_bounds_fit_into_what_serve_waits() -> None:
    assert closing.DRAIN_TIMEOUT_S + 2 * closing.FILE_TIMEOUT_S + closing.LANE_TIMEOUT_S < 20
