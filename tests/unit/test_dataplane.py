"""The data plane: what is checked before anything is submitted, and what comes back in which form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.dataplane import DataPlane
from ascend_serve.errors import (
    ConfigError,
    InvalidTensor,
    QueueFull,
    RequestError,
    RequestTooLarge,
)
from ascend_serve.protocol.checking import TensorCheck
from ascend_serve.protocol.messages import (
    Array,
    InferRequest,
    ModelMetadata,
    RequestedOutput,
    TensorMetadata,
)
from ascend_serve.spec.buckets import Bucket
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.padding import PaddedLength
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

DOUBLE = ModelSpec(
    "double",
    (TensorSpec("x", DataType.FP32, (-1, 3)),),
    (TensorSpec("y", DataType.FP32, (-1, 3)),),
    Gears((1, 8)),
)
SIMPLE = ModelSpec(
    "simple",
    (TensorSpec("INPUT0", DataType.INT32, (-1, 16)), TensorSpec("INPUT1", DataType.INT32, (-1, 16))),
    (TensorSpec("OUTPUT0", DataType.INT32, (-1, 16)), TensorSpec("OUTPUT1", DataType.INT32, (-1, 16))),
    Gears((4,)),
)
FIXED = ModelSpec(
    "fixed",
    (TensorSpec("x", DataType.UINT8, (2, 2)), TensorSpec("flag", DataType.BOOL, ())),
    (TensorSpec("y", DataType.FP64, (5,)),),
    Gears((1,)),
)

ENCODER = ModelSpec(
    "encoder",
    (TensorSpec("ids", DataType.INT64, (-1, -1)), TensorSpec("mask", DataType.INT64, (-1, -1))),
    (TensorSpec("hidden", DataType.FP32, (-1, -1, 4)),),
    Gears((1, 4)),
    (
        Bucket(Gears((1, 4)), {"ids": (16,), "mask": (16,), "hidden": (16, 4)}),
        Bucket(Gears((1,)), {"ids": (64,), "mask": (64,), "hidden": (64, 4)}),
    ),
)
WORDS = PaddedLength(inputs={"ids": 1, "mask": 1}, outputs={"hidden": 1})


class Engine:
    """An Inferer that computes DOUBLE or SIMPLE and remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[Mapping[str, Array], float | None, int | None]] = []
        self.error: Exception | None = None

    async def __call__(
        self, tensors: Mapping[str, Array], *, deadline_s: float | None = None, priority: int | None = None
    ) -> Mapping[str, Array]:
        self.calls.append((tensors, deadline_s, priority))
        if self.error is not None:
            raise self.error
        if "x" in tensors:
            return {"y": tensors["x"] * 2}
        first, second = tensors["INPUT0"], tensors["INPUT1"]
        return {"OUTPUT0": first + second, "OUTPUT1": first - second}


@pytest.fixture
def engine() -> Engine:
    return Engine()


def plane_of(spec: ModelSpec, engine: Engine) -> DataPlane:
    return DataPlane(spec, engine, ready=lambda: True, max_rows=100, priority_levels=3)


def pair(rows: int = 2) -> dict[str, Array]:
    return {
        "INPUT0": np.arange(rows * 16, dtype=np.int32).reshape(rows, 16),
        "INPUT1": np.ones((rows, 16), np.int32),
    }


# --- what is told -----------------------------------------------------------------------------------


def test_metadata_names_the_model(engine: Engine) -> None:
    plane = plane_of(SIMPLE, engine)
    told = ModelMetadata(
        "simple",
        ("1",),
        "ascend_om",
        (TensorMetadata("INPUT0", "INT32", (-1, 16)), TensorMetadata("INPUT1", "INT32", (-1, 16))),
        (TensorMetadata("OUTPUT0", "INT32", (-1, 16)), TensorMetadata("OUTPUT1", "INT32", (-1, 16))),
    )
    assert plane.metadata() == told
    assert plane.metadata(("1", "2")) == replace(told, versions=("1", "2"))


