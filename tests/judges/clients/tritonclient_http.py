"""tritonclient over HTTP: every verb that it has for what is served. Arguments: host:port."""

import sys

import numpy as np
import tritonclient.http as client
from reporting import refused, tell
from tritonclient.utils import InferenceServerException

NAME = "simple"
A = np.arange(16, dtype=np.int32).reshape(1, 16)
B = np.full((1, 16), 3, np.int32)


def inputs(a=A, b=B, binary=True):
    made = []
    for name, array in (("INPUT0", a), ("INPUT1", b)):
        given = client.InferInput(name, list(array.shape), "INT32")
        made.append(given.set_data_from_numpy(array, binary_data=binary))
    return made


def right(result, a=A, b=B):
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), a + b)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), a - b)


def states(server):
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready(NAME)
    assert server.is_model_ready(NAME, "1")
    assert not server.is_model_ready("other")


def metadata(server):
    extensions = server.get_server_metadata()["extensions"]
    for name in (
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "statistics",
        "schedule_policy",
    ):
        assert name in extensions, name
    model = server.get_model_metadata(NAME)
    assert (model["name"], model["versions"]) == (NAME, ["1"])
    assert model["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": [-1, 16]}
    assert [each["name"] for each in model["outputs"]] == ["OUTPUT0", "OUTPUT1"]
    refused("no model 'other'", InferenceServerException, server.get_model_metadata, "other")
    refused("no version '9'", InferenceServerException, server.get_model_metadata, NAME, "9")


def configuration(server):
    config = server.get_model_config(NAME)
    assert config["name"] == NAME
    assert config["max_batch_size"] >= 1
    assert config["input"][0] == {"name": "INPUT0", "data_type": "TYPE_INT32", "dims": [16]}


def repository(server):
    (entry,) = server.get_model_repository_index()
    assert (entry["name"], entry["version"], entry["state"]) == (NAME, "1", "READY")
    refused("Serve file", InferenceServerException, server.load_model, NAME)
    refused("Serve file", InferenceServerException, server.unload_model, NAME)


def binary_both_ways(server):
    right(server.infer(NAME, inputs()))


def json_both_ways(server):
    outputs = [client.InferRequestedOutput(name, binary_data=False) for name in ("OUTPUT0", "OUTPUT1")]
    result = server.infer(NAME, inputs(binary=False), outputs=outputs)
    right(result)
    assert "data" in result.get_response()["outputs"][0]


def one_form_in_and_both_out(server):
    given = [inputs(binary=True)[0], inputs(binary=False)[1]]
    outputs = [
        client.InferRequestedOutput("OUTPUT1", binary_data=True),
        client.InferRequestedOutput("OUTPUT0", binary_data=False),
    ]
    result = server.infer(NAME, given, outputs=outputs)
    right(result)
    assert [each["name"] for each in result.get_response()["outputs"]] == ["OUTPUT1", "OUTPUT0"]


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
    assert (response["id"], response["model_name"], response["model_version"]) == ("é-1", NAME, "1")


def many_rows(server):
    a = np.arange(64 * 16, dtype=np.int32).reshape(64, 16)
    right(server.infer(NAME, inputs(a, a)), a, a)


def many_rows_as_json(server):
    a = np.arange(256 * 16, dtype=np.int32).reshape(256, 16) * 7919
    outputs = [client.InferRequestedOutput(name, binary_data=False) for name in ("OUTPUT0", "OUTPUT1")]
    right(server.infer(NAME, inputs(a, a, binary=False), outputs=outputs), a, a)


def compression(server):
    a = np.arange(64 * 16, dtype=np.int32).reshape(64, 16)
    for algorithm in ("gzip", "deflate"):
        result = server.infer(
            NAME,
            inputs(a, a),
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
        right(result, a, a)
        # What the client decompresses it does not tell; so it is asked for by hand.
        body, length = server.generate_request_body(inputs(a, a))
        answer = server._post(
            f"v2/models/{NAME}/infer",
            body,
            {"Accept-Encoding": algorithm, "Inference-Header-Content-Length": length},
            None,
        )
        assert answer.get("content-encoding") == algorithm
        answer.read()


def classification(server):
    for binary in (True, False):
        output = client.InferRequestedOutput("OUTPUT0", binary_data=binary, class_count=3)
        told = server.infer(NAME, inputs(), outputs=[output]).as_numpy("OUTPUT0")
        assert told.shape == (1, 3), told.shape
        words = [each.decode() if isinstance(each, bytes) else each for each in told[0]]
        assert [tuple(float(part) for part in each.split(":")) for each in words] == [
            (18, 15),
            (17, 14),
            (16, 13),
        ]


def statistics(server):
    before = server.get_inference_statistics(NAME)["model_stats"][0]
    right(server.infer(NAME, inputs()))
    after = server.get_inference_statistics(NAME, "1")["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + 1
    assert after["execution_count"] > before["execution_count"]
    success = after["inference_stats"]["success"]
    assert success["count"] == before["inference_stats"]["success"]["count"] + 1
    assert success["ns"] > before["inference_stats"]["success"]["ns"]
    assert server.get_inference_statistics()["model_stats"][0]["name"] == NAME


def requests_side_by_side(server):
    pending = []
    for number in range(32):
        a = np.full((1, 16), number, np.int32)
        pending.append((a, server.async_infer(NAME, inputs(a))))
    for a, request in pending:
        right(request.get_result(), a)


def what_is_wrong_is_told(server):
    def infer(given, **options):
        server.infer(NAME, given, **options)

    other = client.InferInput("INPUT0", [1, 15], "INT32").set_data_from_numpy(A[:, :15])
    refused("has shape [1, 15]", InferenceServerException, infer, [other, inputs()[1]])
    floats = client.InferInput("INPUT0", [1, 16], "FP32").set_data_from_numpy(A.astype(np.float32))
    refused("dtype float32", InferenceServerException, infer, [floats, inputs()[1]])
    text = client.InferInput("INPUT0", [1, 16], "BYTES").set_data_from_numpy(A.astype(str).astype(np.object_))
    refused("BYTES", InferenceServerException, infer, [text, inputs()[1]])
    refused("is missing", InferenceServerException, infer, inputs()[:1])
    nothing = [client.InferRequestedOutput("OUTPUT7")]
    refused("no output 'OUTPUT7'", InferenceServerException, infer, inputs(), outputs=nothing)


CHECKS = [
    states,
    metadata,
    configuration,
    repository,
    binary_both_ways,
    json_both_ways,
    one_form_in_and_both_out,
    one_output_is_asked_for,
    id_and_version_and_parameters,
    many_rows,
    many_rows_as_json,
    compression,
    classification,
    statistics,
    requests_side_by_side,
    what_is_wrong_is_told,
]

if __name__ == "__main__":
    with client.InferenceServerClient(sys.argv[1], concurrency=8) as connected:
        tell(CHECKS, connected)
