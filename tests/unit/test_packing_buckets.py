"""Packing for models of several row shapes: padded, stacked and cut as plain numpy would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ascend_serve.batching.fitting import Size
from ascend_serve.batching.packing import Packer, Part
from ascend_serve.errors import ConfigError, InvalidTensor
from ascend_serve.spec.buckets import Bucket
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.padding import PaddedLength
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

Arrays = dict[str, NDArray[Any]]


def encoder_bucket(gears: tuple[int, ...], source: int, target: int) -> Bucket:
    shapes = {
        "ids": (source,),
        "cross": (target, source),
        "words": (target,),
        "seen": (source, 2),
        "said": (3, target),
        "score": (),
    }
    return Bucket(Gears(gears), shapes)


# Two lengths, of which one input has both; buckets stand in no order of size.
ENCODER = ModelSpec(
    "encoder",
    (
        TensorSpec("ids", DataType.INT64, (-1, -1)),
        TensorSpec("cross", DataType.FP16, (-1, -1, -1)),
        TensorSpec("words", DataType.UINT8, (-1, -1)),
    ),
    (
        TensorSpec("seen", DataType.FP32, (-1, -1, 2)),
        TensorSpec("said", DataType.INT16, (-1, 3, -1)),
        TensorSpec("score", DataType.FP64, (-1,)),
    ),
    Gears((1, 2, 4, 6)),
    (
        encoder_bucket((1, 4), 8, 2),
        encoder_bucket((1, 6), 3, 2),
        encoder_bucket((2,), 8, 5),
    ),
)
SOURCE = PaddedLength(
    inputs={"ids": 1, "cross": 2}, values={"ids": -1, "cross": float("-inf")}, outputs={"seen": 1}
)
TARGET = PaddedLength(inputs={"cross": 1, "words": 1}, values={"words": 7, "cross": 2}, outputs={"said": 2})
DETECTOR = ModelSpec(
    "detector",
    (TensorSpec("image", DataType.UINT8, (-1, 2, -1, -1)), TensorSpec("scale", DataType.FP32, (-1,))),
    (TensorSpec("map", DataType.UINT8, (-1, -1, -1)),),
    Gears((3,)),
    tuple(
        Bucket(Gears((3,)), {"image": (2, height, width), "scale": (), "map": (height, width)})
        for height, width in ((4, 2), (2, 4), (4, 4))
    ),
)
FRAMES = ModelSpec(
    "frames",
    (TensorSpec("x", DataType.FP32, (-1, 3), counted=False),),
    (TensorSpec("y", DataType.FP32, (-1,), counted=False), TensorSpec("n", DataType.INT32, ())),
    Gears((1,)),
    tuple(Bucket(Gears((1,)), {"x": (length, 3), "y": (length,), "n": ()}) for length in (4, 9)),
)


class FakeSlot:
    """Memory of one slot: each tensor's arrays of all buckets begin at the same byte."""

    def __init__(self, spec: ModelSpec, filler: int = 0x2A) -> None:
        self._spec = spec
        self._memory = {
            tensor.name: np.full(
                max(
                    spec.bytes_at(tensor.name, number, bucket.gears.largest)
                    for number, bucket in enumerate(spec.buckets)
                ),
                filler,
                np.uint8,
            )
            for tensor in (*spec.inputs, *spec.outputs)
        }

    def inputs_at(self, bucket: int) -> Arrays:
        return self._at(self._spec.inputs, bucket)

    def outputs_at(self, bucket: int) -> Arrays:
        return self._at(self._spec.outputs, bucket)

    def _at(self, tensors: tuple[TensorSpec, ...], bucket: int) -> Arrays:
        rows = self._spec.buckets[bucket].gears.largest
        found = {}
        for tensor in tensors:
            shape = self._spec.shape_at(tensor.name, bucket, rows)
            octets = self._memory[tensor.name][: self._spec.bytes_at(tensor.name, bucket, rows)]
            found[tensor.name] = octets.view(tensor.dtype.numpy).reshape(shape)
        return found