def test_ready_is_asked_each_time(engine: Engine) -> None:
    states = iter([True, False])
    plane = DataPlane(DOUBLE, engine, ready=lambda: next(states), max_rows=1)
    assert [plane.ready(), plane.ready()] == [True, False]


def test_a_plane_takes_at_least_one_row(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="max_rows is 0"):
        DataPlane(DOUBLE, engine, ready=lambda: True, max_rows=0)


async def test_the_most_rows_may_change_while_it_serves(engine: Engine) -> None:
    plane = plane_of(SIMPLE, engine)
    plane.take_at_most(2)
    with pytest.raises(RequestTooLarge, match="has 3 rows; at most 2"):
        await plane.infer(InferRequest("simple", pair(3)))
    with pytest.raises(ConfigError, match="max_rows is 0"):
        plane.take_at_most(0)
    await plane.infer(InferRequest("simple", pair(2)))
    plane.take_at_most(3)
    await plane.infer(InferRequest("simple", pair(3)))
    assert len(engine.calls) == 2


# --- infer ------------------------------------------------------------------------------------------


async def test_infer_returns_all_outputs_in_the_models_order(engine: Engine) -> None:
    response = await plane_of(SIMPLE, engine).infer(InferRequest("simple", pair(), id="7"))
    assert list(response.outputs) == ["OUTPUT0", "OUTPUT1"]
    np.testing.assert_array_equal(response.outputs["OUTPUT0"], pair()["INPUT0"] + 1)
    assert (response.model_name, response.model_version, response.id) == ("simple", "1", "7")


async def test_infer_returns_the_outputs_asked_for_in_that_order(engine: Engine) -> None:
    plane = plane_of(SIMPLE, engine)
    one = await plane.infer(InferRequest("simple", pair(), outputs=(RequestedOutput("OUTPUT1"),)))
    assert list(one.outputs) == ["OUTPUT1"]
    asked = (RequestedOutput("OUTPUT1"), RequestedOutput("OUTPUT0"))
    assert list((await plane.infer(InferRequest("simple", pair(), outputs=asked))).outputs) == [
        "OUTPUT1",
        "OUTPUT0",
    ]


async def test_an_unknown_output_is_refused_before_anything_runs(engine: Engine) -> None:
    request = InferRequest("simple", pair(), outputs=(RequestedOutput("OUTPUT2"),))
    with pytest.raises(InvalidTensor, match="no output 'OUTPUT2'; did you mean 'OUTPUT"):
        await plane_of(SIMPLE, engine).infer(request)
    assert engine.calls == []


async def test_deadlines_and_refusals_pass_through(engine: Engine) -> None:
    plane = plane_of(SIMPLE, engine)
    await plane.infer(InferRequest("simple", pair()), deadline_s=0.5)
    await plane.infer_arrays(pair(), deadline_s=1.5)
    assert [deadline for _, deadline, _ in engine.calls] == [0.5, 1.5]

    engine.error = QueueFull("64 rows wait", retry_after_s=2.0)
    with pytest.raises(QueueFull):
        await plane.infer(InferRequest("simple", pair()))


@pytest.mark.parametrize(
    ("parameters", "door", "asked"),
    [
        ({"timeout": 250_000}, (None, None), (0.25, None)),
        ({"timeout": 250_000}, (0.1, None), (0.1, None)),
        ({"timeout": 250_000}, (0.5, 3), (0.25, 3)),
        ({"timeout": 0}, (0.5, None), (0.5, None)),
        ({"timeout": 0, "priority": 0}, (None, None), (None, None)),
        ({"priority": 1}, (None, 2), (None, 1)),
        ({"priority": 0}, (None, 2), (None, 2)),
        ({"priority": 3}, (None, 2), (None, 3)),
        ({"priority": 4}, (None, 2), (None, 2)),
        ({"priority": 2**63 - 1}, (None, None), (None, None)),
        ({"binary_data_output": True}, (None, None), (None, None)),
    ],
)
async def test_timeout_and_priority_of_a_request_are_heeded(
    engine: Engine,
    parameters: dict[str, Any],
    door: tuple[float | None, int | None],
    asked: tuple[float | None, int | None],
) -> None:
    request = InferRequest("simple", pair(), parameters=parameters)
    await plane_of(SIMPLE, engine).infer(request, deadline_s=door[0], priority=door[1])
    assert [call[1:] for call in engine.calls] == [asked]


