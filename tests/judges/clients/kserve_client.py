"""kserve's client over HTTP and gRPC. Arguments: host:http_port host:grpc_port."""

import asyncio
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from reporting import tell

NAME = "simple"
A = np.arange(32, dtype=np.int32).reshape(2, 16)
B = np.full((2, 16), 3, np.int32)


def request(binary, **fields):
    inputs = []
    for name, array in (("INPUT0", A), ("INPUT1", B)):
        given = InferInput(name, list(array.shape), "INT32")
        given.set_data_from_numpy(array, binary_data=binary)
        inputs.append(given)
    return InferRequest(NAME, inputs, **fields)


def right(response):
    found = {output.name: output.as_numpy() for output in response.outputs}
    np.testing.assert_array_equal(found["OUTPUT0"], A + B)
    np.testing.assert_array_equal(found["OUTPUT1"], A - B)


def rest():
    return InferenceRESTClient(RESTConfig(protocol="v2"))


def states_over_http(http, _):
    async def run():
        async with rest() as client:
            assert await client.is_server_live(http)
            assert await client.is_server_ready(http)
            assert await client.is_model_ready(http, NAME)

    asyncio.run(run())


def inference_over_http(http, _):
    async def run():
        async with rest() as client:
            for binary in (False, True):
                response = await client.infer(http, request(binary, request_id="r-1"), model_name=NAME)
                right(response)
                assert response.id == "r-1"

    asyncio.run(run())


def states_over_grpc(_, grpc):
    async def run():
        async with InferenceGRPCClient(grpc) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready(NAME)

    asyncio.run(run())


def inference_over_grpc(_, grpc):
    async def run():
        async with InferenceGRPCClient(grpc) as client:
            for binary in (False, True):
                response = await client.infer(request(binary, request_id="r-1"))
                right(response)
                assert response.id == "r-1"

    asyncio.run(run())


CHECKS = [states_over_http, inference_over_http, states_over_grpc, inference_over_grpc]

if __name__ == "__main__":
    tell(CHECKS, f"http://{sys.argv[1]}", sys.argv[2])
