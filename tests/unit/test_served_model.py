"""One model of a replica, on a lane that runs what it is given at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from ascend_serve.batching.packing import Tensors
from ascend_serve.batching.sharing import Share
from ascend_serve.engine import Engine
from ascend_serve.errors import AclDeviceFault, ConfigError, RequestTooLarge
from ascend_serve.metrics import NullRecorder
from ascend_serve.protocol.messages import InferRequest
from ascend_serve.runtime.lane import Heartbeat, LaneReport
from ascend_serve.serving.config import ModelConfig
from ascend_serve.serving.doors.ahead import Patience
from ascend_serve.serving.served_model import ServedModel, Submit
from ascend_serve.spec.toolchain import Toolchain
from tests.unit.engine_bench import SPEC, TIMES, tensors

pytestmark = pytest.mark.unit


@dataclass
class Lane:
    """Doubles every number; keeps the gears of its batches."""

    fault: BaseException | None = None
    gears: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)

    def runner(self, session: int) -> Lane:
        assert session == 1
        return self

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(0.0, None, self.fault)

    def launch(
        self,
        slot: int,
        bucket: int,
        gear: int,
        pack: Callable[[Tensors], None],
        unpack: Callable[[Tensors], None],
        done: Callable[[BaseException | None, Any], None],
    ) -> None:
        self.gears.append(gear)
        slots = {"x": np.zeros((8, 2), np.int32)}
        pack(slots)
        unpack({"y": slots["x"] * 2})
        done(None, None)

    def keep(self, number: int, times: object) -> None:
        assert times == TIMES
        self.kept.append(number)


@pytest.fixture
def lane() -> Lane:
    return Lane()


def served(lane: Lane, front: Any = None, **settings: Any) -> ServedModel:
    report = LaneReport(SPEC, "Ascend310P3", Toolchain("huawei", "8.0.0"), 2, TIMES)
    whole: Any = lane
    return ServedModel(
        ModelConfig.model_validate({"recipe": "r", **settings}),
        "3",
        report,
        lane=whole,
        number=1,
        share=Share(2),
        opening=whole,
        recorder=NullRecorder(),
        front=front,
    )


async def ask(model: ServedModel, rows: int) -> Any:
    answer = await asyncio.wait_for(model.plane.infer(InferRequest("doubler", tensors(rows))), 10)
    np.testing.assert_array_equal(answer.outputs["y"], tensors(rows)["x"] * 2)
    return answer


async def test_it_answers_in_its_version_and_keeps_its_times(lane: Lane) -> None:
    model = served(lane, batching={"policy": "pad_up"})
    await model.prepared()
    assert (await ask(model, 3)).model_version == "3"
    assert lane.gears == [4]
    model.keep_times()
    assert lane.kept == [1]
    await model.drain()
    await model.close_journal()


async def test_settings_are_taken_while_it_serves(lane: Lane) -> None:
    model = served(lane, batching={"policy": "pad_up"})
    await ask(model, 3)
    fixed = {"batching": {"policy": "fixed", "gear": 8}, "limits": {"max_rows": 4}}
    config = ModelConfig.model_validate({"recipe": "r", **fixed})
    model.check(config)
    await model.take(config)
    await ask(model, 3)
    assert lane.gears == [4, 8]
    with pytest.raises(RequestTooLarge, match="has 5 rows; at most 4"):
        await ask(model, 5)


@pytest.mark.parametrize(
    "batching", [{"policy": "fixed", "gear": 5}, {"policy": "fixed_wait", "max_batch_size": 9}]
)
async def test_settings_that_do_not_fit_are_found_before_anything_changes(
    lane: Lane, batching: dict[str, Any]
) -> None:
    model = served(lane, batching={"policy": "pad_up"})
    with pytest.raises(ConfigError):
        model.check(ModelConfig.model_validate({"recipe": "r", "batching": batching}))
    await ask(model, 3)
    assert lane.gears == [4]


async def test_a_fault_of_the_lane_makes_it_unready(lane: Lane) -> None:
    model = served(lane)
    assert model.plane.ready()
    lane.fault = AclDeviceFault("acl.rt.synchronize_event", 507899, "LOST", "the device is lost")
    assert not model.plane.ready()


async def test_a_front_stands_before_the_engine(lane: Lane) -> None:
    largest: list[int] = []

    def front(engine: Engine, gear: int) -> Submit:
        largest.append(gear)
        return engine.submit

    await ask(served(lane, front), 1)
    assert largest == [8]


async def test_its_requests_wait_at_a_door_as_its_queue_and_its_deadlines_let_them(lane: Lane) -> None:
    model = served(lane, batching={"max_queued_rows": 40})
    assert model.patience() == Patience(40, None)
    changed = {
        "recipe": "r",
        "batching": {"max_queued_rows": 9, "default_deadline_ms": 250},
        "limits": {"max_rows": 8},
    }
    await model.take(ModelConfig.model_validate(changed))
    assert model.patience() == Patience(9, 0.25)