def encoder_request(rows: int, source: int, target: int, seed: int) -> Arrays:
    random = np.random.default_rng(seed)
    return {
        "ids": random.integers(1, 1000, (rows, source)),
        "cross": random.random((rows, target, source)).astype(np.float16),
        "words": random.integers(1, 6, (rows, target)).astype(np.uint8),
    }


def padded(array: NDArray[Any], lengths: dict[int, tuple[int, float]]) -> NDArray[Any]:
    """The oracle: `np.pad`, one axis after the other."""
    for axis, (length, value) in lengths.items():
        widths = [(0, 0)] * array.ndim
        widths[axis] = (0, length - array.shape[axis])
        array = np.pad(array, widths, constant_values=value)
    return array


requests = st.tuples(st.integers(1, 9), st.integers(1, 8), st.integers(1, 5), st.integers(0, 99))


@settings(max_examples=60)
@given(st.lists(requests, min_size=1, max_size=6), st.data())
def test_rows_are_padded_stacked_and_cut(
    wanted: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    packer = Packer(ENCODER, slots=1, padded=[SOURCE, TARGET])
    slot = FakeSlot(ENCODER)
    for rows, source, target, seed in wanted:
        inputs = encoder_request(rows, source, target, seed)
        size = packer.measure(inputs)
        right = [
            number for number, (s, t) in enumerate(((8, 2), (3, 2), (8, 5))) if source <= s and target <= t
        ]
        assert (size.rows, size.lengths, sorted(size.fits)) == (rows, (source, target), right)
        bucket = data.draw(st.sampled_from(size.fits))
        full_source, full_target = ENCODER.buckets[bucket].shapes["cross"][::-1]
        expected = {
            "ids": padded(inputs["ids"], {1: (full_source, -1)}),
            "cross": padded(inputs["cross"], {2: (full_source, -np.inf), 1: (full_target, 2)}),
            "words": padded(inputs["words"], {1: (full_target, 7)}),
        }
        outputs: Arrays = {}
        produced = []
        start = 0
        while start < rows:
            gear = data.draw(st.sampled_from(ENCODER.buckets[bucket].gears.sizes))
            taken = min(rows - start, gear)
            if start == 0:
                outputs = packer.room(size, bucket, taken)
            part = Part(inputs, outputs, start, taken, 0)
            packer.pack(0, bucket, gear, [part], slot.inputs_at(bucket))
            for name, array in slot.inputs_at(bucket).items():
                np.testing.assert_array_equal(array[:taken], expected[name][start : start + taken])
                assert not array[taken:gear].any()
            results = slot.outputs_at(bucket)
            for index, array in enumerate(results.values()):
                array[:gear] = np.random.default_rng([seed, start, index]).integers(0, 99, array[:gear].shape)
            produced.append({name: array[:taken].copy() for name, array in results.items()})
            packer.unpack(bucket, [part], results)
            start += taken
        whole = {name: np.concatenate([part[name] for part in produced]) for name in produced[0]}
        np.testing.assert_array_equal(outputs["seen"], whole["seen"][:, :source])
        np.testing.assert_array_equal(outputs["said"], whole["said"][:, :, :target])
        np.testing.assert_array_equal(outputs["score"], whole["score"])


def test_buckets_come_in_the_order_of_their_bytes() -> None:
    packer = Packer(ENCODER, slots=1, padded=[SOURCE, TARGET])
    assert packer.measure(encoder_request(1, 3, 2, 0)).fits == (1, 0, 2)


@given(
    st.lists(
        st.sampled_from([(0, 1, 1), (0, 4, 3), (0, 4, 4), (1, 6, 2), (1, 1, 1), (1, 6, 6), (2, 2, 1)]),
        min_size=1,
        max_size=12,
    )
)
def test_padding_never_holds_what_any_bucket_left(batches: list[tuple[int, int, int]]) -> None:
    packer = Packer(ENCODER, slots=1, padded=[SOURCE, TARGET])
    slot = FakeSlot(ENCODER)
    for bucket, gear, rows in batches:
        target, source = ENCODER.buckets[bucket].shapes["cross"]
        packer.pack(
            0,
            bucket,
            gear,
            [Part(encoder_request(rows, source, target, 1), {}, 0, rows, 0)],
            slot.inputs_at(bucket),
        )
        for array in slot.inputs_at(bucket).values():
            assert array[:rows].all()
            assert not array[rows:gear].any()


def test_padding_that_another_bucket_left_zero_is_not_written_again() -> None:
    packer = Packer(ENCODER, slots=1, padded=[SOURCE, TARGET])
    slot = FakeSlot(ENCODER)
    # All but the first row of bucket 0 is zeroed, which is all of bucket 2 but its first row.
    packer.pack(0, 0, 4, [Part(encoder_request(1, 8, 2, 0), {}, 0, 1, 0)], slot.inputs_at(0))
    slot.inputs_at(2)["ids"][1, 0] = 77
    packer.pack(0, 2, 2, [Part(encoder_request(1, 8, 5, 0), {}, 0, 1, 0)], slot.inputs_at(2))
    assert slot.inputs_at(2)["ids"][1].tolist() == [77, 0, 0, 0, 0, 0, 0, 0]


def test_free_axes_that_are_not_padded_are_exact() -> None:
    packer = Packer(DETECTOR, slots=1)
    scale = np.ones(2, np.float32)
    sizes = [
        packer.measure({"image": np.zeros((2, 2, h, w), np.uint8), "scale": scale})
        for h, w in ((2, 4), (4, 4))
    ]
    assert sizes == [Size(2, (1,), ()), Size(2, (2,), ())]
    with pytest.raises(
        InvalidTensor,
        match=r"'image' has shape \[2, 2, 2, 2\]; the model takes "
        r"\[rows, 2, 4, 2\] or \[rows, 2, 2, 4\] or \[rows, 2, 4, 4\]$",
    ):
        packer.measure({"image": np.zeros((2, 2, 2, 2), np.uint8), "scale": scale})


def test_inputs_have_to_fit_one_bucket_together() -> None:
    spec = ModelSpec(
        "m",
        (TensorSpec("a", DataType.INT8, (-1, -1)), TensorSpec("b", DataType.INT8, (-1, -1))),
        (TensorSpec("c", DataType.INT8, (-1,)),),
        Gears((1,)),
        tuple(Bucket(Gears((1,)), {"a": (a,), "b": (b,), "c": ()}) for a, b in ((2, 3), (3, 2))),
    )
    with pytest.raises(
        InvalidTensor,
        match=r"'a' \[1, 2\], 'b' \[1, 2\]; the model takes together "
        r"\[rows, 2\] with \[rows, 3\] or \[rows, 3\] with \[rows, 2\]",
    ):
        Packer(spec, slots=1).measure({"a": np.zeros((1, 2), np.int8), "b": np.zeros((1, 2), np.int8)})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ids": np.zeros((2, 4), np.int64)}, r"'ids' has 4 along axis 1, input 'cross' has 3 along axis 2"),
        ({"words": np.zeros((2, 0), np.uint8)}, r"'cross' has 2 along axis 1, input 'words' has 0"),
        (
            {"words": np.zeros((3, 2), np.uint8)},
            r"'words' has shape \[3, 2\]; it must be \[2, -1\] \(-1: one of",
        ),
        ({"words": np.zeros(2, np.uint8)}, r"'words' has shape \[2\]"),
        ({"words": np.zeros((2, 2), np.int8)}, r"'words' is int8\[2, 2\]; it must be uint8"),
    ],
)
def test_lengths_have_to_agree(changed: Arrays, message: str) -> None:
    packer = Packer(ENCODER, slots=1, padded=[SOURCE, TARGET])
    with pytest.raises(InvalidTensor, match=message):
        packer.measure(encoder_request(2, 3, 2, 0) | changed)


