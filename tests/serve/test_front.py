"""Both fronts, seen from outside: options of the Serve file reach them, and leaving a queue is final."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serve.deploying import Deploy
from tests.serve.tools import eventually, infer_binary, outputs, slow_device

pytestmark = pytest.mark.serve

Array = np.ndarray[Any, Any]
Counters = Callable[[str], dict[str, float]]
FRONTS = ("batch", "direct")


async def post_one_by_one(url: str, prefix: str, rows: Array) -> Array:
    async def ask(client: httpx.AsyncClient, row: int) -> Array:
        path, body, headers = infer_binary(rows[row : row + 1])
        return outputs(await client.post(f"/{prefix}{path}", content=body, headers=headers))["logits"]

    limits = httpx.Limits(max_connections=len(rows))
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        return np.concatenate(await asyncio.gather(*(ask(client, row) for row in range(len(rows)))))


@pytest.fixture(scope="module")
def served(deploy: Deploy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Handles of applications, all started at once: `full-<front>` and `leave-<front>` of both fronts."""
    from ray import serve

    even = slow_device(tmp_path_factory.mktemp("even"), dict.fromkeys(("1", "4", "8", "16"), 600.0))
    # Metrics come after up to a second; what runs then must still be running.
    uneven = slow_device(tmp_path_factory.mktemp("uneven"), {"1": 6000.0, "4": 20.0, "8": 20.0, "16": 20.0})
    for front in FRONTS:
        args = {"front": front, "name": "resnet"}
        deploy.add(f"full-{front}", args=args, max_ongoing_requests=48, ray_actor_options=even)
        one = {"batching": {"slots": 1, "in_flight": 1}}
        deploy.add(f"leave-{front}", args=args | one, ray_actor_options=uneven)
    deploy.apply()
    return {name: serve.get_app_handle(name) for name in deploy.names}


@pytest.mark.parametrize("front", FRONTS)
async def test_an_overridden_max_ongoing_requests_still_fills_the_largest_gear(
    served: dict[str, Any],
    serve_url: str,
    counters: Counters,
    digits: Array,
    expected: Array,
    front: str,
) -> None:
    name = f"full-{front}"
    logits = await post_one_by_one(serve_url, name, digits[:48])
    np.testing.assert_array_equal(logits.argmax(axis=1), expected[:48].argmax(axis=1))

    def counted() -> dict[str, float] | None:
        found = counters(name)
        return found if found.get("ascend_serve_requests_total outcome=done") == 48 else None

    found = eventually("48 requests counted", counted)
    # While the first few run for 600 ms all the others have come: two batches of 16 hold 32 of them.
    assert found["ascend_serve_batches_total gear=16"] >= 2
    assert sum(count for key, count in found.items() if key.startswith("ascend_serve_real_rows_total")) == 48


@pytest.mark.parametrize("front", FRONTS)
def test_a_cancelled_handle_calls_ticket_never_runs(
    served: dict[str, Any], counters: Counters, digits: Array, front: str
) -> None:
    name = f"leave-{front}"
    handle = served[name]
    first = handle.infer.remote(digits[:1])
    eventually("the first runs", lambda: counters(name).get("ascend_serve_batches_total gear=1") == 1)
    leaving = handle.infer.remote(digits[1:3])
    staying = handle.infer.remote(digits[3:7])
    eventually("two wait", lambda: counters(name).get("ascend_serve_queued_rows") == 6)
    leaving.cancel()
    assert first.result(timeout_s=60).shape == (1, 10)
    assert staying.result(timeout_s=60).shape == (4, 10)

    def ended() -> bool:
        found = counters(name)
        done = found.get("ascend_serve_requests_total outcome=done")
        return done == 2 and found.get("ascend_serve_requests_total outcome=cancelled") == 1

    eventually("two done and one cancelled", ended)
    rows = {key: count for key, count in counters(name).items() if "real_rows" in key}
    assert rows == {"ascend_serve_real_rows_total gear=1": 1.0, "ascend_serve_real_rows_total gear=4": 4.0}
