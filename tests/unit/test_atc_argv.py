"""The command line of a recipe: golden commands of the vendor's documentation, and each field.

The commands are those of the CANN ATC guide in the public repository hicann/ge at ffdcbc9f
(docs/zh/user_guides/atc_tools), with a SoC in place of `<soc_version>` and a folder in place of `$HOME`.
"""

import shlex

import pytest
from ascend_emulator.atc.options import OPTIONS, parse

from ascend_serve.compiling.atc import arguments, compiled_shapes, options
from ascend_serve.spec.atc_options import AtcOptions
from ascend_serve.spec.recipe import CompileRecipe, field_of

pytestmark = pytest.mark.unit

NET = {"name": "net", "source": "net.onnx"}


def argv(**settings):
    recipe = CompileRecipe.parse(NET | settings)
    return arguments(recipe, "Ascend910B3", "/m/net.onnx", "/out/net")


GOLDEN = {
    # quick start, ONNX
    "atc --model=/w/module/resnet50.onnx --framework=5 --output=/w/module/out/onnx_resnet50 "
    "--soc_version=Ascend310P3": {
        "source": "/w/module/resnet50.onnx",
        "framework": "onnx",
        "output": "/w/module/out/onnx_resnet50",
    },
    # quick start, MindSpore
    "atc --model=/w/module/resnet50_export.air --framework=1 --output=/w/module/out/resnet50_air "
    "--soc_version=Ascend310P3": {
        "source": "/w/module/resnet50_export.air",
        "framework": "mindspore",
        "output": "/w/module/out/resnet50_air",
    },
    # CLI_options/--weight.md
    "atc --mode=0 --model=/w/module/resnet50.prototxt --weight=/w/module/resnet50.caffemodel --framework=0 "
    "--soc_version=Ascend310P3 --output=/w/module/out/caffe_resnet50": {
        "mode": 0,
        "source": "/w/module/resnet50.prototxt",
        "weight": "/w/module/resnet50.caffemodel",
        "framework": "caffe",
        "targets": ["Ascend310P3"],
        "output": "/w/module/out/caffe_resnet50",
    },
    # dynamic batch size
    "atc --model=/w/module/resnet50_tensorflow_1.7.pb  --framework=3 --output=/w/module/out/tf_resnet50 "
    '--soc_version=Ascend310P3 --input_shape="Placeholder:-1,224,224,3"  --dynamic_batch_size="1,2,4,8"': {
        "source": "/w/module/resnet50_tensorflow_1.7.pb",
        "framework": "tensorflow",
        "output": "/w/module/out/tf_resnet50",
        "targets": ["Ascend310P3"],
        "inputs": {"Placeholder": [-1, 224, 224, 3]},
        "gears": [1, 2, 4, 8],
    },
    # dynamic image size
    "atc --model=/w/module/resnet50_tensorflow_1.7.pb  --framework=3 --output=/w/module/out/tf_resnet50 "
    '--soc_version=Ascend310P3  --input_shape="Placeholder:1,-1,-1,3"  --dynamic_image_size="224,224;448,448"': {
        "source": "/w/module/resnet50_tensorflow_1.7.pb",
        "framework": "tensorflow",
        "output": "/w/module/out/tf_resnet50",
        "targets": ["Ascend310P3"],
        "inputs": {"Placeholder": [1, -1, -1, 3]},
        "image_gears": [[224, 224], [448, 448]],
    },
    # dynamic dims
    "atc --model=/w/module/resnet50_tensorflow_1.7.pb --framework=3 --output=/w/module/out/tf_resnet50 "
    '--soc_version=Ascend310P3  --input_shape="Placeholder:-1,-1,-1,3" --dynamic_dims="1,224,224;8,448,448" '
    "--input_format=ND": {
        "source": "/w/module/resnet50_tensorflow_1.7.pb",
        "framework": "tensorflow",
        "output": "/w/module/out/tf_resnet50",
        "targets": ["Ascend310P3"],
        "inputs": {"Placeholder": [-1, -1, -1, 3]},
        "dims_gears": [[1, 224, 224], [8, 448, 448]],
        "input_format": "ND",
    },
    # half precision in and out
    "atc --model=/w/module/resnet50_tensorflow_1.7.pb  --framework=3 --output=/w/module/out/tf_resnet50 "
    '--soc_version=Ascend310P3  --input_fp16_nodes="Placeholder" --out_nodes="fp32_vars/MaxPoolWithArgmax:0" '
    '--output_type="fp32_vars/MaxPoolWithArgmax:0:FP16"': {
        "source": "/w/module/resnet50_tensorflow_1.7.pb",
        "framework": "tensorflow",
        "output": "/w/module/out/tf_resnet50",
        "targets": ["Ascend310P3"],
        "input_fp16_nodes": ["Placeholder"],
        "out_nodes": ["fp32_vars/MaxPoolWithArgmax:0"],
        "output_type": "fp32_vars/MaxPoolWithArgmax:0:FP16",
    },
    # CLI_options/--is_input_adjust_hw_layout.md
    "atc --model=/w/module/resnet50_tensorflow.pb --framework=3 --output=/w/module/out/tf_resnet50 "
    '--is_input_adjust_hw_layout="true,true"  --input_fp16_nodes="data1;data2" --soc_version=Ascend310P3': {
        "source": "/w/module/resnet50_tensorflow.pb",
        "framework": "tensorflow",
        "output": "/w/module/out/tf_resnet50",
        "is_input_adjust_hw_layout": [True, True],
        "input_fp16_nodes": ["data1", "data2"],
        "targets": ["Ascend310P3"],
    },
    # CLI_options/--external_weight.md
    "atc --framework=5 --model=/w/module/resnet50.onnx --output=/w/module/out/onnx_resnet50 "
    "--soc_version=Ascend310P3  --external_weight=1": {
        "framework": "onnx",
        "source": "/w/module/resnet50.onnx",
        "output": "/w/module/out/onnx_resnet50",
        "targets": ["Ascend310P3"],
        "external_weight": 1,
    },
}


