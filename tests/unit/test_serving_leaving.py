"""Clients that leave: who is listened for, when, and what is left behind."""

from __future__ import annotations

import asyncio

import pytest

from ascend_serve.serving.doors import leaving
from ascend_serve.serving.doors.asgi import Message
from ascend_serve.serving.doors.leaving import ClientLeft, Leaving

pytestmark = pytest.mark.unit

GONE: Message = {"type": "http.disconnect"}


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "PATIENCE_S", 0.001)


class Client:
    def __init__(self) -> None:
        self.message: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.listened = asyncio.Event()

    async def receive(self) -> Message:
        self.listened.set()
        return await self.message


async def test_who_is_answered_at_once_is_never_listened_for() -> None:
    client = Client()

    async def work() -> int:
        return 7

    assert await Leaving().unless(client.receive, work()) == 7
    assert not client.listened.is_set()


async def test_who_waits_is_listened_for_and_may_leave() -> None:
    client, all_ = Client(), Leaving()
    task = asyncio.ensure_future(all_.unless(client.receive, asyncio.Event().wait()))
    await asyncio.wait_for(client.listened.wait(), 5)
    client.message.set_result(GONE)
    with pytest.raises(ClientLeft):
        await asyncio.wait_for(task, 5)


async def test_who_is_answered_late_is_answered_and_no_more_listened_for() -> None:
    client, all_, done = Client(), Leaving(), asyncio.Event()
    task = asyncio.ensure_future(all_.unless(client.receive, done.wait()))
    await asyncio.wait_for(client.listened.wait(), 5)
    done.set()
    assert await asyncio.wait_for(task, 5) is True
    await asyncio.sleep(0)
    assert client.message.cancelled(), "the task that listened was ended"


async def test_a_message_that_is_no_disconnect_changes_nothing() -> None:
    client, all_, done = Client(), Leaving(), asyncio.Event()
    task = asyncio.ensure_future(all_.unless(client.receive, done.wait()))
    await asyncio.wait_for(client.listened.wait(), 5)
    client.message.set_result({"type": "http.request"})
    await asyncio.sleep(0)
    done.set()
    assert await asyncio.wait_for(task, 5) is True


async def test_who_has_the_answer_already_is_not_cancelled_by_leaving_in_the_same_turn() -> None:
    client, all_ = Client(), Leaving()
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def request() -> int:
        found = await all_.unless(client.receive, _awaited(answer))
        for _ in range(5):
            await asyncio.sleep(0)  # it sends the answer
        return found

    task = asyncio.ensure_future(request())
    await asyncio.wait_for(client.listened.wait(), 5)
    client.message.set_result(GONE)
    answer.set_result(7)  # it is there before the callback of the message, which takes a turn more
    assert await asyncio.wait_for(task, 5) == 7
    assert not all_._left
    assert not all_._listening


async def test_a_broken_connection_is_a_client_that_left() -> None:
    client, all_ = Client(), Leaving()
    task = asyncio.ensure_future(all_.unless(client.receive, asyncio.Event().wait()))
    await asyncio.wait_for(client.listened.wait(), 5)
    client.message.set_exception(OSError("reset"))
    with pytest.raises(ClientLeft):
        await asyncio.wait_for(task, 5)


async def _awaited(answer: asyncio.Future[int]) -> int:
    return await answer


async def test_a_cancel_from_elsewhere_goes_on() -> None:
    client, all_ = Client(), Leaving()
    task = asyncio.ensure_future(all_.unless(client.receive, asyncio.Event().wait()))
    await asyncio.wait_for(client.listened.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_leaves_harms_nobody_else_and_nothing_stays() -> None:
    all_, done = Leaving(), asyncio.Event()
    clients = [Client() for _ in range(8)]
    before = asyncio.all_tasks()
    tasks = [asyncio.ensure_future(all_.unless(client.receive, done.wait())) for client in clients]
    for client in clients:
        await asyncio.wait_for(client.listened.wait(), 5)
    for client in clients[::2]:
        client.message.set_result(GONE)
    left = await asyncio.wait_for(asyncio.gather(*tasks[::2], return_exceptions=True), 5)
    assert [type(error) for error in left] == [ClientLeft] * 4
    done.set()
    assert await asyncio.wait_for(asyncio.gather(*tasks[1::2]), 5) == [True] * 4
    for _ in range(3):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
