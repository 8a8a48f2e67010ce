"""What makes a replica unhealthy, and that it stays so until it is replaced."""

import asyncio

import numpy as np
import pytest

from ascend_serve.batching.policy import PadUp
from ascend_serve.engine import Engine
from ascend_serve.errors import AclDeviceFault, AclServiceError, LaneStalled
from ascend_serve.runtime.lane import Heartbeat
from ascend_serve.serving import health
from ascend_serve.serving.health import check_device, watch_device
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

SPEC = ModelSpec(
    "m", (TensorSpec("x", DataType.INT32, (-1,)),), (TensorSpec("y", DataType.INT32, (-1,)),), Gears((1, 4))
)
IDLE = Heartbeat(progress_at=0.0, busy_since=None, fault=None)
BUSY = Heartbeat(progress_at=0.0, busy_since=0.0, fault=None)


class Lane:
    """Takes batches and keeps their `done`."""

    def __init__(self) -> None:
        self.dones: list = []

    def launch(self, slot, bucket, gear, pack, unpack, done) -> None:
        self.dones.append(done)


@pytest.fixture
async def lane() -> Lane:
    return Lane()


@pytest.fixture
async def engine(lane: Lane) -> Engine:
    return Engine(SPEC, lane, slots=1, times={}, policy=PadUp(), max_queued_rows=8)


async def request(engine: Engine):
    offered = engine.offer({"x": np.zeros(1, np.int32)})
    await asyncio.sleep(0)
    return offered


async def test_an_idle_device_and_one_that_works_are_healthy(engine: Engine) -> None:
    check_device(IDLE, [engine], now=1e6, stall_timeout_s=30)
    check_device(BUSY, [engine], now=30.0, stall_timeout_s=30)


async def test_a_failed_batch_is_no_illness(engine: Engine, lane: Lane) -> None:
    offered = await request(engine)
    lane.dones[0](AclServiceError("acl.mdl.execute_async", 300000, "STATE", "not now"), None)
    with pytest.raises(AclServiceError):
        await offered.result
    check_device(IDLE, [engine], now=1.0, stall_timeout_s=30)


async def test_a_stall_ends_the_requests_and_stays(engine: Engine, lane: Lane) -> None:
    offered = await request(engine)
    with pytest.raises(LaneStalled, match=r"for 31\.0 s .*stall_timeout_s = 30"):
        check_device(BUSY, [engine], now=31.0, stall_timeout_s=30)
    with pytest.raises(LaneStalled):
        await offered.result
    lane.dones[0](None, None)  # the device comes back, but the engine has given up
    await asyncio.sleep(0)
    with pytest.raises(LaneStalled):
        check_device(IDLE, [engine], now=32.0, stall_timeout_s=30)


@pytest.mark.parametrize(("second", "stalls"), [(Heartbeat(40.0, 40.0, None), False), (BUSY, True)])
async def test_a_stall_is_believed_when_it_is_seen_twice(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, second: Heartbeat, stalls: bool
) -> None:
    """The lane of a process that had no CPU for a while goes on as soon as the process does."""
    monkeypatch.setattr(health, "SECOND_LOOK_S", 0.0)
    beats = iter([BUSY, second])
    offered = await request(engine)
    watching = watch_device(lambda: next(beats), [engine], stall_timeout_s=30, clock=lambda: 41.0)
    if stalls:
        with pytest.raises(LaneStalled):
            await watching
    else:
        await watching
    assert offered.result.done() is stalls
    if stalls:
        assert isinstance(offered.result.exception(), LaneStalled)


async def test_a_fault_of_the_device_stays(engine: Engine) -> None:
    fault = AclDeviceFault("acl.rt.synchronize_event", 507011, "AICORE", "the AI core failed")
    beat = Heartbeat(progress_at=0.0, busy_since=None, fault=fault)
    for _ in range(2):
        with pytest.raises(AclDeviceFault, match="507011"):
            check_device(beat, [engine], now=0.0, stall_timeout_s=30)


@pytest.mark.parametrize("illness", ["stalls", "is lost"])
async def test_a_device_that_is_ill_ends_all_of_its_models(engine: Engine, lane: Lane, illness: str) -> None:
    other = Engine(SPEC, lane, slots=1, times={}, policy=PadUp(), max_queued_rows=8)
    waiting = await request(other)
    lost = AclDeviceFault("acl.rt.synchronize_event", 507899, "LOST", "the device is lost")
    beat = BUSY if illness == "stalls" else Heartbeat(progress_at=0.0, busy_since=None, fault=lost)
    kind = LaneStalled if illness == "stalls" else AclDeviceFault
    with pytest.raises(kind):
        check_device(beat, [engine, other], now=31.0, stall_timeout_s=30)
    with pytest.raises(kind):
        await waiting.result
    for each in (engine, other):
        with pytest.raises(kind):
            each.offer({"x": np.zeros(1, np.int32)})


async def test_what_one_model_met_ends_the_others(engine: Engine, lane: Lane) -> None:
    other = Engine(SPEC, lane, slots=1, times={}, policy=PadUp(), max_queued_rows=8)
    engine.fail(AclDeviceFault("acl.rt.synchronize_event", 507899, "LOST", "the device is lost"))
    with pytest.raises(AclDeviceFault):
        check_device(IDLE, [other, engine], now=0.0, stall_timeout_s=30)
    with pytest.raises(AclDeviceFault):
        other.offer({"x": np.zeros(1, np.int32)})
