"""Both fronts, seen from outside: options of the Serve file reach them, and leaving a queue is final."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serve.deploying import Deploy
from tests.serve.tools import exported, infer_binary, outputs, slow_device, slow_down

pytestmark = pytest.mark.serve

Array = np.ndarray[Any, Any]
Counters = Callable[[str], dict[str, float]]
FRONTS = ("batch", "direct")
SLOWER = {"full": 3.0, "leave": 20.0}
"""Two emulated nodes, and how much slower their cards are than when replicas got ready on them.

What is left of 600 ms then is far above what a busy host takes to compute 16 rows: costs are measured at that.
"""


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

    even = dict.fromkeys(("1", "4", "8", "16"), 600.0)
    # Metrics come after up to a second, to the page of a busy host some seconds later; what runs then must run still.
    uneven = {"1": 30000.0, "4": 20.0, "8": 20.0, "16": 20.0}
    devices = {}
    for node, times in {"full": even, "leave": uneven}.items():
        quick = {gear: ms / SLOWER[node] for gear, ms in times.items()}
        devices[node] = slow_device(tmp_path_factory.mktemp(node), quick, ASCEND_EMULATOR_NODE=node)
    for front in FRONTS:
        args = {"front": front, "name": "resnet"}
        deploy.add(f"full-{front}", args=args, max_ongoing_requests=48, ray_actor_options=devices["full"])
        one = {"batching": {"policy": "pad_up", "slots": 1, "in_flight": 1}}
        deploy.add(f"leave-{front}", args=args | one, ray_actor_options=devices["leave"])
    deploy.apply()
    for node, factor in SLOWER.items():
        slow_down(node, Path(os.environ["RAY_TMPDIR"]), factor)
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

    found = exported("48 requests counted", counted)
    # While the first few run for 600 ms all the others have come: two batches of 16 hold 32 of them.
    assert found.get("ascend_serve_batches_total gear=16", 0.0) >= 2, found
    assert sum(count for key, count in found.items() if key.startswith("ascend_serve_real_rows_total")) == 48


def test_a_cancelled_handle_calls_ticket_never_runs(
    served: dict[str, Any], counters: Counters, digits: Array
) -> None:
    """Both fronts at once, each on a device of its own, since most of it is waiting for a batch that takes long."""
    names = [f"leave-{front}" for front in FRONTS]
    handles = [served[name] for name in names]

    def count(key: str) -> list[float]:
        return [counters(name).get(f"ascend_serve_{key}", 0.0) for name in names]

    first = [handle.infer.remote(digits[:1]) for handle in handles]
    exported("the first runs", lambda: count("batches_total gear=1") == [1, 1])
    leaving = [handle.infer.remote(digits[1:3]) for handle in handles]
    staying = [handle.infer.remote(digits[3:7]) for handle in handles]
    exported("two wait", lambda: count("queued_rows") == [6, 6])
    for each in leaving:
        each.cancel()
    assert [each.result(timeout_s=60).shape for each in first] == [(1, 10)] * 2
    assert [each.result(timeout_s=60).shape for each in staying] == [(4, 10)] * 2
    exported("two are done", lambda: count("requests_total outcome=done") == [2, 2])
    exported("one is cancelled", lambda: count("requests_total outcome=cancelled") == [1, 1])
    for name in names:
        rows = {key: count for key, count in counters(name).items() if "real_rows" in key}
        assert rows == {
            "ascend_serve_real_rows_total gear=1": 1.0,
            "ascend_serve_real_rows_total gear=4": 4.0,
        }
