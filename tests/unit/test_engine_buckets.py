"""The engine and requests of several shapes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ascend_serve.errors import (
    InvalidTensor,
)
from ascend_serve.spec.buckets import Bucket
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.padding import PaddedLength
from ascend_serve.spec.tensors import DataType, TensorSpec
from ascend_serve.spec.timing import Stages, Timing
from tests.unit.engine_bench import Bench, turns

pytestmark = pytest.mark.unit


GEARS = Gears((1, 4, 8))
SEQUENCES = ModelSpec(
    name="doubler",
    inputs=(TensorSpec("x", DataType.INT32, (-1, -1)),),
    outputs=(TensorSpec("y", DataType.INT32, (-1, -1)),),
    gears=GEARS,
    buckets=tuple(Bucket(GEARS, {"x": (length,), "y": (length,)}) for length in (4, 16)),
)
SEQUENCE_TIMES = {
    (bucket, gear): Timing(Stages(0.0, ms * (bucket + 1), 0.0), 0.0, 5)
    for bucket in (0, 1)
    for gear, ms in ((1, 1.0), (4, 2.0), (8, 3.0))
}


def sequence(rows: int, length: int, first: int) -> dict[str, NDArray[np.int32]]:
    return {"x": np.arange(first, first + rows * length, dtype=np.int32).reshape(rows, length)}


async def test_requests_run_in_the_buckets_they_fit_and_come_back_in_their_own_length() -> None:
    padded = [PaddedLength(inputs={"x": 1}, outputs={"y": 1})]
    bench = Bench(spec=SEQUENCES, times=SEQUENCE_TIMES, padded=padded, in_flight=1)
    sizes = [(2, 3), (1, 16), (3, 9), (1, 4), (12, 2)]
    given = [sequence(rows, length, 1000 * at) for at, (rows, length) in enumerate(sizes)]
    requests = [bench.engine.offer(tensors) for tensors in given]
    buckets = set()
    while not all(request.result.done() for request in requests):
        await turns()
        buckets.add(bench.lane.batches[0].bucket)
        bench.lane.run()
        await turns()
    for tensors, request in zip(given, requests, strict=True):
        np.testing.assert_array_equal((await request.result)["y"], tensors["x"] * 2, strict=True)
    assert buckets == {0, 1}


async def test_what_fits_no_bucket_harms_nobody_else() -> None:
    bench = Bench(spec=SEQUENCES, times=SEQUENCE_TIMES)
    good = bench.engine.offer(sequence(1, 16, 7))
    with pytest.raises(InvalidTensor):
        bench.engine.offer(sequence(1, 17, 0))
    await turns()
    bench.lane.run()
    np.testing.assert_array_equal((await good.result)["y"], sequence(1, 16, 7)["x"] * 2)
