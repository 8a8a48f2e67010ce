"""tritonclient's asyncio form over gRPC. Arguments: host:port."""

import asyncio
import sys

import numpy as np
import tritonclient.grpc.aio as client
from reporting import awaited, refused_async, tell
from tritonclient.grpc import InferInput
from tritonclient.utils import InferenceServerException

NAME = "simple"
A = np.arange(16, dtype=np.int32).reshape(1, 16)
B = np.full((1, 16), 3, np.int32)


def inputs(a=A, b=B):
    return [
        InferInput(name, list(array.shape), "INT32").set_data_from_numpy(array)
        for name, array in (("INPUT0", a), ("INPUT1", b))
    ]


def right(result, a=A, b=B):
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), a + b)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), a - b)


async def what_is_told(server):
    assert await server.is_server_live()
    assert await server.is_server_ready()
    assert await server.is_model_ready(NAME)
    assert "statistics" in (await server.get_server_metadata()).extensions
    assert list((await server.get_model_metadata(NAME)).versions) == ["1"]
    assert (await server.get_model_config(NAME)).config.name == NAME
    assert (await server.get_model_repository_index()).models[0].state == "READY"
    assert (await server.get_inference_statistics(NAME)).model_stats[0].name == NAME


async def inference(server):
    right(await server.infer(NAME, inputs(), request_id="1", compression_algorithm="gzip"))


async def requests_side_by_side(server):
    rows = [np.full((1, 16), number, np.int32) for number in range(32)]
    results = await asyncio.gather(*(server.infer(NAME, inputs(a)) for a in rows))
    for a, result in zip(rows, results, strict=True):
        right(result, a)


async def a_stream(server):
    async def requests():
        for number in range(16):
            a = np.full((1, 16), number, np.int32)
            name = "other" if number == 7 else NAME
            yield {"model_name": name, "inputs": inputs(a), "request_id": str(number)}

    seen = set()
    wrong = []
    async for result, error in server.stream_infer(requests()):
        if error is not None:
            wrong.append(str(error))
            continue
        number = int(result.get_response().id)
        right(result, np.full((1, 16), number, np.int32))
        seen.add(number)
    assert seen == set(range(16)) - {7}
    assert len(wrong) == 1
    assert "no model 'other'" in wrong[0], wrong


async def what_is_wrong_is_told(server):
    await refused_async("no model 'other'", InferenceServerException, server.infer("other", inputs()))


CHECKS = [what_is_told, inference, requests_side_by_side, a_stream, what_is_wrong_is_told]

if __name__ == "__main__":
    tell(map(awaited, CHECKS), lambda: client.InferenceServerClient(sys.argv[1]))
