"""Policies and recorders that raise: what the engine holds to in spite of them."""

import asyncio

import numpy as np
import pytest

from ascend_serve.batching.choice import View
from ascend_serve.errors import (
    DeadlineExpired,
    TicketCancelled,
)
from ascend_serve.spec.gears import Gears
from tests.unit.engine_bench import Bench, doubled, turns

pytestmark = pytest.mark.unit


class Stubborn:
    """Decides once, and then no more."""

    patience_ms = None

    def __init__(self) -> None:
        self._asked = 0

    def usable(self, compiled: Gears) -> Gears:
        return compiled

    def choose(self, view: View) -> int:
        self._asked += 1
        if self._asked > 1:
            raise RuntimeError("no idea")
        return view.gears.largest


async def test_a_policy_that_raises_holds_back_no_results_and_no_expiry() -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.append(str(context["exception"]))
    )
    bench = Bench(policy=Stubborn())
    done = bench.offer(1, 5)
    await turns()
    left = bench.offer(1, deadline=bench.now + 1)
    await turns()
    bench.lane.run()
    await turns()
    np.testing.assert_array_equal((await done.result)["y"], doubled(1, 5))
    assert len(bench.notes.batches) == 1
    bench.now += 2
    bench.engine.pump()
    with pytest.raises(DeadlineExpired):
        await left.result
    assert told == ["no idea"]


async def test_a_recorder_that_raises_leaves_no_request_without_its_end() -> None:
    bench = Bench()
    request = bench.offer(1)

    def refuse(*_: object) -> None:
        raise RuntimeError("full")

    bench.notes.requests_ended = refuse
    with pytest.raises(RuntimeError, match="full"):
        request.cancel()
    with pytest.raises(TicketCancelled):
        await request.result
