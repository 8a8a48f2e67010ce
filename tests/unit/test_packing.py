from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ascend_serve.batching.fitting import Size
from ascend_serve.batching.packing import Packer, Part
from ascend_serve.errors import InvalidTensor
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

LARGEST = 8
SPEC = ModelSpec(
    name="mixed",
    inputs=(
        TensorSpec("image", DataType.FP32, (-1, 2, 3)),
        TensorSpec("weight", DataType.INT64, (-1,)),
        TensorSpec("mask", DataType.BOOL, (-1, 2)),
    ),
    outputs=(
        TensorSpec("image", DataType.FP32, (-1, 2, 3)),
        TensorSpec("weight", DataType.INT64, (-1,)),
        TensorSpec("mask", DataType.BOOL, (-1, 2)),
    ),
    gears=Gears((1, 4, LARGEST)),
)
WHOLE = ModelSpec(
    name="whole",
    inputs=(TensorSpec("a", DataType.FP32, (3, 2)), TensorSpec("scale", DataType.FP32, ())),
    outputs=(TensorSpec("b", DataType.FP32, (2,)), TensorSpec("norm", DataType.FP32, ())),
    gears=Gears((1,)),
)

Arrays = dict[str, NDArray[Any]]


def request(rows: int, first: int) -> Arrays:
    """A request whose every row is told from every other by `first`, `first + 1`, and so on."""
    ids = np.arange(first, first + rows)
    return {
        "image": np.broadcast_to(ids[:, None, None], (rows, 2, 3)).astype(np.float32),
        "weight": ids.astype(np.int64),
        "mask": np.stack([ids % 2 == 0, ids % 3 == 0], axis=1),
    }


def slot_arrays(filler: int = 1) -> Arrays:
    """A slot's inputs, full of what somebody left there."""
    return {t.name: np.full(t.at(LARGEST), filler, t.dtype.numpy) for t in SPEC.inputs}


def assert_same(left: Arrays, right: Arrays) -> None:
    assert left.keys() == right.keys()
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], strict=True)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.randoms())
def test_rows_come_back_to_whom_they_belong(sizes: list[int], order: Any) -> None:
    packer = Packer(SPEC, slots=1)
    firsts = accumulate(sizes, initial=0)
    inputs = [request(rows, first) for rows, first in zip(sizes, firsts, strict=False)]
    results: list[Arrays] = []
    batches: list[list[Part]] = [[]]
    for given_inputs, rows in zip(inputs, sizes, strict=True):
        start = 0
        while start < rows:
            at = sum(part.rows for part in batches[-1])
            if at == LARGEST:
                batches.append([])
                continue
            taken = min(rows - start, LARGEST - at)
            if start == 0:
                results.append(packer.room(Size(rows, (0,), ()), 0, taken))
            batches[-1].append(Part(given_inputs, results[-1], start, taken, at))
            start += taken
    # Batches may come back in any order; what they hold must not depend on it.
    order.shuffle(batches)
    slot = slot_arrays()
    for parts in batches:
        packer.pack(0, 0, LARGEST, parts, slot)
        packer.unpack(0, parts, {name: array.copy() for name, array in slot.items()})
    for given_inputs, outputs in zip(inputs, results, strict=True):
        assert_same(outputs, given_inputs)


@given(st.lists(st.sampled_from([(1, 1), (2, 4), (4, 4), (5, 8), (8, 8)]), min_size=1, max_size=12))
def test_padding_never_holds_what_was_there_before(batches: list[tuple[int, int]]) -> None:
    packer = Packer(SPEC, slots=1)
    slot = slot_arrays(filler=1)
    for rows, gear in batches:
        packer.pack(0, 0, gear, [Part(request(rows, 100), {}, 0, rows, 0)], slot)
        for array in slot.values():
            assert not array[rows:gear].any()


def test_padding_that_is_zero_already_is_not_written_again() -> None:
    packer = Packer(SPEC, slots=1)
    slot = slot_arrays()
    parts = [Part(request(5, 1), {}, 0, 5, 0)]
    packer.pack(0, 0, 8, parts, slot)
    slot["weight"][7] = 77
    packer.pack(0, 0, 8, parts, slot)
    assert slot["weight"][7] == 77


def test_slots_remember_their_padding_apart() -> None:
    packer = Packer(SPEC, slots=2)
    first, second = slot_arrays(), slot_arrays()
    parts = [Part(request(1, 1), {}, 0, 1, 0)]
    packer.pack(0, 0, 8, parts, first)
    packer.pack(1, 0, 8, parts, second)
    assert not second["weight"][1:].any()


def test_an_input_need_not_be_contiguous_or_writeable() -> None:
    packer = Packer(SPEC, slots=1)
    inputs = {name: np.repeat(array, 2, axis=0)[::2] for name, array in request(3, 5).items()}
    inputs["image"] = np.asfortranarray(inputs["image"])
    for array in inputs.values():
        array.setflags(write=False)
    slot = slot_arrays()
    packer.pack(0, 0, 4, [Part(inputs, {}, 0, 3, 0)], slot)
    assert_same({name: array[:3] for name, array in slot.items()}, request(3, 5))