@pytest.mark.parametrize("command", GOLDEN)
def test_commands_of_the_vendors_guide_are_what_their_recipes_give(command):
    recipe = CompileRecipe.parse({"name": "net"} | GOLDEN[command])
    assert recipe.output is not None
    made = arguments(recipe, "Ascend310P3", recipe.source, recipe.output)
    assert made == shlex.split(command)[1:]


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("--fusion_switch_file=/w/fusion_switch.cfg", {"fusion_switch_file": "/w/fusion_switch.cfg"}),
        ("--aicore_num=10|", {"aicore_num": "10|"}),
        ("--op_precision_mode=/w/op_precision.ini", {"op_precision_mode": "/w/op_precision.ini"}),
        ("--op_debug_config=/w/gm_debug.cfg", {"op_debug_config": "/w/gm_debug.cfg"}),
        ("--precision_mode=force_fp16", {"precision_mode": "force_fp16"}),
        ("--precision_mode_v2=fp16", {"precision_mode_v2": "fp16"}),
        ("--enable_attr_compression=true", {"enable_attr_compression": True}),
        ("--atomic_clean_policy=1", {"atomic_clean_policy": True}),
        ("--quant_dumpable=1", {"quant_dumpable": 1}),
        ("--jit_compile=1", {"jit_compile": 1}),
        ("--disable_reuse_memory=0", {"disable_reuse_memory": 0}),
        ("--is_weight_clip=1", {"is_weight_clip": 1}),
        ("--topo_sorting_mode=3", {"topo_sorting_mode": 3}),
        (
            "--optimization_switch=Passname1:on;Passname2:off",
            {"optimization_switch": "Passname1:on;Passname2:off"},
        ),
        (
            "--input_shape_range=input1:[8~20,3,5,-1];input2:[5,3~9,10,-1]",
            {"input_shape_range": "input1:[8~20,3,5,-1];input2:[5,3~9,10,-1]"},
        ),
        (
            "--op_select_implmode=high_precision --optypelist_for_implmode=Pooling,SoftmaxV2",
            {"op_select_implmode": "high_precision", "optypelist_for_implmode": ["Pooling", "SoftmaxV2"]},
        ),
        ("--buffer_optimize=l2_optimize", {"buffer_optimize": "l2_optimize"}),
        ("--enable_small_channel=1", {"enable_small_channel": True}),
        (
            "--raw_ge_options=/w/option.json --raw_ge_options_ignore_unsupported=false",
            {"raw_ge_options": "/w/option.json", "raw_ge_options_ignore_unsupported": False},
        ),
        ("--host_env_os=linux --host_env_cpu=x86_64", {"host_env_os": "linux", "host_env_cpu": "x86_64"}),
        ("--log=debug", {"log": "debug"}),
        ("--virtual_type=1", {"virtual_type": True}),
        ("--oo_level=O1", {"oo_level": "O1"}),
        ("--oo_constant_folding=true", {"oo_constant_folding": True}),
        ("--oo_dead_code_elimination=true", {"oo_dead_code_elimination": True}),
        ("--static_model_ops_lower_limit=4", {"static_model_ops_lower_limit": 4}),
        ("--display_model_info=1", {"display_model_info": True}),
        (
            "--op_compiler_cache_dir=/w/atc_data --op_compiler_cache_mode=enable",
            {"op_compiler_cache_dir": "/w/atc_data", "op_compiler_cache_mode": "enable"},
        ),
        (
            "--shape_generalized_build_mode=shape_generalized",
            {"shape_generalized_build_mode": "shape_generalized"},
        ),
        ("--debug_dir=/w/debug_info --op_debug_level=1", {"debug_dir": "/w/debug_info", "op_debug_level": 1}),
        ("--check_report=/w/check_result.json", {"check_report": "/w/check_result.json"}),
        ("--export_compile_stat=1", {"export_compile_stat": 1}),
        ("--deterministic=0", {"deterministic": False}),
        ("--tiling_schedule_optimize=1", {"tiling_schedule_optimize": True}),
        ("--out_nodes=node_name1:0;node_name1:1", {"out_nodes": ["node_name1:0", "node_name1:1"]}),
        ("--op_bank_path=/w/custom_tune_bank", {"op_bank_path": "/w/custom_tune_bank"}),
        ("--cluster_config=/w/cluster_config.json", {"cluster_config": "/w/cluster_config.json"}),
        ("--core_type=VectorCore", {"core_type": "VectorCore"}),
        ("--insert_op_conf=/w/insert_op.cfg", {"insert_op_conf": "/w/insert_op.cfg"}),
        ("--status_check=1", {"status_check": True}),
        ("--keep_dtype=/w/keep.cfg", {"keep_dtype": "/w/keep.cfg"}),
        ("--customize_dtypes=/w/types.cfg", {"customize_dtypes": "/w/types.cfg"}),
        ("--allow_hf32=true", {"allow_hf32": True}),
        ("--deterministic_level=2", {"deterministic_level": 2}),
        (
            "--compression_optimize_conf=/w/compression.cfg",
            {"compression_optimize_conf": "/w/compression.cfg"},
        ),
        ("--enable_compress_weight=true", {"enable_compress_weight": True}),
        ("--compress_weight_conf=/w/weights.cfg", {"compress_weight_conf": "/w/weights.cfg"}),
        ("--sparsity=1", {"sparsity": True}),
        ("--cal_conf=/w/cal.cfg", {"cal_conf": "/w/cal.cfg"}),
        ("--save_original_model=true", {"save_original_model": True}),
        ("--external_weight=2", {"external_weight": 2}),
        ("--enable_single_stream=false", {"enable_single_stream": False}),
        ("--multi_stream_parallel_mode=cv", {"multi_stream_parallel_mode": "cv"}),
        ("--ac_parallel_enable=1", {"ac_parallel_enable": True}),
        ("--h2d_overlapped_with_compute=1", {"h2d_overlapped_with_compute": "1"}),
        ("--hccl_sub_comm_config=/w/sub.json", {"hccl_sub_comm_config": "/w/sub.json"}),
        ("--build_config=/w/build.json", {"build_config": "/w/build.json"}),
        ("--device_id=0", {"device_id": 0}),
        ("--target=x", {"target": "x"}),
        ("--mdl_bank_path=/w/bank", {"mdl_bank_path": "/w/bank"}),
        ("--input_hint_shape=0:[1,3]", {"input_hint_shape": "0:[1,3]"}),
        ("--output_type=FP16", {"output_type": "FP16"}),
        ("--input_format=ND", {"input_format": "ND"}),
        ("--precision_mode_v2=fp16", {"precision": "fp16"}),
        ("--precision_mode_v2=origin", {"precision": "fp32"}),
        ("--precision_mode_v2=mixed_float16", {"precision": "mixed"}),
        ("--made_up=1", {"extra_args": ["--made_up=1"]}),
    ],
)
def test_each_field_sets_its_option_and_no_other(command, settings):
    before, after = argv(), argv(**settings)
    assert [argument for argument in after if argument not in before] == command.split(" ")
    assert set(before) <= set(after)
    # The emulated atc takes each of them, within its range of values, by its own table.
    taken = parse([argument for argument in after if not argument.startswith("--made_up")])
    for argument in command.split(" "):
        name, _, value = argument.removeprefix("--").partition("=")
        assert name == "made_up" or taken[name] == value


