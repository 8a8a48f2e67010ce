"""Requests of several shapes through file, device and engine, on whichever `acl` and `atc` are installed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ascend_serve.artifacts.artifact import Artifact, ready_made
from ascend_serve.batching.policy import policy_named
from ascend_serve.engine import Engine
from ascend_serve.errors import InvalidTensor
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.lane import Lane
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.signature import describe
from ascend_serve.spec.padding import PaddedLength
from tests.contract.models import compiled
from tests.contract.sessions import LIMIT_S

pytestmark = pytest.mark.contract

Arrays = dict[str, NDArray[Any]]

# Its sums tell what the padding holds; the gears of two inputs count in the order of the command line.
SEQUENCES = (
    "net (float[n,s] words, float[n,s,1] weights) => (float[n,s,2] each, float[n] total)"
    "<float[2] twice = {1, 2}, int64[1] last = {-1}, int64[2] both = {1, 2}>"
    "{ wide = Unsqueeze(words, last) each = Mul(wide, twice) weighted = Mul(wide, weights)"
    "  total = ReduceSum <keepdims = 0> (weighted, both) }"
)
SEQUENCE_GEARS = ["--input_shape=weights:-1,-1,1;words:-1,-1", "--dynamic_dims=4,8,4,8;1,8,1,8;2,16,2,16"]
PICTURES = "net (float[2,3,h,w] image) => (float[2,3,h,w] out) { out = Abs(image) }"
PICTURE_GEARS = ["--input_shape=image:2,3,-1,-1", "--dynamic_image_size=4,6;2,3"]
NV12 = """aipp_op { aipp_mode: static input_format: YUV420SP_U8 csc_switch: true }"""
CAMERA = "net (float[n,3,8,6] image) => (float[n,3,8,6] out) { out = Abs(image) }"
CAMERA_GEARS = ["--input_shape=image:-1,3,8,6", "--dynamic_batch_size=1,2"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Artifact]:
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "nv12.cfg").write_text(NV12)
    aipp = ["--input_format=NCHW", f"--insert_op_conf={folder / 'nv12.cfg'}"]
    told: dict[str, tuple[str, list[str]]] = {
        "sequences": (SEQUENCES, [*SEQUENCE_GEARS, "--input_format=ND"]),
        "pictures": (PICTURES, [*PICTURE_GEARS, "--input_format=NCHW"]),
        "camera": (CAMERA, [*CAMERA_GEARS, *aipp]),
    }
    return {
        name: ready_made(Path(compiled(folder, name, network, *options)), name)
        for name, (network, options) in told.items()
    }


def lane_of(artifact: Artifact) -> Lane:
    def open_sessions() -> list[Session]:
        device = Device.open()
        path = artifact.fetch()
        return [Session.open(device, path, artifact.spec, order=artifact.input_order, close_device=True)]

    return Lane(open_sessions)


@asynccontextmanager
async def engine_of(
    artifact: Artifact, policy: str, padded: tuple[PaddedLength, ...] = ()
) -> AsyncIterator[Engine]:
    """An engine over a lane of its own, drained at the end."""
    lane = lane_of(artifact)
    (report,) = await asyncio.to_thread(lane.start, LIMIT_S)
    try:
        engine = Engine(
            report.spec,
            lane.runner(0),
            slots=report.slots,
            times=report.times,
            policy=policy_named(policy),
            max_queued_rows=1000,
            padded=padded,
        )
        yield engine
        await engine.drain()
    finally:
        await asyncio.to_thread(lane.close, LIMIT_S)


async def answers(
    artifact: Artifact, requests: list[Arrays], padded: tuple[PaddedLength, ...] = ()
) -> list[Mapping[str, NDArray[Any]]]:
    """Serve all requests at once."""
    async with engine_of(artifact, "min_cost", padded) as engine:
        return list(await asyncio.wait_for(asyncio.gather(*map(engine.submit, requests)), LIMIT_S))


@pytest.mark.parametrize("name", ["sequences", "pictures", "camera"])
def test_file_and_device_tell_the_same(models: Mapping[str, Artifact], name: str) -> None:
    artifact = models[name]
    with Device.open() as device:
        seen = describe(device, artifact.fetch(), name, order=artifact.input_order)
    assert seen == artifact.spec


async def test_lengths_are_padded_and_cut_for_everybody(models: Mapping[str, Artifact]) -> None:
    random = np.random.default_rng(5)
    sizes = [
        (int(rows), int(length))
        for rows, length in zip(random.integers(1, 6, 40), random.integers(1, 17, 40), strict=True)
    ]
    requests: list[Arrays] = [
        {
            "words": random.integers(-9, 9, (rows, length)).astype(np.float32),
            "weights": random.integers(-9, 9, (rows, length, 1)).astype(np.float32),
        }
        for rows, length in sizes
    ]
    padded = PaddedLength(
        inputs={"words": 1, "weights": 1}, values={"words": 3, "weights": 2}, outputs={"each": 1}
    )
    found = await answers(models["sequences"], requests, (padded,))
    for request, answer, (_, length) in zip(requests, found, sizes, strict=True):
        words, weights = request["words"], request["weights"][:, :, 0]
        np.testing.assert_array_equal(answer["each"], words[:, :, np.newaxis] * np.float32([1, 2]))
        # A short one may run at the longer length beside others: which is cheaper was measured a moment ago. Sums of
        # a few hundred are whole numbers in half precision too.
        totals = [
            (words * weights).sum(axis=1) + 3 * 2 * (compiled - length)
            for compiled in (8, 16)
            if compiled >= length
        ]
        assert any(np.array_equal(answer["total"], total) for total in totals)


async def test_pictures_of_each_size_come_back_as_they_are(models: Mapping[str, Artifact]) -> None:
    random = np.random.default_rng(6)
    sizes = [(4, 6), (2, 3), (4, 6), (4, 6), (2, 3), (2, 3), (2, 3)]
    requests: list[Arrays] = [
        {"image": random.integers(-9, 9, (rows, 3, *size)).astype(np.float32)}
        for rows, size in enumerate(sizes, start=1)
    ]
    found = await answers(models["pictures"], requests)
    for request, answer in zip(requests, found, strict=True):
        np.testing.assert_array_equal(answer["out"], np.abs(request["image"]))


async def test_a_size_that_was_not_compiled_harms_itself_alone(models: Mapping[str, Artifact]) -> None:
    async with engine_of(models["pictures"], "pad_up") as engine:
        right = engine.offer({"image": np.full((1, 3, 2, 3), -1, np.float32)})
        with pytest.raises(InvalidTensor, match=r"the model takes \[rows, 3, 2, 3\] or \[rows, 3, 4, 6\]"):
            engine.offer({"image": np.zeros((1, 3, 4, 3), np.float32)})
        answer = await asyncio.wait_for(right.result, LIMIT_S)
        assert (answer["out"] == 1).all()


async def test_images_are_taken_as_they_lie_in_memory(models: Mapping[str, Artifact]) -> None:
    """NV12: grey of 120 (16 is black, by ATC's default matrix) whatever the size."""
    image = np.full((3, 12, 6, 1), 128, np.uint8)
    image[:, :8] = 120
    (answer,) = await answers(models["camera"], [{"image": image}])
    assert answer["out"].shape == (3, 3, 8, 6)
    # (298 * (120 - 16) + 128) >> 8 would be 121.06.
    assert np.abs(answer["out"] - 121).max() <= 1
