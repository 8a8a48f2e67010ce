"""tritonclient over gRPC with every datatype: as bytes, as typed contents, in a stream. Arguments: host:port."""

import queue
import sys

import tritonclient.grpc as client
from elements import COLUMNS, NUMPY, TYPED, another, rows, same
from reporting import refused, tell
from tritonclient.utils import InferenceServerException

CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
"""Which field of typed contents the protocol has for each datatype."""


def given(kind, array, datatype=None):
    made = client.InferInput(f"IN_{kind}", list(array.shape), datatype or kind)
    return made.set_data_from_numpy(array)


def right(result, arrays):
    for kind, array in arrays.items():
        same(result.as_numpy(f"OUT_{kind}"), array)


def the_signature_names_each(server):
    for model, kinds in (("kinds", list(NUMPY)), ("typed", TYPED)):
        told = server.get_model_metadata(model)
        for side, prefix in ((told.inputs, "IN"), (told.outputs, "OUT")):
            found = {each.name: (each.datatype, list(each.shape)) for each in side}
            assert found == {f"{prefix}_{kind}": (kind, [-1, COLUMNS]) for kind in kinds}, found
        config = server.get_model_config(model, as_json=True)["config"]
        found = {each["name"]: each["data_type"] for each in config["input"]}
        assert found == {f"IN_{kind}": f"TYPE_{kind}" for kind in kinds}, found


def bytes_both_ways(server):
    arrays = {kind: rows(kind, finite=False) for kind in NUMPY}
    right(server.infer("kinds", [given(kind, array) for kind, array in arrays.items()]), arrays)


def typed_contents(server):
    arrays = {kind: rows(kind, finite=False) for kind in TYPED}
    request = client.service_pb2.ModelInferRequest(model_name="typed")
    for kind, array in arrays.items():
        tensor = request.inputs.add(name=f"IN_{kind}", datatype=kind, shape=array.shape)
        getattr(tensor.contents, CONTENTS[kind]).extend(array.ravel().tolist())
    right(client.InferResult(server._client_stub.ModelInfer(request)), arrays)


def a_stream(server):
    arrays = {kind: rows(kind, finite=False) for kind in NUMPY}
    told = queue.Queue()
    server.start_stream(lambda result, error: told.put((result, error)))
    try:
        for _ in range(4):
            server.async_stream_infer("kinds", [given(kind, array) for kind, array in arrays.items()])
        for _ in range(4):
            result, error = told.get(timeout=60)
            assert error is None, error
            right(result, arrays)
    finally:
        server.stop_stream()


def another_datatype_is_refused(server):
    for wrong in NUMPY:
        array, other = another(wrong)
        inputs = [given(kind, rows(kind)) for kind in NUMPY if kind != wrong]
        inputs.append(given(wrong, array, other))
        error = refused(f"IN_{wrong}", InferenceServerException, server.infer, "kinds", inputs)
        assert "INVALID_ARGUMENT" in error.status()


CHECKS = [
    the_signature_names_each,
    bytes_both_ways,
    typed_contents,
    a_stream,
    another_datatype_is_refused,
]

if __name__ == "__main__":
    with client.InferenceServerClient(sys.argv[1]) as connected:
        tell(CHECKS, connected)
