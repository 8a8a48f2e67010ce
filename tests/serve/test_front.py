"""Both fronts, seen from outside: options of the Serve file reach them, and leaving a queue is final."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serve.tools import eventually, infer_binary, outputs

pytestmark = pytest.mark.serve

Array = np.ndarray[Any, Any]
Counters = Callable[[str], dict[str, float]]


async def post_one_by_one(url: str, prefix: str, rows: Array) -> Array:
    async def ask(client: httpx.AsyncClient, row: int) -> Array:
        path, body, headers = infer_binary(rows[row : row + 1])
        return outputs(await client.post(f"/{prefix}{path}", content=body, headers=headers))["logits"]

    limits = httpx.Limits(max_connections=len(rows))
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        return np.concatenate(await asyncio.gather(*(ask(client, row) for row in range(len(rows)))))


@pytest.mark.parametrize("front", ["batch", "direct"])
async def test_an_overridden_max_ongoing_requests_still_fills_the_largest_gear(
    deploy: Callable[..., Any],
    serve_url: str,
    slow_device: Callable[..., dict[str, Any]],
    counters: Counters,
    digits: Array,
    expected: Array,
    front: str,
) -> None:
    name = f"full-{front}"
    deploy(
        name,
        args={"front": front, "name": "resnet"},
        max_ongoing_requests=48,
        ray_actor_options=slow_device(300.0),
    )
    logits = await post_one_by_one(serve_url, name, digits[:48])
    np.testing.assert_array_equal(logits.argmax(axis=1), expected[:48].argmax(axis=1))

    def counted() -> dict[str, float] | None:
        found = counters(name)
        return found if found.get("ascend_serve_requests_total outcome=done") == 48 else None

    found = eventually("48 requests counted", counted)
    # While the first few run for 300 ms all the others have come: two batches of 16 hold 32 of them.
    assert found["ascend_serve_batches_total gear=16"] >= 2
    assert sum(count for key, count in found.items() if key.startswith("ascend_serve_real_rows_total")) == 48


@pytest.mark.parametrize("front", ["batch", "direct"])
def test_a_cancelled_handle_calls_ticket_never_runs(
    deploy: Callable[..., Any],
    slow_device: Callable[..., dict[str, Any]],
    counters: Counters,
    digits: Array,
    front: str,
) -> None:
    name = f"leave-{front}"
    handle = deploy(
        name,
        args={"front": front, "name": "resnet", "batching": {"slots": 1, "in_flight": 1}},
        # Metrics come after up to a second; the first must still be running then.
        ray_actor_options=slow_device({"1": 4000.0, "4": 20.0, "8": 20.0, "16": 20.0}),
    )
    first = handle.infer.remote(digits[:1])
    eventually("the first runs", lambda: counters(name).get("ascend_serve_batches_total gear=1") == 1)
    leaving = handle.infer.remote(digits[1:3])
    staying = handle.infer.remote(digits[3:4])
    eventually("two wait", lambda: counters(name).get("ascend_serve_queued_rows") == 3)
    leaving.cancel()
    assert first.result(timeout_s=60).shape == (1, 10)
    assert staying.result(timeout_s=60).shape == (1, 10)

    def ended() -> bool:
        found = counters(name)
        done = found.get("ascend_serve_requests_total outcome=done")
        return done == 2 and found.get("ascend_serve_requests_total outcome=cancelled") == 1

    eventually("two done and one cancelled", ended)
    rows = {key: count for key, count in counters(name).items() if "real_rows" in key}
    assert rows == {"ascend_serve_real_rows_total gear=1": 2.0}