@pytest.mark.parametrize("source", [0, 9])
def test_a_length_that_no_bucket_holds_is_told_with_the_longest(source: int) -> None:
    packer = Packer(ENCODER, slots=1, padded=[SOURCE, TARGET])
    with pytest.raises(InvalidTensor, match=rf"'ids' has {source} along axis 1; the model takes 1 to 8$"):
        packer.measure(encoder_request(1, source, 2, 0))


def test_lengths_that_no_bucket_holds_together_are_told() -> None:
    spec = ModelSpec(
        "m",
        ENCODER.inputs,
        ENCODER.outputs,
        Gears((1, 6)),
        (encoder_bucket((1, 6), 3, 5), encoder_bucket((1,), 8, 2)),
    )
    packer = Packer(spec, slots=1, padded=[SOURCE, TARGET])
    with pytest.raises(
        InvalidTensor, match=r"'cross' has shape \[1, 5, 8\]; .*\[rows, 1~5, 1~3\] or \[rows, 1~2"
    ):
        packer.measure(encoder_request(1, 8, 5, 0))


def test_rows_of_one_bucket_may_be_padded_too() -> None:
    spec = ModelSpec(
        "m",
        (TensorSpec("x", DataType.INT8, (-1, 4)),),
        (TensorSpec("y", DataType.INT8, (-1, 4)),),
        Gears((2,)),
    )
    packer = Packer(spec, 1, [PaddedLength(inputs={"x": 1}, values={"x": 9}, outputs={"y": 1})])
    parts = []
    for at, length in enumerate((3, 4)):
        inputs = {"x": np.full((1, length), length, np.int8)}
        parts.append(Part(inputs, packer.room(packer.measure(inputs), 0, 1), 0, 1, at))
    room = {"x": np.zeros((2, 4), np.int8)}
    packer.pack(0, 0, 2, parts, room)
    assert room["x"].tolist() == [[3, 3, 3, 9], [4, 4, 4, 4]]
    packer.unpack(0, parts, {"y": room["x"] + 1})
    assert [part.outputs["y"].tolist() for part in parts] == [[[4, 4, 4]], [[5, 5, 5, 5]]]