def test_a_model_without_rows_goes_in_and_out_whole() -> None:
    packer = Packer(WHOLE, slots=1)
    inputs: Arrays = {"a": np.arange(6, dtype=np.float32).reshape(3, 2), "scale": np.array(2.5, np.float32)}
    size = packer.measure(inputs)
    assert size == Size(1, (0,), ())
    slot: Arrays = {"a": np.zeros((3, 2), np.float32), "scale": np.zeros((), np.float32)}
    outputs = packer.room(size, 0, 1)
    parts = [Part(inputs, outputs, 0, 1, 0)]
    packer.pack(0, 0, 1, parts, slot)
    assert_same(slot, inputs)
    produced: Arrays = {"b": np.array([3.0, 4.0], np.float32), "norm": np.array(5.0, np.float32)}
    packer.unpack(0, parts, produced)
    assert_same(outputs, produced)


def test_results_are_copies_that_outlive_the_slot() -> None:
    packer = Packer(SPEC, slots=1)
    whole, split = (packer.room(Size(2, (0,), ()), 0, rows) for rows in (2, 1))
    slot = slot_arrays(filler=0)
    packer.unpack(0, [Part({}, whole, 0, 2, 0), Part({}, split, 0, 1, 2), Part({}, split, 1, 1, 3)], slot)
    for array in slot.values():
        array[...] = 1
    for outputs in (whole, split):
        assert outputs.keys() == slot.keys()
        assert not any(array.any() for array in outputs.values())


@pytest.mark.parametrize("dtype", DataType, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("held", [0, 1 << 20])
def test_rows_of_every_datatype_are_copied_bit_for_bit(
    dtype: DataType, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ascend_serve.batching.packing._MOST_HELD_BYTES", held)
    tensors = (TensorSpec("x", dtype, (-1, 3, 2)),)
    packer = Packer(ModelSpec("m", tensors, tensors, Gears((4,))), slots=1)
    slot: Arrays = {"x": np.zeros((4, 3, 2), dtype.numpy)}
    rows = np.arange(24).reshape(4, 3, 2) % 2 == 0
    given_rows = rows.astype(dtype.numpy)
    strided: Arrays = {"x": np.stack([given_rows, given_rows], axis=-1)[2:, ..., 0]}
    plain: Arrays = {"x": given_rows[:2]}
    plain["x"].flags.writeable = False
    results = [packer.room(packer.measure(inputs), 0, 2) for inputs in (plain, strided)]
    parts = [Part(plain, results[0], 0, 2, 0), Part(strided, results[1], 0, 2, 2)]
    packer.pack(0, 0, 4, parts, slot)
    np.testing.assert_array_equal(slot["x"], given_rows, strict=True)
    packer.unpack(0, parts, slot)
    np.testing.assert_array_equal(np.concatenate([found["x"] for found in results]), given_rows, strict=True)
    assert all(found["x"].flags.writeable for found in results)


def test_rows_are_counted_along_axis_0() -> None:
    assert Packer(SPEC, slots=1).measure(request(7, 0)).rows == 7


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("weight", np.zeros(1, np.int64)),  # one row would be spread over all
        ("weight", np.zeros((3, 1), np.int64)),
        ("image", np.zeros((3, 3, 2), np.float32)),
        ("image", np.zeros((3, 2, 3), np.float64)),
        ("image", np.zeros((3, 2, 3), ">f4")),
        ("image", np.zeros((), np.float32)),
    ],
)
def test_tensors_that_do_not_fit_never_reach_a_batch(name: str, array: NDArray[Any]) -> None:
    with pytest.raises(InvalidTensor, match=f"'{name}'"):
        Packer(SPEC, slots=1).measure(request(3, 0) | {name: array})


def test_a_request_without_rows_never_reaches_a_batch() -> None:
    with pytest.raises(InvalidTensor, match=r"'image' has shape \[0, 2, 3\]; it must be \[1, 2, 3\]"):
        Packer(SPEC, slots=1).measure(request(0, 0))


def test_a_missing_input_never_reaches_a_batch() -> None:
    inputs = request(3, 0)
    del inputs["mask"]
    with pytest.raises(InvalidTensor, match="input 'mask' is missing"):
        Packer(SPEC, slots=1).measure(inputs)


def test_a_pack_that_fails_halfway_leaves_nothing_to_the_next_batch() -> None:
    packer = Packer(SPEC, slots=1)
    inputs = slot_arrays()
    first, last = request(1, 1), request(1, 9)
    packer.pack(0, 0, LARGEST, [Part(first, {}, 0, 1, 0)], inputs)
    broken = request(3, 50) | {"weight": np.ones((3, 2), np.int64)}
    with pytest.raises(ValueError, match="different structures"):
        packer.pack(0, 0, 4, [Part(request(1, 7), {}, 0, 1, 0), Part(broken, {}, 0, 3, 1)], inputs)
    packer.pack(0, 0, LARGEST, [Part(last, {}, 0, 1, 0)], inputs)
    for name, array in inputs.items():
        np.testing.assert_array_equal(array[:1], last[name])
        assert not array[1:].any(), name
