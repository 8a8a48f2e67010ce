"""A model that was compiled for another NPU architecture is refused by the names of both SoCs."""

import subprocess
from pathlib import Path

import acl
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.contract.tools import installed_atc

pytestmark = pytest.mark.contract


def test_a_model_for_another_architecture_is_refused_by_name(
    emulator: None, device: int, tmp_path: Path
) -> None:
    """facts/atc_om_soc.md §2.5 (7) and §4.4, GE `om_file_helper.cc`: 145000, the text is E10001's of today."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph(
        [node], "net", [x], [y], [numpy_helper.from_array(np.eye(4, 2, dtype="f4"), "w")]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "net.onnx",
    )
    soc = acl.get_soc_name() or ""
    other = "Ascend910B3" if soc.startswith("Ascend310") else "Ascend310P3"
    atc = installed_atc()
    options = ("--model=net.onnx", "--framework=5", "--output=net", f"--soc_version={other}")
    subprocess.run([atc, *options], cwd=tmp_path, check=True, capture_output=True, timeout=60)

    assert acl.mdl.load_from_file(str(tmp_path / "net.om")) == (0, 145000)

    message = acl.get_recent_err_msg() or ""
    assert message.startswith(f"E10001: Value {other} for parameter soc_version is invalid. Reason: ")
    assert "Model soc version is not support in this device." in message
    assert soc in message