def test_a_model_without_rows_is_padded_along_its_own_axes() -> None:
    packer = Packer(FRAMES, 1, [PaddedLength(inputs={"x": 0}, values={"x": 0.5}, outputs={"y": 0})])
    slot = FakeSlot(FRAMES)
    inputs: Arrays = {"x": np.ones((5, 3), np.float32)}
    size = packer.measure(inputs)
    assert size == Size(1, (1,), (5,))
    outputs = packer.room(size, 1, 1)
    parts = [Part(inputs, outputs, 0, 1, 0)]
    packer.pack(0, 1, 1, parts, slot.inputs_at(1))
    assert slot.inputs_at(1)["x"].tolist() == [[1.0] * 3] * 5 + [[0.5] * 3] * 4
    packer.unpack(1, parts, {"y": np.arange(9, dtype=np.float32), "n": np.array(3, np.int32)})
    assert (outputs["y"].tolist(), outputs["n"].tolist()) == ([0, 1, 2, 3, 4], 3)


def test_what_is_padded_has_to_be_the_models() -> None:
    with pytest.raises(ConfigError, match="no input 'picture'"):
        Packer(DETECTOR, 1, [PaddedLength(inputs={"picture": 2})])


def test_shapes_beyond_those_remembered_are_measured_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ascend_serve.batching.packing._MOST_KNOWN", 2)
    packer = Packer(DETECTOR, slots=1)
    for rows in (1, 2, 3, 1):
        inputs: Arrays = {"image": np.zeros((rows, 2, 4, 4), np.uint8), "scale": np.ones(rows, np.float32)}
        assert packer.measure(inputs) == Size(rows, (2,), ())
