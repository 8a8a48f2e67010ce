"""Models with several sets of row shapes: what a spec may be, and how gears become buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.errors import ConfigError
from ascend_serve.spec.buckets import Bucket
from ascend_serve.spec.geared import GearedTensor, geared_spec
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

IDS = TensorSpec("ids", DataType.INT64, (-1, -1))
HIDDEN = TensorSpec("hidden", DataType.FP32, (-1, -1, 4))
SHORT = Bucket(Gears((1, 4)), {"ids": (16,), "hidden": (16, 4)})
LONG = Bucket(Gears((1,)), {"ids": (64,), "hidden": (64, 4)})


def test_one_bucket_is_made_of_the_gears_and_the_shapes() -> None:
    spec = ModelSpec(
        "m",
        (TensorSpec("x", DataType.FP16, (-1, 3)),),
        (TensorSpec("y", DataType.FP32, (-1,)),),
        Gears((1, 8)),
    )
    assert spec.buckets == (Bucket(Gears((1, 8)), {"x": (3,), "y": ()}),)
    assert not spec.free
    assert (spec.shape_at("x", 0, 8), spec.bytes_at("x", 0, 8)) == ((8, 3), 48)
    assert (spec.input_row_bytes, spec.output_row_bytes) == (6, 4)


def test_a_model_that_is_not_batched_has_its_shapes_whole() -> None:
    spec = ModelSpec(
        "m", (TensorSpec("x", DataType.FP32, (2, 3)),), (TensorSpec("y", DataType.FP32, ()),), Gears((1,))
    )
    assert [spec.shape_at(name, 0, 5) for name in ("x", "y")] == [(2, 3), ()]
    assert spec.bytes_at("y", 0, 1) == 4


def test_rows_are_as_large_as_in_the_largest_bucket() -> None:
    spec = ModelSpec("m", (IDS,), (HIDDEN,), Gears((1, 4)), (SHORT, LONG))
    assert spec.free
    assert (spec.batched, IDS.free, IDS.row_shape) == (True, True, (-1,))
    assert (spec.shape_at("hidden", 0, 4), spec.bytes_at("hidden", 1, 2)) == ((4, 16, 4), 2 * 64 * 4 * 4)
    assert (spec.input_row_bytes, spec.output_row_bytes) == (64 * 8, 64 * 4 * 4)
    with pytest.raises(KeyError):
        spec.bytes_at("none", 0, 1)


def test_a_free_tensor_has_no_shape_of_its_own() -> None:
    with pytest.raises(ConfigError, match=r"'ids' has shape \[-1, -1\], with free axes: name a bucket"):
        IDS.at(1)
    with pytest.raises(ConfigError, match="free axes"):
        _ = IDS.row_bytes


def test_a_leading_axis_that_does_not_count_rows_is_free() -> None:
    tensor = TensorSpec("x", DataType.FP32, (-1, 80), counted=False)
    assert (tensor.batched, tensor.free, tensor.row_shape) == (False, True, (-1, 80))
    # It says nothing where axis 0 is fixed.
    assert TensorSpec("x", DataType.FP32, (3,), counted=False) == TensorSpec("x", DataType.FP32, (3,))


@pytest.mark.parametrize(
    ("buckets", "message"),
    [
        ((), r"has free axes \(ids, hidden\) and one bucket"),
        ((SHORT,), r"has free axes \(ids, hidden\) and one bucket"),
        ((SHORT, Bucket(Gears((1,)), {"ids": (64,)})), "bucket 1 has no shape for 'hidden'"),
        (
            (SHORT, Bucket(Gears((1,)), {"ids": (64,), "hidden": (64, 5)})),
            r"bucket 1 has \[64, 5\] for 'hidden'",
        ),
        ((SHORT, Bucket(Gears((1,)), {"ids": (0,), "hidden": (64, 4)})), r"bucket 1 has \[0\] for 'ids'"),
        ((SHORT, Bucket(Gears((1,)), {"ids": (), "hidden": (64, 4)})), r"bucket 1 has \[\] for 'ids'"),
        ((SHORT, LONG, SHORT), "two buckets of the same input shapes"),
        (
            (LONG, Bucket(Gears((1, 2)), SHORT.shapes)),
            r"has gears \[1, 4\], its buckets have \[1, 2\] together",
        ),
    ],
)
def test_buckets_that_do_not_fit_are_refused(buckets: tuple[Bucket, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelSpec("m", (IDS,), (HIDDEN,), Gears((1, 4)), buckets)


# --- from gears -------------------------------------------------------------------------------------


def tensor(name: str, *shapes: tuple[int, ...]) -> GearedTensor:
    return GearedTensor(name, DataType.FP32, shapes)


def test_gears_that_differ_in_rows_alone_share_a_bucket() -> None:
    spec = geared_spec(
        "m",
        [tensor("ids", (4, 64), (1, 16), (1, 64), (4, 16))],
        [tensor("hidden", (4, 64, 8), (1, 16, 8), (1, 64, 8), (4, 16, 8))],
    )
    assert spec.batched
    assert [spec.inputs[0].shape, spec.outputs[0].shape] == [(-1, -1), (-1, -1, 8)]
    assert spec.buckets == (
        Bucket(Gears((1, 4)), {"ids": (16,), "hidden": (16, 8)}),
        Bucket(Gears((1, 4)), {"ids": (64,), "hidden": (64, 8)}),
    )


def test_image_gears_have_one_batch_size_in_each_bucket() -> None:
    spec = geared_spec(
        "m",
        [tensor("image", (2, 3, 32, 8), (2, 3, 16, 8)), tensor("scale", (2, 1), (2, 1))],
        [tensor("score", (2, 5), (2, 5))],
    )
    assert [t.shape for t in (*spec.inputs, *spec.outputs)] == [(-1, 3, -1, 8), (-1, 1), (-1, 5)]
    assert [bucket.gears.sizes for bucket in spec.buckets] == [(2,), (2,)]
    assert [bucket.shapes["image"] for bucket in spec.buckets] == [(3, 16, 8), (3, 32, 8)]


def test_gears_in_rows_alone_make_a_plain_model() -> None:
    spec = geared_spec("m", [tensor("x", (4, 3), (1, 3))], [tensor("y", (4,), (1,))])
    plain = ModelSpec(
        "m",
        (TensorSpec("x", DataType.FP32, (-1, 3)),),
        (TensorSpec("y", DataType.FP32, (-1,)),),
        Gears((1, 4)),
    )
    assert spec == plain


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ([(5, 4), (9, 4)], "do not all begin with the same size"),
        ([(), ()], "do not all begin with the same size"),
        ([(1, 4), (2, 8)], "outputs have several shapes"),
    ],
)
def test_a_model_whose_tensors_disagree_about_rows_is_not_batched(
    outputs: list[tuple[int, ...]], reason: str
) -> None:
    inputs, made = [tensor("x", (1, 3), (2, 3))], [tensor("y", *outputs)]
    spec = geared_spec("m", inputs, made)
    assert not spec.batched
    assert (spec.gears, spec.inputs[0]) == (
        Gears((1,)),
        TensorSpec("x", DataType.FP32, (-1, 3), counted=False),
    )
    assert [bucket.shapes["x"] for bucket in spec.buckets] == [(1, 3), (2, 3)]
    assert [spec.shape_at("y", number, 1) for number in (0, 1)] == outputs
    with pytest.raises(ConfigError, match=f"cannot be batched: .*{reason}.*set batched to false"):
        geared_spec("m", inputs, made, batched=True)


def test_a_model_that_is_said_not_to_be_batched_is_not() -> None:
    spec = geared_spec(
        "m", [tensor("x", (100, 80), (200, 80))], [tensor("y", (100, 2), (200, 2))], batched=False
    )
    assert not spec.batched
    assert [bucket.gears.sizes for bucket in spec.buckets] == [(1,), (1,)]
    assert [spec.shape_at("x", number, 1) for number in (0, 1)] == [(100, 80), (200, 80)]


def test_every_tensor_has_a_shape_at_every_gear() -> None:
    with pytest.raises(ConfigError, match=r"shapes at \[1, 2\] gears"):
        geared_spec("m", [tensor("x", (1,), (2,))], [tensor("y", (1,))])


@given(
    st.sets(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)), min_size=1, max_size=12),
    st.sampled_from([None, False]),
    st.randoms(),
)
def test_every_gear_is_found_again_in_a_bucket(
    gears: set[tuple[int, int, int]], batched: bool | None, order: object
) -> None:
    listed = list(gears)
    order.shuffle(listed)  # type: ignore[attr-defined]  # hypothesis gives a Random
    spec = geared_spec(
        "m",
        [tensor("a", *((n, h, 3) for n, h, _ in listed)), tensor("b", *((n, w) for n, _, w in listed))],
        [tensor("c", *((n, h, w) for n, h, w in listed))],
        batched,
    )
    found = [
        tuple(spec.shape_at(name, number, gear) for name in ("a", "b", "c"))
        for number, bucket in enumerate(spec.buckets)
        for gear in bucket.gears
    ]
    assert sorted(found) == sorted(((n, h, 3), (n, w), (n, h, w)) for n, h, w in listed)
    assert spec.batched == (batched is None)
