"""Record what tritonclient sends, for the replay in `tests/unit/test_recorded_clients.py`; nothing is sent.

Run it in the environment of the judge tritonclient, with its output in `tests/unit/data/tritonclient_calls.json`.
"""

import base64
import json
import sys
from importlib.metadata import version

import numpy as np
import tritonclient.grpc
import tritonclient.http

NAME = "simple"
A = np.arange(16, dtype=np.int32).reshape(1, 16)
B = np.full((1, 16), 3, np.int32)
MANY = np.arange(64 * 16, dtype=np.int32).reshape(64, 16)
CLASSES = 3


class Calls(list):
    """What was sent so far, and what the next call is to be known by."""

    title = ""


class Sent(Exception):  # noqa: N818  # nothing went wrong
    """Raised in place of an answer."""


def over_http():
    """Method, path, headers and body of each call."""
    calls = Calls()
    client = tritonclient.http.InferenceServerClient("127.0.0.1:1")

    def record(method):
        def send(request_uri, headers=None, body=b""):
            octets = body.encode() if isinstance(body, str) else body
            calls.append(
                {
                    "title": calls.title,
                    "method": method,
                    "path": request_uri,
                    "headers": {key: str(value) for key, value in (headers or {}).items()},
                    "body": base64.b64encode(octets).decode(),
                }
            )
            raise Sent

        return send

    class Stub:
        get = staticmethod(record("GET"))
        post = staticmethod(record("POST"))

        @staticmethod
        def close():
            """Nothing was opened."""

    client._client_stub = Stub()

    def inputs(a=A, b=B, binary=True):
        made = []
        for name, array in (("INPUT0", a), ("INPUT1", b)):
            given = tritonclient.http.InferInput(name, list(array.shape), "INT32")
            made.append(given.set_data_from_numpy(array, binary_data=binary))
        return made

    def wanted(*names, **options):
        return [tritonclient.http.InferRequestedOutput(name, **options) for name in names]

    both = ("OUTPUT0", "OUTPUT1")
    to_make = {
        "live": (client.is_server_live,),
        "ready": (client.is_server_ready,),
        "model ready": (client.is_model_ready, NAME, "1"),
        "server metadata": (client.get_server_metadata,),
        "model metadata": (client.get_model_metadata, NAME),
        "model config": (client.get_model_config, NAME),
        "statistics": (client.get_inference_statistics, NAME),
        "statistics of all": (client.get_inference_statistics,),
        "index": (client.get_model_repository_index,),
        "load": (client.load_model, NAME),
        "unload": (client.unload_model, NAME),
        "infer binary": (client.infer, NAME, inputs()),
    }
    for name, call in to_make.items():
        calls.title = name
        try:
            call[0](*call[1:])
        except Sent:
            continue
    for calls.title, given, options in (
        ("infer json", inputs(binary=False), {"outputs": wanted(*both, binary_data=False)}),
        (
            "infer version",
            inputs(),
            {"model_version": "1", "request_id": "é-1", "priority": 1, "timeout": 30_000_000},
        ),
        ("infer mixed", [inputs()[0], inputs(binary=False)[1]], {"outputs": wanted(*reversed(both))}),
        (
            "infer gzip",
            inputs(MANY, MANY),
            {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"},
        ),
        (
            "infer deflate",
            inputs(MANY, MANY),
            {"request_compression_algorithm": "deflate", "response_compression_algorithm": "deflate"},
        ),
        ("infer classes", inputs(), {"outputs": wanted("OUTPUT0", class_count=CLASSES)}),
    ):
        try:
            client.infer(NAME, given, **options)
        except Sent:
            continue
    return calls


def over_grpc():
    """RPC and message of each call."""
    calls = Calls()
    client = tritonclient.grpc.InferenceServerClient("127.0.0.1:1")

    class Stub:
        def __getattr__(self, rpc):
            def send(request, **_):
                octets = request.SerializeToString()
                calls.append({"title": calls.title, "rpc": rpc, "message": base64.b64encode(octets).decode()})
                raise Sent

            return send

    client._client_stub = Stub()

    def inputs(a=A, b=B):
        return [
            tritonclient.grpc.InferInput(name, list(array.shape), "INT32").set_data_from_numpy(array)
            for name, array in (("INPUT0", a), ("INPUT1", b))
        ]

    classes = [tritonclient.grpc.InferRequestedOutput("OUTPUT0", class_count=CLASSES)]
    for calls.title, call, given, options in (
        ("live", client.is_server_live, (), {}),
        ("ready", client.is_server_ready, (), {}),
        ("model ready", client.is_model_ready, (NAME, "1"), {}),
        ("server metadata", client.get_server_metadata, (), {}),
        ("model metadata", client.get_model_metadata, (NAME,), {}),
        ("model config", client.get_model_config, (NAME,), {}),
        ("statistics", client.get_inference_statistics, (NAME,), {}),
        ("index", client.get_model_repository_index, (), {}),
        ("load", client.load_model, (NAME,), {}),
        ("unload", client.unload_model, (NAME,), {}),
        ("infer", client.infer, (NAME, inputs()), {}),
        (
            "infer version",
            client.infer,
            (NAME, inputs()),
            {"model_version": "1", "request_id": "é-1", "priority": 1, "timeout": 30_000_000},
        ),
        ("infer many", client.infer, (NAME, inputs(MANY, MANY)), {}),
        ("infer classes", client.infer, (NAME, inputs()), {"outputs": classes}),
    ):
        try:
            call(*given, **options)
        except Sent:
            continue
    return calls


if __name__ == "__main__":
    recorded = {"tritonclient": version("tritonclient"), "http": over_http(), "grpc": over_grpc()}
    json.dump(recorded, sys.stdout, indent=1)
    sys.stdout.write("\n")
