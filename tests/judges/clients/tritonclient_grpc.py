"""tritonclient over gRPC, streams included. Arguments: host:port."""

import queue
import sys

import numpy as np
import tritonclient.grpc as client
from reporting import refused, tell
from tritonclient.utils import InferenceServerException

NAME = "simple"
A = np.arange(16, dtype=np.int32).reshape(1, 16)
B = np.full((1, 16), 3, np.int32)


def inputs(a=A, b=B):
    return [
        client.InferInput(name, list(array.shape), "INT32").set_data_from_numpy(array)
        for name, array in (("INPUT0", a), ("INPUT1", b))
    ]


def right(result, a=A, b=B):
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), a + b)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), a - b)


def states(server):
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready(NAME)
    assert server.is_model_ready(NAME, "1")


def metadata(server):
    assert "statistics" in server.get_server_metadata().extensions
    model = server.get_model_metadata(NAME, as_json=True)
    assert (model["name"], model["versions"]) == (NAME, ["1"])
    assert model["inputs"][0]["shape"] == ["-1", "16"]
    refused("no model 'other'", InferenceServerException, server.get_model_metadata, "other")


def configuration(server):
    config = server.get_model_config(NAME).config
    assert (config.name, list(config.input[0].dims)) == (NAME, [16])
    assert config.max_batch_size >= 1
    assert list(config.dynamic_batching.preferred_batch_size)


def repository(server):
    (entry,) = server.get_model_repository_index().models
    assert (entry.name, entry.version, entry.state) == (NAME, "1", "READY")
    refused("Serve file", InferenceServerException, server.load_model, NAME)
    refused("Serve file", InferenceServerException, server.unload_model, NAME)


def inference(server):
    right(server.infer(NAME, inputs()))


def typed_contents(server):
    request = client.service_pb2.ModelInferRequest(model_name=NAME)
    for name, array in (("INPUT0", A), ("INPUT1", B)):
        tensor = request.inputs.add(name=name, datatype="INT32", shape=array.shape)
        tensor.contents.int_contents.extend(array.ravel().tolist())
    right(client.InferResult(server._client_stub.ModelInfer(request)))


def one_output_is_asked_for(server):
    result = server.infer(NAME, inputs(), outputs=[client.InferRequestedOutput("OUTPUT1")])
    assert result.as_numpy("OUTPUT0") is None
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), A - B)


def id_and_version_and_parameters(server):
    result = server.infer(
        NAME,
        inputs(),
        model_version="1",
        request_id="é-1",
        priority=1,
        timeout=30_000_000,
        parameters={"mine": "yes", "flag": True, "half": 0.5},
    )
    right(result)
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("é-1", NAME, "1")


def compression(server):
    a = np.arange(64 * 16, dtype=np.int32).reshape(64, 16)
    for algorithm in ("gzip", "deflate"):
        right(server.infer(NAME, inputs(a, a), compression_algorithm=algorithm), a, a)


def classification(server):
    output = client.InferRequestedOutput("OUTPUT0", class_count=2)
    told = server.infer(NAME, inputs(), outputs=[output]).as_numpy("OUTPUT0")
    assert told.shape == (1, 2), told.shape
    assert [tuple(map(float, each.split(b":"))) for each in told[0]] == [(18, 15), (17, 14)]


def statistics(server):
    before = server.get_inference_statistics(NAME).model_stats[0]
    right(server.infer(NAME, inputs()))
    after = server.get_inference_statistics(NAME, "1").model_stats[0]
    assert after.inference_count == before.inference_count + 1
    assert after.inference_stats.success.count == before.inference_stats.success.count + 1
    assert server.get_inference_statistics().model_stats[0].name == NAME


def requests_side_by_side(server):
    told = queue.Queue()
    for number in range(32):
        a = np.full((1, 16), number, np.int32)
        server.async_infer(NAME, inputs(a), lambda result, error, a=a: told.put((a, result, error)))
    for _ in range(32):
        a, result, error = told.get(timeout=60)
        assert error is None, error
        right(result, a)


def a_stream(server):
    told = queue.Queue()
    server.start_stream(lambda result, error: told.put((result, error)))
    try:
        for number in range(32):
            server.async_stream_infer(
                NAME, inputs(np.full((1, 16), number, np.int32)), request_id=str(number)
            )
        seen = set()
        for _ in range(32):
            result, error = told.get(timeout=60)
            assert error is None, error
            response = result.get_response()
            right(result, np.full((1, 16), int(response.id), np.int32))
            assert response.parameters["triton_final_response"].bool_param
            seen.add(response.id)
        assert len(seen) == 32
    finally:
        server.stop_stream()


def a_stream_outlives_what_is_wrong_in_it(server):
    told = queue.Queue()
    server.start_stream(lambda result, error: told.put((result, error)))
    try:
        server.async_stream_infer("other", inputs())
        result, error = told.get(timeout=60)
        assert result is None
        assert "no model 'other'" in str(error), error
        server.async_stream_infer(NAME, inputs())
        result, error = told.get(timeout=60)
        assert error is None, error
        right(result)
    finally:
        server.stop_stream()


def a_stream_that_is_closed_ends_with_its_answers(server):
    told = queue.Queue()
    server.start_stream(lambda result, error: told.put((result, error)))
    for _ in range(8):
        server.async_stream_infer(NAME, inputs())
    server.stop_stream()  # waits for what was sent
    assert told.qsize() == 8
    while not told.empty():
        result, error = told.get()
        assert error is None, error
        right(result)


def what_is_wrong_is_told(server):
    other = client.InferInput("INPUT0", [1, 15], "INT32").set_data_from_numpy(A[:, :15])
    error = refused("has shape [1, 15]", InferenceServerException, server.infer, NAME, [other, inputs()[1]])
    assert "INVALID_ARGUMENT" in error.status()
    text = client.InferInput("INPUT0", [1, 16], "BYTES").set_data_from_numpy(A.astype(str).astype(np.object_))
    refused("BYTES", InferenceServerException, server.infer, NAME, [text, inputs()[1]])
    refused("is missing", InferenceServerException, server.infer, NAME, inputs()[:1])
    nothing = [client.InferRequestedOutput("OUTPUT7")]
    refused("no output 'OUTPUT7'", InferenceServerException, server.infer, NAME, inputs(), outputs=nothing)


CHECKS = [
    states,
    metadata,
    configuration,
    repository,
    inference,
    typed_contents,
    one_output_is_asked_for,
    id_and_version_and_parameters,
    compression,
    classification,
    statistics,
    requests_side_by_side,
    a_stream,
    a_stream_outlives_what_is_wrong_in_it,
    a_stream_that_is_closed_ends_with_its_answers,
    what_is_wrong_is_told,
]

if __name__ == "__main__":
    with client.InferenceServerClient(sys.argv[1]) as connected:
        tell(CHECKS, connected)