async def test_a_model_without_levels_takes_any_priority_for_the_default(engine: Engine) -> None:
    plane = DataPlane(SIMPLE, engine, ready=lambda: True, max_rows=100)
    for priority in (1, 2):
        await plane.infer(InferRequest("simple", pair(), parameters={"priority": priority}))
    assert [priority for _, _, priority in engine.calls] == [1, None]


@pytest.mark.parametrize("name", ["timeout", "priority"])
@pytest.mark.parametrize("value", [-1, True, 0.5, "5", None, 2**63, [1]])
async def test_what_is_no_timeout_or_priority_is_refused(engine: Engine, name: str, value: Any) -> None:
    request = InferRequest("simple", pair(), parameters={name: value})
    with pytest.raises(RequestError, match=f"parameter '{name}' is .*: give "):
        await plane_of(SIMPLE, engine).infer(request)
    assert engine.calls == []


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"deadline_s": float("nan")}, "deadline_s is nan: give seconds"),
        ({"deadline_s": True}, "deadline_s is True"),
        ({"deadline_s": "1"}, "deadline_s is '1'"),
        ({"priority": -1}, "'priority' is -1: give 1 for the most urgent"),
        ({"priority": 1.5}, "'priority' is 1.5"),
    ],
)
async def test_what_is_no_deadline_or_priority_of_a_handle_is_refused(
    engine: Engine, option: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        await plane_of(SIMPLE, engine).infer_arrays(pair(), **option)
    assert engine.calls == []


async def test_a_handle_says_deadline_and_priority(engine: Engine) -> None:
    plane = plane_of(SIMPLE, engine)
    await plane.infer_arrays(pair(), deadline_s=-0.5, priority=2)
    await plane.infer_arrays(pair(), priority=0)
    await plane.infer_arrays(pair(), priority=9)
    assert [call[1:] for call in engine.calls] == [(-0.5, 2), (None, None), (None, 9)]


# --- handles ----------------------------------------------------------------------------------------


async def test_one_array_in_gives_one_array_back(engine: Engine) -> None:
    back = await plane_of(DOUBLE, engine).infer_arrays(np.ones((2, 3), np.float32))
    assert isinstance(back, np.ndarray)
    assert back.tolist() == [[2, 2, 2]] * 2


async def test_a_dict_in_gives_a_dict_back(engine: Engine) -> None:
    back = await plane_of(DOUBLE, engine).infer_arrays({"x": np.ones((2, 3), np.float32)})
    assert isinstance(back, dict)
    assert list(back) == ["y"]


async def test_one_array_for_a_model_of_two_outputs_gives_a_dict(engine: Engine) -> None:
    spec = ModelSpec(
        "two", DOUBLE.inputs, (*DOUBLE.outputs, TensorSpec("z", DataType.FP32, (-1,))), Gears((1,))
    )

    async def both(
        tensors: Mapping[str, Array], *, deadline_s: float | None = None, priority: int | None = None
    ) -> Mapping[str, Array]:
        return {"z": tensors["x"].sum(axis=1), "y": tensors["x"]}

    plane = DataPlane(spec, both, ready=lambda: True, max_rows=4)
    back = await plane.infer_arrays(np.ones((1, 3), np.float32))
    assert isinstance(back, dict)
    assert list(back) == ["y", "z"]


@pytest.mark.parametrize(
    ("spec", "x", "message"),
    [
        (SIMPLE, np.ones((1, 16), np.int32), "has 2 inputs: give a dict with INPUT0, INPUT1, not one array"),
        (DOUBLE, [[1.0, 2.0, 3.0]], "infer got a list, but takes a dict of numpy arrays or one numpy array"),
        (DOUBLE, None, "infer got a NoneType"),
        (DOUBLE, {"x": [[1.0, 2.0, 3.0]]}, "input 'x' is a list, but must be a numpy array"),
        (DOUBLE, {}, "input 'x' is missing; model 'double' takes x"),
        (DOUBLE, {5: np.ones((1, 3), np.float32)}, "no input 5; known: x"),
    ],
)
async def test_a_handle_call_with_something_else_is_refused(
    engine: Engine, spec: ModelSpec, x: Any, message: str
) -> None:
    with pytest.raises(InvalidTensor, match=message):
        await plane_of(spec, engine).infer_arrays(x)
    assert engine.calls == []


# --- TensorCheck ------------------------------------------------------------------------------------


@given(st.integers(1, 100))
def test_rows_are_counted_along_axis_0(rows: int) -> None:
    assert TensorCheck(SIMPLE, 100)(pair(rows)) == rows


def test_a_model_without_batch_axis_has_one_row() -> None:
    tensors = {"x": np.zeros((2, 2), np.uint8), "flag": np.array(True)}
    assert TensorCheck(FIXED, 1)(tensors) == 1


def test_the_bound_on_rows_is_exact() -> None:
    assert TensorCheck(SIMPLE, 3)(pair(3)) == 3
    with pytest.raises(RequestTooLarge, match="the request has 4 rows; at most 3 are taken: split it"):
        TensorCheck(SIMPLE, 3)(pair(4))


@pytest.mark.parametrize("layout", ["read-only", "transposed", "strided", "unaligned"])
def test_any_memory_layout_is_taken(layout: str) -> None:
    plain = np.zeros((4, 3), np.float32)
    if layout == "read-only":
        plain.flags.writeable = False
    array = {
        "read-only": plain,
        "transposed": np.zeros((3, 4), np.float32).T,
        "strided": np.zeros((8, 6), np.float32)[::2, ::2],
        "unaligned": np.frombuffer(bytes(49), "<f4", offset=1).reshape(4, 3),
    }[layout]
    assert TensorCheck(DOUBLE, 4)({"x": array}) == 4


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.ones((1, 3)),
            r"dtype float64: the model takes FP32 \(float32\); nothing is converted in silence",
        ),
        (np.ones((1, 3), np.int32), "dtype int32: the model takes FP32"),
        (np.ones((1, 3), ">f4"), r"dtype >f4: in this byte order .* with \.astype\('float32'\)"),
        (np.ones((1, 3), object), "dtype object, which is BYTES, .*; the model takes FP32"),
        (np.ones(3, np.float32), r"shape \[3\], but the model takes \[-1, 3\] .*add a leading batch axis"),
        (np.ones((1, 4), np.float32), r"shape \[1, 4\], but the model takes \[-1, 3\] \(-1 is the number"),
        (np.ones((1, 1, 3), np.float32), r"shape \[1, 1, 3\], but the model takes"),
        (np.ones((3, 1), np.float32), r"shape \[3, 1\], but"),
        (np.array(1, np.float32), r"shape \[\], but the model takes"),
        (np.ones((0, 3), np.float32), r"shape \[0, 3\], .*at least one row"),
    ],
)
def test_an_array_that_does_not_fit_is_named(array: Array, message: str) -> None:
    with pytest.raises(InvalidTensor, match=f"input 'x' has {message}"):
        TensorCheck(DOUBLE, 100)({"x": array})


