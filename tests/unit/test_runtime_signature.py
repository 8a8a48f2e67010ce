from collections import Counter
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.errors import ArtifactError, ConfigError
from ascend_serve.runtime import signature
from ascend_serve.runtime.model import GEAR_INPUT, DeviceTensor
from ascend_serve.runtime.signature import output_name
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit


def model(inputs, outputs, gears=(), kind="batch"):
    visible = tuple(DeviceTensor(*tensor) for tensor in inputs)
    hidden = (DeviceTensor(GEAR_INPUT, 3, (1,), 4),) if gears else ()
    return SimpleNamespace(
        path=Path("m.om"),
        inputs=(*visible, *hidden),
        visible_inputs=visible,
        outputs=tuple(DeviceTensor(*tensor) for tensor in outputs),
        gear_kind=kind if gears else "",
        gears=tuple((gear,) if isinstance(gear, int) else gear for gear in gears),
        gear_input=len(visible) if gears else None,
    )


def following(device):
    """Output dims of a model with batch gears whose outputs follow the gear."""
    return {gear: [(gear[0], *tensor.dims[1:]) for tensor in device.outputs] for gear in device.gears}


def spec_of(device, name, **how):
    return signature.spec_of(device, name, following(device), **how)


def check(device, spec):
    return signature.check(device, spec, following(device))


def gear_model():
    return model(
        [("a", 0, (-1, 3, 4), 8 * 48), ("b", 9, (-1,), 64)],
        [("Softmax_7:0:p", 1, (8, 5), 96)],  # 16 bytes more than 8 rows take, as alignment may add
        gears=(4, 1, 8),
    )


GEAR_SPEC = ModelSpec(
    "m",
    (TensorSpec("a", DataType.FP32, (-1, 3, 4)), TensorSpec("b", DataType.INT64, (-1,))),
    (TensorSpec("p", DataType.FP16, (-1, 5)),),
    Gears((1, 4, 8)),
)


def test_a_gear_model_counts_rows_and_hides_the_gear_input():
    assert spec_of(gear_model(), "m") == GEAR_SPEC


def test_a_static_model_whose_tensors_begin_alike_counts_rows_at_one_gear():
    spec = spec_of(model([("x", 4, (2, 3), 6)], [("n:0:y", 0, (2,), 8)]), "m")
    assert spec.gears == Gears((2,))
    assert [t.shape for t in (*spec.inputs, *spec.outputs)] == [(-1, 3), (-1,)]


def test_batch_one_only_is_one_gear_of_one_row():
    spec = spec_of(model([("x", 0, (1, 3), 12)], [("n:0:y", 0, (1, 2), 8)]), "m")
    assert (spec.batched, spec.gears) == (True, Gears((1,)))


@pytest.mark.parametrize("dims", [(), (2,), (4, 1)])
def test_a_static_model_whose_tensors_begin_unlike_takes_one_request_per_run(dims):
    spec = spec_of(model([("x", 0, (1, 3), 12)], [("n:0:y", 0, dims, 16)]), "m")
    assert (spec.batched, spec.gears) == (False, Gears((1,)))
    assert spec.outputs[0].shape == dims


def test_batched_can_be_denied_and_demanded():
    static = model([("x", 0, (2, 3), 24)], [("n:0:y", 0, (2,), 8)])
    assert spec_of(static, "m", batched=False).inputs[0].shape == (2, 3)
    with pytest.raises(ArtifactError, match="cannot be served unbatched"):
        spec_of(gear_model(), "m", batched=False)
    with pytest.raises(ArtifactError, match="cannot be batched"):
        spec_of(model([("x", 0, (1, 3), 12)], [("n:0:y", 0, (2,), 8)]), "m", batched=True)


@pytest.mark.parametrize(("dims", "gears"), [((1, 3, -1, -1), ()), ((-1, 3), ()), ((1, -1), (1, 2))])
def test_other_kinds_of_dynamic_models_are_refused(dims, gears):
    with pytest.raises(ArtifactError, match="only static models and models with gears"):
        spec_of(model([("x", 0, dims, 0)], [("n:0:y", 0, (2,), 8)], gears), "m")


