"""What keeps a lost card from others never hides what happened to the card."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from ascend_serve.errors import AclDeviceFault, AclTaskFault, LaneStalled

pytestmark = pytest.mark.serve

LOST = AclDeviceFault("acl.rt.set_device", 507010, "LOST_HEARTBEAT", "the card is lost")


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The room, on a node `ab` with one NPU of two, where another is free."""
    import ray

    from ascend_serve.serving.fleet import quarantine as room

    here = SimpleNamespace(get_accelerator_ids=lambda: {"NPU": ["3"]}, get_node_id=lambda: "ab")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: here)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"NPU": 2.0})
    monkeypatch.setattr(room, "available_resources_per_node", lambda: {"ab": {"NPU": 1.0}})
    monkeypatch.setattr(room.logger, "propagate", True)
    return room


@pytest.mark.parametrize(
    "question",
    ["ray.cluster_resources", "ascend_serve.serving.fleet.quarantine.available_resources_per_node"],
)
async def test_who_cannot_be_asked_for_npus_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, room: Any, caplog: pytest.LogCaptureFixture, question: str
) -> None:
    from ray.exceptions import RayError

    def unknown() -> dict[str, float]:
        raise RayError("the GCS is gone")

    monkeypatch.setattr(question, unknown)
    with caplog.at_level(logging.WARNING):
        await room.Quarantine(60.0, 1.0).sit_out(LOST)
    assert "the GCS is gone" in caplog.text


@pytest.mark.parametrize(
    ("fault", "hint"), [(LOST, False), (LaneStalled("the device did not open within 1 s"), True)]
)
async def test_a_start_that_took_too_long_is_told_the_setting(
    room: Any, caplog: pytest.LogCaptureFixture, fault: Exception, hint: bool
) -> None:
    with caplog.at_level(logging.ERROR):
        await room.Quarantine(60.0, 1.0).sit_out(fault)
    assert f"NPU 3 of node ab is lost ({fault})" in caplog.text
    assert ("start_timeout_s" in caplog.text) is hint


@pytest.mark.parametrize(
    ("npus", "free", "is_there"),
    [
        (1.0, {"ab": {}}, False),
        (1.0, {"ab": {"NPU": 1.0}}, True),
        (1.0, {"ab": {}, "cd": {"NPU": 1.0}}, True),
        (1.0, {"ab": {"NPU": 0.5}, "cd": {"NPU": 0.5}}, False),
        (0.5, {"ab": {"NPU": 0.5}}, False),  # the lost card's other half
        (0.5, {"ab": {"NPU": 1.0}}, True),
        (0.5, {"ab": {"NPU": 0.5}, "cd": {"NPU": 0.5}}, True),
        (0.5, {"ab": {"NPU": 0.5}, "cd": {"NPU": 0.25}}, False),
        (0.1, {"ab": {"NPU": 0.9}}, False),
        (0.1, {"ab": {"NPU": 0.9 + 0.1}}, True),
        (0.1, {"cd": {"NPU": 0.1}}, True),
    ],
)
def test_what_is_free_of_the_lost_card_is_not_another(
    room: Any, npus: float, free: dict[str, dict[str, float]], is_there: bool
) -> None:
    assert room.is_another_free(free, "ab", npus) is is_there


async def test_half_a_card_is_held_while_only_its_other_half_is_free(
    monkeypatch: pytest.MonkeyPatch, room: Any
) -> None:
    looks = iter([{"ab": {"NPU": 0.5}}, {"ab": {"NPU": 0.5}}, {"ab": {"NPU": 1.0}}])
    monkeypatch.setattr(room, "available_resources_per_node", lambda: next(looks))
    monkeypatch.setattr(room, "LOOK_S", 0.0)
    await room.Quarantine(60.0, 0.5).sit_out(LOST)
    assert next(looks, None) is None


def test_a_task_that_fails_says_nothing_of_the_card(room: Any) -> None:
    task = AclTaskFault(
        "acl.rt.synchronize_event", 507015, "AICORE_EXCEPTION", "an AI core raised an exception"
    )
    assert not room.is_of_the_card(task)
    assert room.is_of_the_card(LOST)
