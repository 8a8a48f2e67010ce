"""Ask the served model over HTTP: `python examples/digits/client.py examples/digits/images/*.png`.

Sends pictures to `POST {url}/v2/models/{model}/infer` and prints the class of each. This is the Open
Inference Protocol v2 written out with the standard library, to show what is on the wire; any client of
that protocol (tritonclient, KServe's, MLServer's) will do as well. Two encodings of the same request:

--binary  a JSON header of `Inference-Header-Content-Length` bytes, then each tensor's little-endian bytes in
          the order of the header, which gives their number as `binary_data_size` (the protocol's binary
          tensor extension)
--json    tensors as lists of numbers; several times larger and slower, but readable

The exit status is 1 when an answer contradicts the label in a file's name or anything fails. Needs numpy
and pillow.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import numpy.typing as npt
from answers import print_table, read_answers
from preprocess import read_pictures

JSON_LENGTH = "Inference-Header-Content-Length"
ROWS_PER_REQUEST = 32

DTYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}


class ServerError(Exception):
    """The server cannot be reached, refused, or answered something else than was asked."""


def encode_request(image: npt.NDArray[np.float32], *, binary: bool) -> tuple[bytes, dict[str, str]]:
    """Write an inference request for the input `image`.

    Args:
        image: float32 `[N, 1, 32, 32]`.
        binary: send, and ask for, raw bytes instead of lists of numbers.

    Returns:
        The body and the HTTP headers that go with it.
    """
    tensor: dict[str, Any] = {"name": "image", "shape": list(image.shape), "datatype": "FP32"}
    if not binary:
        tensor["data"] = image.ravel().tolist()
        return json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"}
    raw = image.astype("<f4").tobytes()
    tensor["parameters"] = {"binary_data_size": len(raw)}
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return header + raw, {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(header))}


def decode_response(body: bytes, json_length: int | None = None) -> dict[str, npt.NDArray[Any]]:
    """Read an inference response.

    Args:
        body: the response's body.
        json_length: the number in its `Inference-Header-Content-Length`; None without that header.

    Returns:
        The outputs by name, each in the dtype and shape that the response states.

    Raises:
        ServerError: a body that is not such a response or ends too early.
    """
    header, tail = (body, b"") if json_length is None else (body[:json_length], body[json_length:])
    outputs: dict[str, npt.NDArray[Any]] = {}
    try:
        for tensor in json.loads(header)["outputs"]:
            dtype = np.dtype(DTYPES[tensor["datatype"]])
            size = tensor.get("parameters", {}).get("binary_data_size")
            if size is None:
                values = np.array(tensor["data"], dtype)
            else:
                values = np.frombuffer(tail[:size], dtype)
                tail = tail[size:]
            outputs[tensor["name"]] = values.reshape(tensor["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise ServerError(f"the response is not one of the Open Inference Protocol v2: {error!r}") from error
    return outputs


def infer(
    connection: http.client.HTTPConnection, path: str, image: npt.NDArray[np.float32], *, binary: bool
) -> npt.NDArray[Any]:
    """Send one request and return its `logits`.

    Args:
        connection: an open connection; it stays open for the next request.
        path: such as `/v2/models/resnet/infer`.
        image: float32 `[N, 1, 32, 32]`.
        binary: which encoding to use.

    Returns:
        `[N, 10]`, in the dtype that the server states.

    Raises:
        ServerError: any status but 200, with the server's own words; or a response without `logits`.
        OSError: the connection broke or the time limit passed (`TimeoutError`).
    """
    body, headers = encode_request(image, binary=binary)
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise ServerError(f"the server answered {response.status} {response.reason}: {error_text(answer)}")
    length = response.getheader(JSON_LENGTH)
    outputs = decode_response(answer, int(length) if length is not None else None)
    if "logits" not in outputs:
        raise ServerError(f"the response has no output 'logits', only {sorted(outputs)}")
    return outputs["logits"]


def error_text(body: bytes) -> str:
    """Return the text of an error answer: its `{"error": ...}`, or else its first 300 characters."""
    text = body.decode(errors="replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text[:300].strip() or "(no text)"


def ask(
    url: str, model: str, image: npt.NDArray[np.float32], *, rows: int, binary: bool, timeout_s: float
) -> npt.NDArray[Any]:
    """Send pictures in requests of at most `rows` over one connection.

    Returns:
        The logits of all pictures, `[N, 10]`.

    Raises:
        ServerError: with one line that says what to do.
    """
    parts = urlsplit(url)
    # Not urllib.request: it would send requests for the loopback address to a proxy named in the environment.
    kind = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}.get(parts.scheme)
    if kind is None or not parts.hostname:
        raise ServerError(f"'{url}' is not an address of the form http://host:port")
    connection = kind(parts.hostname, parts.port, timeout=timeout_s)
    try:
        connection.connect()
    except OSError as error:
        raise ServerError(
            f"no server at {url} ({error}); start one with `make serve` and wait until it is ready"
        ) from error
    path = f"{parts.path.rstrip('/')}/v2/models/{quote(model, safe='')}/infer"
    try:
        logits = [
            infer(connection, path, image[start : start + rows], binary=binary)
            for start in range(0, len(image), rows)
        ]
    except TimeoutError as error:
        raise ServerError(
            f"no answer from {url}{path} within {timeout_s:g} s; --timeout sets the limit"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise ServerError(f"the connection to {url} broke: {error}") from error
    finally:
        connection.close()
    return np.concatenate(logits)


def main(arguments: Sequence[str] | None = None) -> int:
    """Classify the pictures named on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Classify digits with the served model, over HTTP.")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="PNG or other picture")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server (default: %(default)s)")
    parser.add_argument("--model", default="resnet", help="the model's name there (default: %(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="limit per request (default: 30)"
    )
    parser.add_argument(
        "--one-by-one", action="store_true", help=f"one request per picture, not one per {ROWS_PER_REQUEST}"
    )
    encoding = parser.add_mutually_exclusive_group()
    encoding.add_argument("--binary", action="store_true", default=True, help="tensors as bytes (default)")
    encoding.add_argument("--json", dest="binary", action="store_false", help="tensors as lists of numbers")
    options = parser.parse_args(arguments)
    try:
        logits = ask(
            options.url,
            options.model,
            read_pictures(options.pictures),
            rows=1 if options.one_by_one else ROWS_PER_REQUEST,
            binary=options.binary,
            timeout_s=options.timeout,
        )
        answers = read_answers(options.pictures, logits)
    except (ServerError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if print_table(answers) else 1


if __name__ == "__main__":
    sys.exit(main())