def test_an_output_that_does_not_follow_the_gear_is_refused():
    with pytest.raises(ConfigError, match="mixes batched tensors with fixed ones"):
        spec_of(model([("x", 0, (-1, 3), 24)], [("n:0:y", 0, (7,), 28)], (1, 2)), "m")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Softmax_7:0:probs", "probs"),
        ("Identity:0:output:0", "output:0"),
        ("scope/node:11:t", "t"),
        ("node:0", "node:0"),
        ("plain", "plain"),
    ],
)
def test_output_names(given, name):
    assert output_name(given) == name


def test_an_output_whose_rows_are_lost_at_a_smaller_gear_is_refused():
    device = gear_model()
    dims = {**following(device), (4,): [(8, 5)]}
    with pytest.raises(ArtifactError, match=r"at gear 4 the device gives 'p'"):
        signature.spec_of(device, "m", dims)


def test_device_and_spec_that_agree_tell_what_to_set():
    assert check(gear_model(), GEAR_SPEC) == {(0, gear): (gear,) for gear in (1, 4, 8)}
    static = model([("x", 4, (2, 3), 6)], [("n:0:y", 0, (2,), 8)])
    assert check(static, spec_of(static, "m")) == {(0, 2): None}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gears": Gears((1, 8))}, r"batch gears \[\[4\], \[1\], \[8\]\], the spec has 2 gears"),
        ({"inputs": GEAR_SPEC.inputs[:1]}, "2 inputs, the spec 1"),
        ({"inputs": GEAR_SPEC.inputs[::-1]}, "input 0 is 'a' FP32"),
        ({"outputs": (TensorSpec("q", DataType.FP16, (-1, 5)),)}, "output 0 is 'p' .* 'q'"),
        ({"outputs": (TensorSpec("p", DataType.FP32, (-1, 5)),)}, "FP16 .* FP32"),
        ({"outputs": (TensorSpec("p", DataType.FP16, (-1, 6)),)}, r"\[8, 5\] .* \[-1, 6\]"),
    ],
)
def test_device_and_spec_that_disagree_are_refused(change, words):
    parts = {"name": "m", "inputs": GEAR_SPEC.inputs, "outputs": GEAR_SPEC.outputs, "gears": GEAR_SPEC.gears}
    with pytest.raises(ArtifactError, match=words):
        check(gear_model(), ModelSpec(**{**parts, **change}))


def test_a_device_that_keeps_too_few_bytes_is_refused():
    small = model([("x", 0, (2, 3), 20)], [("n:0:y", 0, (2,), 8)])
    with pytest.raises(ArtifactError, match="keeps 20 bytes for 'x', whose largest gear takes 24"):
        check(small, spec_of(small, "m"))


# --- gears of image sizes and of any axes ------------------------------------------------------------


def image_model():
    return model(
        [("x", 0, (2, 3, -1, -1), 2 * 3 * 8 * 6 * 4)],
        [("n:0:y", 0, (2, 8, 6), 2 * 8 * 6 * 4)],
        gears=((8, 6), (4, 4), (2, 10)),
        kind="image",
    )


def image_dims(device):
    return {(height, width): [(2, height, width)] for height, width in device.gears}


def dims_model():
    """Compiled with --input_shape="mask:-1,-1;data:-1,-1,4": the gears count the mask first."""
    return model(
        [("data", 0, (-1, -1, 4), 4 * 128 * 16), ("mask", 3, (-1, -1), 4 * 128 * 4)],
        [("n:0:y", 0, (4, 128), 4 * 128 * 4)],
        gears=((1, 64, 1, 64, 4), (4, 64, 4, 64, 4), (4, 128, 4, 128, 4)),
        kind="dims",
    )


def dims_dims(device):
    return {gear: [gear[:2]] for gear in device.gears}


def test_each_image_size_is_a_bucket_of_the_fixed_batch():
    device = image_model()
    spec = signature.spec_of(device, "m", image_dims(device))
    assert (spec.batched, spec.free, spec.inputs[0].shape) == (True, True, (-1, 3, -1, -1))
    assert [(b.shapes["x"], b.shapes["y"], b.gears.sizes) for b in spec.buckets] == [
        ((3, 4, 4), (4, 4), (2,)),
        ((3, 2, 10), (2, 10), (2,)),
        ((3, 8, 6), (8, 6), (2,)),
    ]
    assert signature.check(device, spec, image_dims(device)) == {
        (0, 2): (4, 4),
        (1, 2): (2, 10),
        (2, 2): (8, 6),
    }


