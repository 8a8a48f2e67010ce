"""kserve's client with every datatype, over HTTP and gRPC. Arguments: host:http_port host:grpc_port."""

import asyncio
import sys

from elements import NUMPY, TYPED, rows, same
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from reporting import tell


def request(model, arrays, binary):
    """A request for a model; what `binary` names goes as bytes, and is asked for as bytes."""
    inputs, outputs = [], []
    for kind, array in arrays.items():
        given = InferInput(f"IN_{kind}", list(array.shape), kind)
        given.set_data_from_numpy(array, binary_data=kind in binary)
        inputs.append(given)
        outputs.append(RequestedOutput(f"OUT_{kind}", {"binary_data": kind in binary}))
    return InferRequest(model, inputs, request_outputs=outputs)


def right(response, arrays):
    found = {output.name: output.as_numpy() for output in response.outputs}
    for kind, array in arrays.items():
        same(found[f"OUT_{kind}"], array)


async def over_http(address, model, arrays, binary):
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        response = await client.infer(address, request(model, arrays, binary), model_name=model)
        right(response, arrays)


async def over_grpc(address, model, arrays, binary):
    async with InferenceGRPCClient(address) as client:
        right(await client.infer(request(model, arrays, binary)), arrays)


def bytes_over_http(http, _):
    arrays = {kind: rows(kind, finite=False) for kind in NUMPY}
    asyncio.run(over_http(http, "kinds", arrays, NUMPY))


def json_over_http(http, _):
    asyncio.run(over_http(http, "typed", {kind: rows(kind) for kind in TYPED}, ()))


def bytes_over_grpc(_, grpc):
    arrays = {kind: rows(kind, finite=False) for kind in NUMPY}
    asyncio.run(over_grpc(grpc, "kinds", arrays, NUMPY))


def typed_contents_over_grpc(_, grpc):
    arrays = {kind: rows(kind, finite=False) for kind in TYPED}
    asyncio.run(over_grpc(grpc, "typed", arrays, ()))


CHECKS = [bytes_over_http, json_over_http, bytes_over_grpc, typed_contents_over_grpc]

if __name__ == "__main__":
    tell(CHECKS, f"http://{sys.argv[1]}", sys.argv[2])