def test_a_recipe_that_says_little_leaves_the_rest_to_atc():
    assert argv() == [
        "--model=/m/net.onnx",
        "--framework=5",
        "--output=/out/net",
        "--soc_version=Ascend910B3",
    ]


def test_options_stand_in_the_order_of_the_recipes_keys():
    given = argv(log="error", gears=[16, 1], inputs={"b": [-1, 3], "a": [-1]})
    assert given == [
        "--model=/m/net.onnx",
        "--log=error",
        "--dynamic_batch_size=16,1",
        "--input_shape=b:-1,3;a:-1",
        "--framework=5",
        "--output=/out/net",
        "--soc_version=Ascend910B3",
    ]


@pytest.mark.parametrize(
    ("gears", "shape"),
    [
        ({"gears": [4], "inputs": {"x": [-1, 3], "k": []}}, "--input_shape=x:4,3;k:"),
        ({"image_gears": [[8, 9]], "inputs": {"x": [1, 3, -1, -1]}}, "--input_shape=x:1,3,8,9"),
        ({"dims_gears": [[2, 5]], "inputs": {"x": [-1, -1], "y": [7]}}, "--input_shape=x:2,5;y:7"),
    ],
)
def test_a_single_gear_is_a_static_shape(gears, shape):
    given = argv(**gears)
    assert shape in given
    assert not [argument for argument in given if "dynamic" in argument]