def test_gears_of_any_axes_that_differ_in_the_batch_share_a_bucket():
    device = dims_model()
    spec = signature.spec_of(device, "m", dims_dims(device), order=("mask", "data"))
    assert [(b.shapes["data"], b.gears.sizes) for b in spec.buckets] == [((64, 4), (1, 4)), ((128, 4), (4,))]
    wanted = dict(zip(((0, 1), (0, 4), (1, 4)), device.gears, strict=True))
    assert signature.check(device, spec, dims_dims(device)) == wanted  # the order is found by the shapes
    assert signature.check(device, spec, dims_dims(device), ("mask", "data")) == wanted


def test_an_order_that_does_not_fit_is_refused():
    device = dims_model()
    with pytest.raises(ArtifactError, match="give the order of --input_shape"):
        signature.spec_of(device, "m", dims_dims(device))
    spec = signature.spec_of(device, "m", dims_dims(device), order=("mask", "data"))
    with pytest.raises(ArtifactError, match=r"order names \['mask'\], the inputs are"):
        signature.check(device, spec, dims_dims(device), ("mask",))


def test_an_order_that_the_shapes_leave_open_must_be_told():
    gears = ((1, 2), (2, 1), (3, 3))
    device = model(
        [("a", 0, (-1,), 12), ("b", 0, (-1,), 12)], [("n:0:y", 0, (3, 3), 36)], gears=gears, kind="dims"
    )
    by_a, by_b = ({gear: [tuple(gear[i] for i in turn)] for gear in gears} for turn in ((0, 1), (1, 0)))
    spec = signature.spec_of(device, "m", by_a, batched=False)
    with pytest.raises(
        ArtifactError, match=r"fit the inputs in the order \['a', 'b'\] and in the order \['b', 'a'\]"
    ):
        signature.check(device, spec, by_a)
    assert set(signature.check(device, spec, by_a, ("a", "b")).values()) == set(gears)
    told = signature.check(device, spec, by_b, ("b", "a"))
    assert all(spec.shape_at("a", *key) == gear[1:] for key, gear in told.items())


def test_a_bucket_that_the_device_does_not_have_is_refused():
    device = image_model()
    spec = signature.spec_of(device, "m", image_dims(device))
    fewer = model(astuples(device.inputs[:1]), astuples(device.outputs), device.gears[:2], "image")
    with pytest.raises(ArtifactError, match=r"image gears .* the spec has 3 gears and among them"):
        signature.check(fewer, spec, image_dims(device))


def test_an_output_that_the_device_shapes_otherwise_is_refused_with_its_gear():
    device = image_model()
    spec = signature.spec_of(device, "m", image_dims(device))
    dims = {**image_dims(device), (4, 4): [(2, 2, 2)]}
    with pytest.raises(
        ArtifactError, match=r"'y' is \[2, 2, 2\] on the device and \[2, 4, 4\] .* at gear \[4, 4\]"
    ):
        signature.check(device, spec, dims)


def astuples(tensors):
    return [(tensor.name, tensor.dtype, tensor.dims, tensor.size) for tensor in tensors]


@given(st.data())
def test_whatever_order_the_command_had_the_shapes_tell_it_or_nothing_is_guessed(data):
    names = ["a", "b", "c"]
    dims = st.integers(1, 3)
    rows = data.draw(st.lists(st.tuples(dims, dims, dims, dims), min_size=1, max_size=4, unique=True))
    shapes = [{"a": row[:2], "b": row[2:3], "c": row[3:]} for row in rows]
    order = data.draw(st.permutations(names))
    gears = tuple(sum((shape[name] for name in order), ()) for shape in shapes)
    device = model(
        [(name, 0, (-1,) * len(shapes[0][name]), 4 * 9) for name in names],
        [("n:0:y", 0, rows[-1], 4 * 81)],
        gears=gears,
        kind="dims",
    )
    dims_out = {gear: [row] for gear, row in zip(gears, rows, strict=True)}
    spec = signature.spec_of(device, "m", dims_out, batched=False, order=order)
    listings = {
        tuple(sum((shape[name] for name in turn), ()) for shape in shapes) for turn in permutations(names)
    }
    if sum(Counter(listing) == Counter(gears) for listing in listings) > 1:
        with pytest.raises(ArtifactError, match="give the order"):
            signature.check(device, spec, dims_out)
    else:
        for key, gear in signature.check(device, spec, dims_out).items():
            assert gear == sum((spec.shape_at(name, *key) for name in order), ())
