import pytest

from ascend_serve.compiling.atc import arguments, compiled_shapes
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import resolve_soc

pytestmark = pytest.mark.unit


def argv(**settings):
    recipe = CompileRecipe.parse({"name": "net", "source": "net.onnx"} | settings)
    return arguments(recipe, resolve_soc("Ascend910B3"), "/m/net.onnx", "/out/net")


def test_gears_leave_the_batch_axis_open():
    assert argv(inputs={"image": [-1, 3, 224, 224]}, gears=[16, 1, 4, 8], input_format="NCHW") == [
        "--framework=5",
        "--model=/m/net.onnx",
        "--output=/out/net",
        "--soc_version=Ascend910B3",
        "--input_format=NCHW",
        "--input_shape=image:-1,3,224,224",
        "--dynamic_batch_size=1,4,8,16",
        "--precision_mode_v2=fp16",
        "--log=error",
    ]


def test_one_gear_is_a_static_shape():
    given = argv(inputs={"image": [-1, 3]}, gears=[4])
    assert "--input_shape=image:4,3" in given
    assert not [argument for argument in given if "dynamic" in argument]


def test_shapes_left_to_the_network_are_not_given():
    assert not [argument for argument in argv() if "shape" in argument]


def test_the_order_of_inputs_does_not_matter_and_scalars_have_no_dims():
    given = argv(inputs={"b": [], "a:0": [2, 3]})
    assert "--input_shape=a:0:2,3;b:" in given
    assert given == argv(inputs={"a:0": [2, 3], "b": []})


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"precision": "origin"}, "--precision_mode_v2=origin"),
        ({"precision": "mixed"}, "--precision_mode_v2=mixed_float16"),
        ({"output_type": "FP16"}, "--output_type=FP16"),
        ({"input_fp16_nodes": ["b", "a"]}, "--input_fp16_nodes=a;b"),
        ({"log": "debug"}, "--log=debug"),
        ({"extra_args": ["--jit_compile=0"]}, "--jit_compile=0"),
    ],
)
def test_each_field_sets_its_option(settings, argument):
    assert argument in argv(**settings)


def test_compiled_shapes_keep_what_is_fixed():
    recipe = CompileRecipe.parse({"name": "n", "source": "s", "inputs": {"x": [-1, 7]}, "gears": [2]})
    assert compiled_shapes(recipe) == {"x": (2, 7)}
