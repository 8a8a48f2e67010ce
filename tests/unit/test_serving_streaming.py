"""Streams: answers as they finish, a bound on how many run, and nothing left running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ascend_serve.serving.doors.streaming import answers_of

pytestmark = pytest.mark.unit


class Stream:
    """Requests that a client sends, and what is asked of the model; the test decides what finishes when."""

    def __init__(self, requests: list[bytes]) -> None:
        self.left = list(requests)
        self.taken: list[bytes] = []
        self.may_end: dict[bytes, asyncio.Event] = {request: asyncio.Event() for request in requests}
        self.cancelled: list[bytes] = []
        self.open = asyncio.Event()

    async def requests(self) -> AsyncIterator[bytes]:
        while self.left:
            self.taken.append(self.left.pop(0))
            yield self.taken[-1]
        await self.open.wait()

    async def answer(self, request: bytes) -> bytes:
        try:
            await self.may_end[request].wait()
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise
        return request.upper()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_answers_come_as_they_finish() -> None:
    stream = Stream([b"a", b"b", b"c"])
    answers = answers_of(stream.requests(), stream.answer)
    for request in (b"c", b"a"):
        stream.may_end[request].set()
        assert await anext(answers) == request.upper()
    stream.open.set()  # the client has sent all; what runs is still answered
    stream.may_end[b"b"].set()
    assert [answer async for answer in answers] == [b"B"]


async def test_no_more_are_taken_than_may_run() -> None:
    stream = Stream([bytes([number]) for number in range(9)])
    answers = answers_of(stream.requests(), stream.answer, at_once=2)
    first = asyncio.ensure_future(anext(answers))
    await settle()
    assert len(stream.taken) <= 3  # two that run, and the one that the client sends next
    stream.may_end[stream.taken[0]].set()
    await first
    assert len(stream.taken) <= 4
    await answers.aclose()


async def test_a_client_that_leaves_ends_what_runs() -> None:
    stream = Stream([b"a", b"b"])
    answers = answers_of(stream.requests(), stream.answer)
    stream.may_end[b"a"].set()
    assert await anext(answers) == b"A"
    await settle()
    await answers.aclose()
    await settle()
    assert stream.cancelled == [b"b"]


async def test_an_empty_stream_has_no_answers() -> None:
    stream = Stream([])
    stream.open.set()
    assert [answer async for answer in answers_of(stream.requests(), stream.answer)] == []


async def test_a_stream_that_breaks_ends_with_its_error() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise RuntimeError("the connection broke")

    stream = Stream([b"a"])
    with pytest.raises(RuntimeError, match="the connection broke"):
        [answer async for answer in answers_of(broken(), stream.answer)]
    await settle()
    assert stream.cancelled == [b"a"]


async def test_no_more_bytes_are_taken_than_may_run() -> None:
    stream = Stream([bytes([number]) * 100 for number in range(9)])
    answers = answers_of(stream.requests(), stream.answer, bytes_at_once=150)
    first = asyncio.ensure_future(anext(answers))
    await settle()
    assert len(stream.taken) == 2  # one that is below the bound, and one more
    stream.may_end[stream.taken[0]].set()
    await first
    second = asyncio.ensure_future(anext(answers))
    await settle()
    assert len(stream.taken) == 3
    stream.may_end[stream.taken[1]].set()
    await second
    await answers.aclose()
