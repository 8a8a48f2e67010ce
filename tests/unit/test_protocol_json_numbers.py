"""Long lists in pieces: read as one parse reads them, whatever is in the text."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.errors import RequestError
from ascend_serve.protocol import http_codec, json_numbers
from ascend_serve.protocol.http_codec import decode_infer
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import InferRequest

pytestmark = pytest.mark.unit

LIMITS = Limits(max_elements=1 << 20)


def read(text: bytes) -> InferRequest | str:
    """The request, or the words with which it is refused."""
    try:
        return decode_infer(text, None, LIMITS, model_name="m")
    except RequestError as error:
        return f"{type(error).__name__}: {error}"


def same(text: bytes) -> None:
    """Check that the text is read in pieces, however short it is, as it is read in one go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_codec, "_CHUNKED_FROM_BYTES", 1 << 30)
        whole = read(text)
        patch.setattr(http_codec, "_CHUNKED_FROM_BYTES", 0)
        patch.setattr(json_numbers, "_LONG_BYTES", 0)
        patch.setattr(json_numbers, "_PIECE_BYTES", 5)
        pieces = read(text)
    if isinstance(whole, str) or isinstance(pieces, str):
        assert pieces == whole
        return
    assert list(pieces.inputs) == list(whole.inputs)
    for name, array in whole.inputs.items():
        assert pieces.inputs[name].dtype == array.dtype
        np.testing.assert_array_equal(pieces.inputs[name], array)


def document(**tensors: Any) -> bytes:
    return orjson.dumps({"inputs": [{"name": name, **entry} for name, entry in tensors.items()]})


SHAPES = st.lists(st.integers(1, 3), min_size=0, max_size=3)
NUMBERS = st.one_of(
    st.integers(-300, 300),
    st.floats(width=32),
    st.integers(-(2**63), 2**64 - 1),
    st.booleans(),
    st.none(),
    st.text(max_size=2),
)


@given(st.data(), SHAPES, st.sampled_from(["FP32", "INT8", "UINT64", "BOOL", "FP16", "BYTES"]), st.booleans())
def test_right_and_wrong_elements(data: st.DataObject, shape: list[int], datatype: str, nested: bool) -> None:
    few = st.integers(0, 100) if data.draw(st.booleans()) else NUMBERS
    count = int(np.prod(shape))
    flat = data.draw(st.lists(few, min_size=count, max_size=count + data.draw(st.integers(0, 1))))
    values: Any = flat
    if nested and len(flat) == count:
        values = np.array(flat, object).reshape(shape).tolist()
    same(
        document(
            x={"datatype": datatype, "shape": shape, "data": values},
            y={"datatype": "INT8", "shape": [1], "data": [1]},
        )
    )


GOOD = document(
    x={"datatype": "INT32", "shape": [2, 2], "data": [[1, 22], [3, 4]]},
    y={"datatype": "FP32", "shape": [2], "data": [0.5, 1]},
)


@given(
    st.integers(0, len(GOOD) - 1), st.sampled_from(list(b'[]{}",:0123456789 -+.eEtn\n')), st.integers(0, 2)
)
def test_texts_with_one_byte_changed(place: int, octet: int, how: int) -> None:
    """Replaced, put in, or taken away."""
    put = b"" if how == 2 else bytes([octet])
    same(GOOD[:place] + put + GOOD[place + (how != 1) :])


@pytest.mark.parametrize(
    "data",
    [
        "[[1,2],3[,4]]",
        "[[1,2],[3,4]",
        "[[1,2][,3],4]",
        "[1 2,3,4]",
        "[1,2,3,4,]",
        "[,1,2,3]",
        "[1,2],[3,4]",
        "[[1,2],[3,4]]]",
        "[ [ 1 , 2 ] ,\n[3,4]\t]",
        "[01,2,3,4]",
        "[1,2,3,4] ",
        "[1.0,2,3,4]",
        "[1e400,2,3,4]",
        '{"":0}',
        '[1,2,3,{"":0}]',
        '[1,2,3,"4"]',
        "[]",
        "[[[1,2],[3,4]]]",
    ],
)
@pytest.mark.parametrize("datatype", ["INT32", "FP64"])
def test_lists_that_look_odd(data: str, datatype: str) -> None:
    same(f'{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":[2,2],"data":{data}}}]}}'.encode())


def test_marks_of_the_callers_own_stand_for_nothing() -> None:
    same(
        b'{"inputs":[{"name":"x","datatype":"INT8","shape":[2],"data":[1,2]},{"name":"y","datatype":"INT8","shape":[2],"data":{"":0}}]}'
    )
    same(b'{"parameters":{"data":[1,2]},"inputs":[{"name":"x","datatype":"INT8","shape":[2],"data":[1,2]}]}')
    same(
        b'{"id":"\\"data\\":[1,2]","inputs":[{"name":"x","datatype":"INT8","shape":[2],"data":[1,2],"data":[3,4]}]}'
    )


def test_a_long_list_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    real = orjson.loads

    def watched(text: bytes) -> Any:
        parsed.append(len(text))
        return real(text)

    array = np.arange(60_000, dtype=np.float32).reshape(3, 100, 200)
    text = document(x={"datatype": "FP32", "shape": [3, 100, 200], "data": array.tolist()})
    monkeypatch.setattr(orjson, "loads", watched)
    request = decode_infer(text, None, LIMITS, model_name="m")
    np.testing.assert_array_equal(request.inputs["x"], array)
    assert len(text) > 400_000
    assert max(parsed) < 40_000


def test_a_shape_that_is_too_large_costs_nothing() -> None:
    text = document(x={"datatype": "INT8", "shape": [1 << 10, 1 << 10], "data": [1] * 40_000})
    said = read(text)
    assert isinstance(said, str)
    assert "data holds 40000 elements" in said
