"""Autoscaling by capacity through Serve: more replicas for a load that one does not bear, and none once it is over."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serve.deploying import Deploy
from tests.serve.tools import cards, eventually, infer_binary, outputs, slow_device

pytestmark = pytest.mark.serve

Array = np.ndarray[Any, Any]
ROWS = 16


def running() -> int:
    from ray import serve

    deployment = serve.status().applications["capacity"].deployments["AscendModel"]
    return int(deployment.replica_states.get("RUNNING", 0))


def none_is_left() -> bool:
    return running() == 0 and not cards()


async def test_a_load_beyond_what_one_bears_brings_two_and_silence_takes_both_away(
    deploy: Deploy, serve_url: str, tmp_path: Path, digits: Array, expected: Array
) -> None:
    # 160 rows/s are cleared at the most, and fewer than that are borne within 150 ms.
    deploy(
        "capacity",
        args={
            "name": "resnet",
            "autoscaling": {
                "policy": "capacity",
                "slo_ms": 150,
                "min_replicas": 0,
                "initial_replicas": 1,
                "max_replicas": 3,
                "idle_s": 3,
            },
        },
        ray_actor_options=slow_device(tmp_path, {"1": 40.0, "4": 60.0, "8": 75.0, "16": 100.0}),
    )
    assert running() == 1
    wanted = asyncio.Event()

    async def keep_asking(client: httpx.AsyncClient, place: int) -> None:
        mine = slice(ROWS * place, ROWS * (place + 1))
        path, body, headers = infer_binary(digits[mine])
        while not wanted.is_set():
            logits = outputs(await client.post(f"/capacity{path}", content=body, headers=headers))["logits"]
            assert (logits.argmax(1) == expected[mine].argmax(1)).all()

    async def watch() -> None:
        try:
            await asyncio.to_thread(eventually, "two replicas", lambda: running() >= 2)
        finally:
            wanted.set()

    async with httpx.AsyncClient(base_url=serve_url, timeout=60) as client:
        await asyncio.gather(watch(), *(keep_asking(client, place) for place in range(4)))
    await asyncio.to_thread(eventually, "no replica and no card", none_is_left)
