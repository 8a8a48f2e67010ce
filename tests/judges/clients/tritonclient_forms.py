"""tritonclient with several models, in each form. Arguments: host:port of HTTP, host:port of gRPC."""

import sys

import numpy as np
import tritonclient.grpc
import tritonclient.http
from reporting import refused, tell
from tritonclient.utils import InferenceServerException

A = np.arange(16, dtype=np.int32).reshape(1, 16)
B = np.full((1, 16), 3, np.int32)


def inputs(client):
    made = [client.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    return [given.set_data_from_numpy(array) for given, array in zip(made, (A, B), strict=True)]


def right(result):
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), A + B)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), A - B)


def the_prefix_is_part_of_the_address_over_http(http, grpc):
    for application in ("models", "whole", "part"):
        with tritonclient.http.InferenceServerClient(f"{http}/{application}") as server:
            assert server.is_model_ready("simple")
            right(server.infer("simple", inputs(tritonclient.http)))


def metadata_names_the_application_over_grpc(http, grpc):
    with tritonclient.grpc.InferenceServerClient(grpc) as server:
        for application in ("models", "whole", "part"):
            named = {"application": application}
            assert server.is_model_ready("simple", headers=named)
            right(server.infer("simple", inputs(tritonclient.grpc), headers=named))


def the_models_of_one_replica_are_told_apart_by_name(http, grpc):
    image = np.zeros((1, 1, 32, 32), np.float32)
    with tritonclient.http.InferenceServerClient(f"{http}/models") as server:
        given = tritonclient.http.InferInput("image", image.shape, "FP32").set_data_from_numpy(image)
        assert server.infer("resnet", [given]).as_numpy("logits").shape == (1, 10)
    with tritonclient.grpc.InferenceServerClient(grpc) as server:
        given = tritonclient.grpc.InferInput("image", image.shape, "FP32").set_data_from_numpy(image)
        found = server.infer("resnet", [given], headers={"application": "models"})
        assert found.as_numpy("logits").shape == (1, 10)


def an_application_that_is_not_named_is_told(http, grpc):
    with tritonclient.grpc.InferenceServerClient(grpc) as server:
        refused(
            "metadata not set", InferenceServerException, server.infer, "simple", inputs(tritonclient.grpc)
        )


CHECKS = [
    the_prefix_is_part_of_the_address_over_http,
    metadata_names_the_application_over_grpc,
    the_models_of_one_replica_are_told_apart_by_name,
    an_application_that_is_not_named_is_told,
]

if __name__ == "__main__":
    tell(CHECKS, *sys.argv[1:])