def test_names_may_hold_colons_and_shapes_ranges():
    assert "--input_shape=a:0:2,1~4;b:" in argv(inputs={"a:0": [2, "1~4"], "b": []})


def test_compiled_shapes_keep_what_is_open():
    recipe = CompileRecipe.parse(NET | {"inputs": {"x": [-1, 7]}, "gears": [2, 4]})
    assert compiled_shapes(recipe) == {"x": (-1, 7)}


def test_every_option_of_atc_that_makes_an_om_is_a_field():
    """The emulated atc lists ATC's options on its own (facts: ATC §1.4–1.9)."""
    not_compiling = {"om", "json", "dump_mode", "singleop"}
    removed = {"auto_tune_mode"}
    fields = set(CompileRecipe.model_fields)
    assert {field_of(name) for name in OPTIONS} - not_compiling - removed <= fields
    assert set(AtcOptions.model_fields) <= set(OPTIONS)


def test_what_atc_reads_is_what_the_recipe_says():
    recipe = CompileRecipe.parse(
        NET | {"inputs": {"x": [-1, 3]}, "gears": [1, 2], "sparsity": True, "out_nodes": ["a:0", "b:1"]}
    )
    given = parse(arguments(recipe, "Ascend310P3", "net.onnx", "net"))
    assert {name: given[name] for name, _ in options(recipe, "Ascend310P3", "net.onnx", "net")} == dict(
        options(recipe, "Ascend310P3", "net.onnx", "net")
    )