def test_fixed_shapes_are_exact() -> None:
    flag = np.array(False)
    with pytest.raises(InvalidTensor, match=r"shape \[1, 2, 2\], but the model takes \[2, 2\]$"):
        TensorCheck(FIXED, 1)({"x": np.zeros((1, 2, 2), np.uint8), "flag": flag})
    with pytest.raises(InvalidTensor, match=r"'flag' has shape \[1\], but the model takes \[\]$"):
        TensorCheck(FIXED, 1)({"x": np.zeros((2, 2), np.uint8), "flag": flag.reshape(1)})


def test_inputs_must_agree_on_their_rows() -> None:
    tensors = {"INPUT0": pair(2)["INPUT0"], "INPUT1": pair(3)["INPUT1"]}
    with pytest.raises(InvalidTensor, match="'INPUT1' has 3 rows, but input 'INPUT0' has 2"):
        TensorCheck(SIMPLE, 100)(tensors)


def test_missing_and_unknown_inputs_are_named() -> None:
    with pytest.raises(InvalidTensor, match="'INPUT1' is missing; model 'simple' takes INPUT0, INPUT1"):
        TensorCheck(SIMPLE, 100)({"INPUT0": pair()["INPUT0"]})
    with pytest.raises(InvalidTensor, match="'simple' has no input 'INPUT2'; did you mean 'INPUT"):
        TensorCheck(SIMPLE, 100)({**pair(), "INPUT2": pair()["INPUT0"]})


