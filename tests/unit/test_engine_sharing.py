"""Several engines on one lane: each its own queue and slots, one device."""

import asyncio

import numpy as np
import pytest

from ascend_serve.batching.policy import policy_named
from ascend_serve.batching.sharing import Share
from ascend_serve.errors import DeadlineExpired
from ascend_serve.spec.timing import Stages
from tests.unit.engine_bench import SERVICE, Bench, doubled, turns

pytestmark = pytest.mark.unit


class Lane:
    """Two models on one lane that runs one batch after the other."""

    def __init__(self, in_flight=1, weights=(1.0, 1.0), **settings):
        self.share = Share(in_flight)
        self.order = []
        self.benches = [Bench(share=self.share, weight=weight, **settings) for weight in weights]
        for name, bench in zip("ab", self.benches, strict=True):
            bench.lane.launch = self._noting(name, bench.lane.launch)

    def _noting(self, name, launch):
        def noted(*batch):
            self.order.append(name)
            launch(*batch)

        return noted

    async def land(self, stages=None):
        """Let the oldest batch of all come back."""
        at = len(self.order) - self.share.running_batches
        self.benches["ab".index(self.order[at])].lane.run(stages)
        await turns()


async def test_two_models_take_turns():
    lane = Lane()
    requests = [bench.offer(8, first) for first in range(0, 32, 8) for bench in lane.benches]
    await turns()
    for _ in requests:
        await lane.land()
    assert "".join(lane.order) == "abababab"
    for at, request in enumerate(requests):
        np.testing.assert_array_equal((await request.result)["y"], doubled(8, 8 * (at // 2)))


async def test_the_heavier_model_gets_more():
    lane = Lane(weights=(3.0, 1.0))
    for bench in lane.benches:
        for _ in range(8):
            bench.offer(8)
    await turns()
    for _ in range(8):
        await lane.land()
    assert lane.order[:8].count("a") == 6


async def test_no_more_batches_are_at_the_lane_than_the_share_allows():
    lane = Lane(in_flight=2)
    for bench in lane.benches:
        for _ in range(3):
            bench.offer(8)
    await turns()
    while lane.share.running_batches:
        assert sum(bench.engine.state().running_batches for bench in lane.benches) <= 2
        await lane.land()
    assert len(lane.order) == 6


async def test_an_idle_model_gets_in_with_the_next_batch():
    lane = Lane()
    busy, idle = lane.benches
    for _ in range(8):
        busy.offer(8)
    await turns()
    for _ in range(3):
        await lane.land()
    request = idle.offer(1, 7)
    await turns()
    await lane.land()
    assert lane.order[-1] == "b"
    await lane.land()
    np.testing.assert_array_equal((await request.result)["y"], doubled(1, 7))


async def test_what_batches_took_in_truth_is_what_counts():
    lane = Lane(max_queued_rows=4096)
    for bench in lane.benches:
        for _ in range(60):
            bench.offer(8)
    await turns()
    for _ in range(50):
        at_a = lane.order[-1] == "a"
        await lane.land(Stages(0.0, 9.0 if at_a else 3.0, 0.0))
    assert lane.order.count("b") / lane.order.count("a") == pytest.approx(3.0, rel=0.2)


async def test_a_batch_that_fails_gives_its_place_to_the_other_model():
    lane = Lane()
    failing, waiting = lane.benches
    lost, request = failing.offer(8), waiting.offer(8)
    await turns()
    assert lane.order == ["a"]
    failing.lane.fail(SERVICE)
    await turns()
    assert lost.result.exception() is not None
    assert lane.order == ["a", "b"]
    await lane.land()
    assert request.result.done()


async def test_a_model_that_is_drained_leaves_the_device_to_the_other():
    lane = Lane()
    leaving, staying = lane.benches
    leaving.offer(8)
    drained = asyncio.ensure_future(leaving.engine.drain())
    requests = [staying.offer(8) for _ in range(3)]
    await turns()
    while lane.share.running_batches:
        await lane.land()
    await asyncio.wait_for(drained, 10)
    assert all(request.result.done() for request in requests)


async def test_a_deadline_passes_while_the_other_model_has_the_device():
    lane = Lane()
    busy, waiting = lane.benches
    busy.offer(8)
    await turns()
    late = waiting.offer(1, deadline=waiting.now + 0.05)
    await turns()
    waiting.now += 1.0
    busy.offer(8)
    await lane.land()
    await turns()
    assert late.result.exception() is not None
    assert lane.order == ["a", "a"]


async def test_the_device_is_busy_once_however_many_models_use_it():
    lane = Lane(in_flight=2)
    for bench in lane.benches:
        bench.offer(8)
    await turns()
    for _ in lane.benches:
        for bench in lane.benches:
            bench.now += 0.003
        await lane.land()
    told = [ms for bench in lane.benches for _, ms in bench.notes.batches]
    assert told == pytest.approx([3.0, 3.0])


async def test_a_wish_to_be_asked_again_does_not_spin_while_the_other_model_has_the_device():
    lane = Lane(policy=policy_named("fixed_wait", wait_ms=5))
    busy, patient = lane.benches
    patient.offer(1)
    await turns()
    busy.offer(8)
    await turns()
    assert lane.order == ["a"]
    asked = []
    pump = patient.engine.pump
    patient.engine.pump = lambda: (asked.append(1), pump())
    patient.now += 0.010
    loop = asyncio.get_running_loop()
    end = loop.time() + 10
    while not asked:
        assert loop.time() < end
        await asyncio.sleep(0.001)
    await turns(50)
    assert len(asked) == 1
    await lane.land()
    assert lane.order == ["a", "b"]


async def test_a_deadline_is_told_while_another_model_holds_the_device():
    lane = Lane(policy=policy_named("fixed_wait", wait_ms=10.0))
    waiting, running = lane.benches
    running.offer(8)
    await turns()
    assert lane.order == ["b"]
    request = waiting.offer(1, deadline=waiting.now + 0.1)
    await turns()
    waiting.now += 0.05
    waiting.engine.pump()  # the wait for more rows is over, and the device is not free
    waiting.now += 0.1
    with pytest.raises(DeadlineExpired):
        await asyncio.wait_for(request.result, 10)
    assert lane.order == ["b"]
