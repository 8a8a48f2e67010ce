"""Whether there are other replicas may not be known; then a request ends with what happened to the device."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ascend_serve.errors import AclDeviceFault

pytestmark = pytest.mark.serve

FAULT = AclDeviceFault("acl.rt.synchronize_event", 507011, "AICORE", "the AI core failed")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The room, in an actor as far as `ReplicaLost` looks; Ray would start itself to say that there is none."""
    import ray

    from ascend_serve.serving.fleet import elsewhere as room

    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_actor_id=lambda: "ab"))
    return room


@pytest.mark.parametrize("kind", ["KeyError", "RayError"])
async def test_who_cannot_be_asked_for_other_replicas_is_as_good_as_none(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Any, kind: str
) -> None:
    from ray.exceptions import RayError

    from ascend_serve.serving.fleet.lost import ReplicaLost

    error = {"KeyError": KeyError, "RayError": RayError}[kind]("the controller is gone")

    def unknown() -> bool:
        raise error

    monkeypatch.setattr(elsewhere, "_others_run", unknown)
    ask = elsewhere.Elsewhere("digits", "1")
    for _ in range(2):  # the second is told what the first found
        with pytest.raises(ReplicaLost, match="the AI core failed"):
            await ask(FAULT, {"x": np.zeros((1, 2))}, None, None)


async def test_a_controller_that_does_not_answer_is_not_waited_for_past_the_deadline(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Any
) -> None:
    from ascend_serve.serving.fleet.lost import ReplicaLost

    answers = threading.Event()
    monkeypatch.setattr(elsewhere, "_others_run", answers.wait)
    ask = elsewhere.Elsewhere("digits", "1")
    try:
        with pytest.raises(ReplicaLost):
            await ask(FAULT, {"x": np.zeros((1, 2))}, time.monotonic() + 0.01, None)
    finally:
        answers.set()


async def test_what_fails_for_many_requests_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Any
) -> None:
    from ray.exceptions import RayError

    from ascend_serve.serving.fleet.lost import ReplicaLost

    async def fails(*_: Any) -> Any:
        raise RayError("the other is gone as well")

    told: list[str] = []
    monkeypatch.setattr(elsewhere, "_others_run", lambda: True)
    monkeypatch.setattr(elsewhere.logger, "warning", told.append)
    ask = elsewhere.Elsewhere("digits", "1")
    monkeypatch.setattr(ask, "_ask", fails)
    for _ in range(3):
        with pytest.raises(ReplicaLost):
            await ask(FAULT, {"x": np.zeros((1, 2))}, None, None)
    assert len(told) == 1
    assert "the other is gone as well" in told[0]
