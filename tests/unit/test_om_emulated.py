"""Files of the emulated atc: the product's reader and the emulator's own, which share no code, tell the same."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ascend_emulator.atc.inspect import model_info, to_json
from ascend_emulator.om import SHAPE_INPUT, OmFile
from ascend_emulator.om import read_om as read_emulated
from ascend_emulator.om_bundle import write_bundle

from ascend_serve.artifacts.om.reading import Om, read_om
from tests.unit import atc_runs
from tests.unit.atc_runs import BASE, GEARS, HEADER, NET, STATIC, Run, save

pytestmark = pytest.mark.unit

folder, run = atc_runs.folder, atc_runs.run

PICTURE = (
    HEADER + " net (float[N,3,H,W] x) => (float[N,3] y)"
    " { [pool] p = GlobalAveragePool(x) [flat] y = Flatten(p) }"
)
TWO = (
    HEADER + " net (float[N,4] a, float[M] b) => (float[N,4] y, float[M] z)"
    " { [act] y = Relu(a) [more] z = Abs(b) }"
)
AIPP = "aipp_op { aipp_mode: static input_format: RGB888_U8 src_image_size_h: 8 src_image_size_w: 8 mean_chn_0: 124 }"
CASES: dict[str, tuple[str, list[str]]] = {
    "static": (NET, STATIC),
    "batch gears": (NET, GEARS),
    "plain names": (NET, [*GEARS, "--enable_attr_compression=false"]),
    "image gears": (PICTURE, ["--input_shape=x:1,3,-1,-1", "--dynamic_image_size=4,4;8,6"]),
    "dims gears": (TWO, ["--input_shape=b:-1;a:-1,4", "--dynamic_dims=5,1;6,2", "--input_format=ND"]),
    "open shapes": (NET, ["--input_shape=x:1~4,4"]),
    "static aipp": (PICTURE, ["--input_shape=x:1,3,8,8", "--insert_op_conf=aipp.cfg"]),
    "precision": (NET, [*STATIC, "--precision_mode_v2=origin"]),
}

Both = Callable[[str], tuple[Om, OmFile, bytes]]


@pytest.fixture
def both(run: Run, folder: Path) -> Both:
    """Compile a case; gives it as the product and as the emulator read it, and the file."""

    def call(case: str) -> tuple[Om, OmFile, bytes]:
        (folder / "aipp.cfg").write_text(AIPP)
        net, arguments = CASES[case]
        save(folder / "net.onnx", net)
        status, out, _ = run("--model=net.onnx", "--output=net", *BASE, *arguments)
        assert status == 0, out
        # A dynamic model gets the host's name into its own.
        (path,) = folder.glob("net*.om")
        data = path.read_bytes()
        return read_om(data, deep=True), read_emulated(data), data

    return call


@pytest.mark.parametrize("case", CASES)
def test_both_readers_tell_the_same(case: str, both: Both) -> None:
    om, emulated, data = both(case)
    visible = [tensor for tensor in emulated.inputs if tensor.name != SHAPE_INPUT]
    assert [(t.name, t.dtype, t.dims, t.size, t.memory_dims, t.ranges) for t in om.inputs] == [
        (t.name, t.dtype, t.dims, t.size, t.dims_v2, t.ranges) for t in visible
    ]
    assert [(t.dtype, t.dims, t.size) for t in om.outputs] == [
        (t.dtype, t.dims, t.size) for t in emulated.outputs
    ]
    assert (om.name, om.soc, om.atc_cmdline) == (emulated.name, emulated.soc_version, emulated.atc_cmdline)
    assert f"{om.toolchain}" == emulated.toolchain
    assert om.origin.atc_version == emulated.atc_version
    assert (om.memory_size, om.weight_size) == (emulated.memory_size, emulated.weight_size)
    assert om.dynamic == emulated.dynamic
    assert "_".join(filter(None, (om.origin.host_os, om.origin.host_cpu))) == emulated.host
    assert bool(om.libraries) == om.origin.bound_to_host == om.dynamic
    assert om.layout.size == len(data)
    assert om.layout.compresses_names == (case != "plain names")


@pytest.mark.parametrize("case", [case for case in CASES if "gears" in case])
def test_gears_and_their_shapes_are_the_same(case: str, both: Both) -> None:
    om, emulated, _ = both(case)
    assert emulated.gears is not None
    assert om.gear_groups == emulated.gears.values
    assert tuple(shapes.inputs for shapes in om.gear_shapes) == emulated.gear_input_dims
    assert tuple(shapes.outputs for shapes in om.gear_shapes) == emulated.gear_output_dims


def test_the_preprocessing_is_the_same(both: Both) -> None:
    om, emulated, _ = both("static aipp")
    (aipp,), (known,) = om.aipps, emulated.aipps
    assert (aipp.input, aipp.mode) == ("x", "static")
    assert aipp.settings == known.settings
    assert dict(aipp.settings)["input_format"] == "RGB888_U8"


def test_the_precision_is_the_one_given(both: Both) -> None:
    om, _, _ = both("precision")
    assert (om.precision.option, om.precision.value, om.precision.given) == (
        "precision_mode_v2",
        "origin",
        True,
    )


@pytest.mark.parametrize("case", CASES)
def test_the_summary_of_mode_6_has_the_same_numbers(case: str, both: Both) -> None:
    om, _, data = both(case)
    shown = model_info(data)
    numbers = {name: int(value) for name, value in re.findall(r"(\w+)\[(-?\d+)(?: B)?\]", shown)}
    sizes = dict(om.layout.sub_models[0].partitions)
    assert f"soc_version[{om.soc}], framework_type[{om.origin.framework}]" in shown
    assert numbers["memory_size"] == om.memory_size
    assert numbers["weight_size"] == om.weight_size
    assert (numbers["stream_num"], numbers["event_num"]) == (om.resources.streams, om.resources.events)
    assert numbers["modeldef_size"] == sizes["MODEL_DEF"]
    assert om.resources.om_info == tuple(
        numbers[name]
        for name in (
            *("weight_data_size", "tbe_kernels_size", "cust_aicpu_kernel_store_size"),
            *("task_info_size", "so_store_size"),
        )
    )


@pytest.mark.parametrize("case", CASES)
def test_the_json_of_mode_1_has_the_same_operators(case: str, both: Both) -> None:
    om, _, data = both(case)
    model: dict[str, Any] = json.loads(to_json(data))
    kinds = [op["type"] for graph in model["graph"] for op in graph["op"]]
    assert om.operators is not None
    assert om.operators.types == {kind: kinds.count(kind) for kind in kinds}


def test_a_bundle_is_taken_apart_alike(both: Both) -> None:
    om, emulated, data = both("batch gears")
    bundle = read_om(write_bundle([data, data]), deep=True)
    assert bundle.contained == (om, om)
    assert (bundle.soc, bundle.toolchain) == (emulated.soc_version, om.toolchain)
