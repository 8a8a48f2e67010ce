"""Small networks, how they are compiled, and what their answers must be: for the tests of sessions and lanes."""

import subprocess
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from ascend_serve import env
from ascend_serve.runtime.device import Device
from tests.contract.tools import installed_atc

LIMIT_S = 60.0
F, I64, I32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32


class Network(NamedTuple):
    """A small ONNX graph and how ATC is to compile it."""

    name: str
    nodes: list
    inputs: list
    outputs: list
    shape: str
    gears: str = ""


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


TWO_SIDED = Network(
    "two_sided",
    [
        helper.make_node("Cast", ["b"], ["b_float"], to=F),
        helper.make_node("Mul", ["a", "b_float"], ["product"]),
        helper.make_node("ReduceSum", ["a", "axes"], ["total"], keepdims=0),
    ],
    [value("a", F, ["n", 3]), value("b", I64, ["n", 1])],
    [value("product", F, ["n", 3]), value("total", F, ["n"])],
    "a:-1,3;b:-1,1",
    "1,2,4,8",
)
ONE_ROW = Network(
    "one_row",
    [helper.make_node("Exp", ["x"], ["y"])],
    [value("x", F, ["n", 5])],
    [value("y", F, ["n", 5])],
    "x:1,5",
)
FOUR_ROWS = ONE_ROW._replace(name="four_rows", shape="x:4,5")
TURNED = Network(
    "turned",
    [helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])],
    [value("x", F, [2, 3])],
    [value("y", F, [3, 2])],
    "x:2,3",
)
PICKED = Network(
    "picked",
    [helper.make_node("Gather", ["table", "i"], ["y"])],
    [value("i", I32, ["n"])],
    [value("y", F, ["n"])],
    "i:-1",
    "1,2",
)


def onnx_model(network):
    constants = [
        helper.make_tensor("axes", I64, [1], [1]),
        helper.make_tensor("table", F, [4], [10.0, 11.0, 12.0, 13.0]),
    ]
    used = {name for node in network.nodes for name in node.input}
    graph = helper.make_graph(
        network.nodes,
        network.name,
        network.inputs,
        network.outputs,
        [constant for constant in constants if constant.name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """Compile a network with the installed `atc` for a SoC, once; the precision is the network's own."""
    atc = installed_atc()
    built = {}

    def compile_network(network, soc):
        if (network.name, soc) not in built:
            folder = tmp_path_factory.mktemp(network.name)
            onnx.save(onnx_model(network), str(folder / "model.onnx"))
            command = [
                atc,
                "--framework=5",
                "--model=model.onnx",
                f"--output={network.name}",
                f"--soc_version={soc}",
                "--input_format=ND",
                f"--input_shape={network.shape}",
                "--precision_mode_v2=origin",
            ]
            if network.gears:
                command.append(f"--dynamic_batch_size={network.gears}")
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            built[network.name, soc] = folder / f"{network.name}.om"
        return built[network.name, soc]

    return compile_network


@pytest.fixture
def device():
    with Device.open() as opened:
        yield opened
    assert opened.live == {}


needs_emulator = pytest.mark.skipif(
    (env.acl_distribution() or ("CANN",))[0] != "ascend-emulator", reason="sets up an emulated card"
)


def expected(network, inputs):
    reference = onnxruntime.InferenceSession(
        onnx_model(network).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return dict(zip([o.name for o in network.outputs], reference.run(None, inputs), strict=True))


def rows_of(spec, rows, seed):
    random = np.random.default_rng(seed)
    return {
        tensor.name: random.integers(-9, 9, tensor.at(rows)).astype(tensor.dtype.numpy)
        for tensor in spec.inputs
    }


def run(session, slot, gear, inputs, bucket=0):
    slot.begin()
    for name, array in inputs.items():
        slot.inputs_at(bucket)[name][: len(array)] = array
    session.enqueue(slot, bucket, gear)
    session.wait(slot)
    outputs = {name: array.copy() for name, array in slot.outputs_at(bucket).items()}
    slot.release()
    return outputs


def assert_rows(outputs, wanted, rows):
    for name, array in wanted.items():
        np.testing.assert_allclose(outputs[name][:rows], array, rtol=1e-5)
