"""tritonclient over HTTP with every datatype. Arguments: host:port."""

import sys

import tritonclient.http as client
from elements import COLUMNS, NUMPY, TYPED, another, rows, same
from reporting import refused, tell
from tritonclient.utils import InferenceServerException


def given(kind, array, binary=True, datatype=None):
    made = client.InferInput(f"IN_{kind}", list(array.shape), datatype or kind)
    return made.set_data_from_numpy(array, binary_data=binary)


def wanted(kind, binary):
    return client.InferRequestedOutput(f"OUT_{kind}", binary_data=binary)


def there_and_back(server, model, arrays, binary):
    """Send what `binary` says as bytes, the rest as JSON, and ask for the answers likewise."""
    inputs = [given(kind, array, kind in binary) for kind, array in arrays.items()]
    result = server.infer(model, inputs, outputs=[wanted(kind, kind in binary) for kind in arrays])
    for kind, array in arrays.items():
        same(result.as_numpy(f"OUT_{kind}"), array)
        assert ("data" in result.get_output(f"OUT_{kind}")) == (kind not in binary), kind


def the_signature_names_each(server):
    for model, kinds in (("kinds", list(NUMPY)), ("typed", TYPED)):
        told = server.get_model_metadata(model)
        for side, prefix in (("inputs", "IN"), ("outputs", "OUT")):
            found = {each["name"]: (each["datatype"], each["shape"]) for each in told[side]}
            assert found == {f"{prefix}_{kind}": (kind, [-1, COLUMNS]) for kind in kinds}, found
        config = {each["name"]: each["data_type"] for each in server.get_model_config(model)["input"]}
        assert config == {f"IN_{kind}": f"TYPE_{kind}" for kind in kinds}, config


def bytes_both_ways(server):
    there_and_back(server, "kinds", {kind: rows(kind, finite=False) for kind in NUMPY}, NUMPY)


def json_both_ways(server):
    there_and_back(server, "typed", {kind: rows(kind) for kind in TYPED}, ())


def half_floats_as_bytes_and_the_rest_as_json(server):
    there_and_back(server, "kinds", {kind: rows(kind) for kind in NUMPY}, ("FP16",))


def json_in_and_bytes_out(server):
    arrays = {kind: rows(kind) for kind in TYPED}
    result = server.infer("typed", [given(kind, array, False) for kind, array in arrays.items()])
    for kind, array in arrays.items():
        same(result.as_numpy(f"OUT_{kind}"), array)


def half_floats_have_no_json(server):
    arrays = {kind: rows(kind) for kind in NUMPY}
    inputs = [given(kind, array, kind != "FP16") for kind, array in arrays.items()]
    refused("IN_FP16", InferenceServerException, server.infer, "kinds", inputs)
    inputs = [given(kind, array) for kind, array in arrays.items()]
    asked = [wanted("FP16", binary=False)]
    refused("OUT_FP16", InferenceServerException, server.infer, "kinds", inputs, outputs=asked)


def what_is_not_finite_has_no_json(server):
    for odd in ("FP32", "FP64"):
        inputs = [given(kind, rows(kind, finite=kind != odd)) for kind in TYPED]
        asked = [wanted(odd, binary=False)]
        refused(f"OUT_{odd}", InferenceServerException, server.infer, "typed", inputs, outputs=asked)


def another_datatype_is_refused(server):
    for wrong in TYPED:
        array, other = another(wrong)
        for binary in (True, False) if other != "FP16" else (True,):
            inputs = [given(kind, rows(kind), binary) for kind in TYPED if kind != wrong]
            inputs.append(given(wrong, array, binary, other))
            refused(f"IN_{wrong}", InferenceServerException, server.infer, "typed", inputs)


CHECKS = [
    the_signature_names_each,
    bytes_both_ways,
    json_both_ways,
    half_floats_as_bytes_and_the_rest_as_json,
    json_in_and_bytes_out,
    half_floats_have_no_json,
    what_is_not_finite_has_no_json,
    another_datatype_is_refused,
]

if __name__ == "__main__":
    with client.InferenceServerClient(sys.argv[1]) as connected:
        tell(CHECKS, connected)
