"""Autoscaling by stock Serve options, each replica on a device of its own."""

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


def running() -> int:
    from ray import serve

    deployment = serve.status().applications["scale"].deployments["AscendModel"]
    return int(deployment.replica_states.get("RUNNING", 0))


def enough() -> bool:
    replicas = running()
    return replicas >= 3 and len(cards()) == replicas


async def test_load_brings_three_replicas_on_devices_of_their_own_and_silence_takes_them_away(
    deploy: Deploy,
    serve_url: str,
    tmp_path: Path,
    digits: Array,
    expected: Array,
) -> None:
    deploy(
        "scale",
        args={"name": "resnet"},
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": 4,
            "target_ongoing_requests": 2,
            "upscale_delay_s": 0.5,
            "downscale_delay_s": 1,
            "look_back_period_s": 1,
            "metrics_interval_s": 0.5,
        },
        ray_actor_options=slow_device(tmp_path, dict.fromkeys(("1", "4", "8", "16"), 100.0)),
    )
    assert running() == 1
    # Four are all there are; replicas of other applications give theirs back as their processes end.
    await asyncio.to_thread(eventually, "one card", lambda: len(cards()) == 1)
    wanted = asyncio.Event()

    async def keep_asking(client: httpx.AsyncClient, row: int) -> None:
        path, body, headers = infer_binary(digits[row : row + 1])
        while not wanted.is_set():
            logits = outputs(await client.post(f"/scale{path}", content=body, headers=headers))["logits"]
            assert logits.argmax() == expected[row].argmax()

    async def watch() -> None:
        try:
            await asyncio.to_thread(eventually, "three replicas, a card each", enough)
        finally:
            wanted.set()

    async with httpx.AsyncClient(base_url=serve_url, timeout=60) as client:
        await asyncio.gather(watch(), *(keep_asking(client, row) for row in range(16)))
    await asyncio.to_thread(eventually, "one replica again", lambda: running() == 1)
    await asyncio.to_thread(eventually, "one card again", lambda: len(cards()) == 1)