# --- several shapes ---------------------------------------------------------------------------------


def words(rows: int, length: int, masked: int | None = None) -> dict[str, Array]:
    return {
        "ids": np.zeros((rows, length), np.int64),
        "mask": np.zeros((rows, length if masked is None else masked), np.int64),
    }


def test_a_free_axis_takes_the_sizes_there_are() -> None:
    check = TensorCheck(ENCODER, 10)
    assert [check(words(rows, length)) for rows, length in ((1, 16), (7, 64), (1, 16))] == [1, 7, 1]
    message = r"'ids' has shape \[1, 17\], but the model takes \[-1, 16\|64\] \(-1 is the number of rows\)$"
    with pytest.raises(InvalidTensor, match=message):
        check(words(1, 17))


def test_a_padded_axis_takes_what_is_no_longer_than_the_longest() -> None:
    check = TensorCheck(ENCODER, 10, [WORDS])
    assert [check(words(2, length)) for length in (1, 16, 17, 64)] == [2] * 4
    for length in (0, 65):
        with pytest.raises(InvalidTensor, match=rf"shape \[1, {length}\], but the model takes \[-1, 1~64\]"):
            check(words(1, length))


@pytest.mark.parametrize("padded", [(), (WORDS,)])
def test_metadata_leaves_free_axes_open(engine: Engine, padded: tuple[PaddedLength, ...]) -> None:
    plane = DataPlane(ENCODER, engine, ready=lambda: True, max_rows=4, padded=padded)
    told = plane.metadata()
    assert [tensor.shape for tensor in (*told.inputs, *told.outputs)] == [(-1, -1), (-1, -1), (-1, -1, 4)]


def test_metadata_leaves_padded_axes_of_one_bucket_open(engine: Engine) -> None:
    padded = [PaddedLength(inputs={"x": 1}, outputs={"y": 1})]
    plane = DataPlane(DOUBLE, engine, ready=lambda: True, max_rows=4, padded=padded)
    told = plane.metadata()
    assert (told.inputs[0].shape, told.outputs[0].shape) == ((-1, -1), (-1, -1))


def test_shapes_that_were_right_are_not_taken_for_other_dtypes_or_classes() -> None:
    check = TensorCheck(DOUBLE, 4)
    assert check({"x": np.zeros((2, 3), np.float32)}) == 2
    for wrong in (np.zeros((2, 3)), [[0.0] * 3] * 2, None):
        with pytest.raises(InvalidTensor, match=r"'x' (has dtype|is a)"):
            check({"x": wrong})  # type: ignore[dict-item]  # what a handle's caller may send


_dtypes = st.sampled_from(["float32", ">f4", "float64", "int32", "bool", "object", "U3", "M8[s]"])


@given(
    st.dictionaries(
        st.sampled_from(["x", "y", ""]) | st.text(max_size=3),
        st.tuples(_dtypes, st.lists(st.integers(0, 4), max_size=4)),
        max_size=3,
    )
)
def test_whatever_comes_is_right_or_refused(given_tensors: dict[str, tuple[str, list[int]]]) -> None:
    tensors = {name: np.zeros(shape, dtype) for name, (dtype, shape) in given_tensors.items()}
    dtype, shape = given_tensors.get("x", ("", []))
    right = set(tensors) == {"x"} and dtype == "float32" and shape[1:] == [3] and 1 <= shape[0] <= 2
    try:
        rows = TensorCheck(DOUBLE, 2)(tensors)
    except RequestError:
        assert not right
    else:
        assert right
        assert rows == shape[0]
