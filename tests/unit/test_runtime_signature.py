from pathlib import Path
from types import SimpleNamespace

import pytest

from ascend_serve.errors import ArtifactError, ConfigError
from ascend_serve.runtime.model import GEAR_INPUT, DeviceTensor
from ascend_serve.runtime.signature import check, output_name, spec_of
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit


def model(inputs, outputs, gears=()):
    inputs = [DeviceTensor(*tensor) for tensor in inputs]
    gear_input = None
    if gears:
        gear_input = len(inputs)
        inputs.append(DeviceTensor(GEAR_INPUT, 3, (1,), 4))
    return SimpleNamespace(
        path=Path("m.om"),
        inputs=tuple(inputs),
        outputs=tuple(DeviceTensor(*tensor) for tensor in outputs),
        gears=gears,
        gear_input=gear_input,
    )


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


@pytest.mark.parametrize(("dims", "gears"), [((1, 3, -1, -1), ()), ((-1, 3), ()), ((-1, -1), (1, 2))])
def test_other_kinds_of_dynamic_models_are_refused(dims, gears):
    with pytest.raises(ArtifactError, match="only static models and models with batch gears"):
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


def test_device_and_spec_that_agree_pass():
    check(gear_model(), GEAR_SPEC)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gears": Gears((1, 8))}, r"gears \[1, 4, 8\], the spec \[1, 8\]"),
        ({"inputs": GEAR_SPEC.inputs[:1]}, "2 inputs, the spec 1"),
        ({"inputs": GEAR_SPEC.inputs[::-1]}, "input 0 is 'a' FP32"),
        ({"outputs": (TensorSpec("q", DataType.FP16, (-1, 5)),)}, "output 0 is 'p' .* 'q'"),
        ({"outputs": (TensorSpec("p", DataType.FP32, (-1, 5)),)}, "FP16 .* FP32"),
        ({"outputs": (TensorSpec("p", DataType.FP16, (-1, 6)),)}, r"\[-1, 5\] .* \[-1, 6\]"),
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
