"""The model `simple` is what its maker makes, and computes what clients of the protocol expect."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
import pytest

pytestmark = pytest.mark.unit

FOLDER = Path(__file__).resolve().parents[2] / "examples/simple"


def test_the_file_is_what_the_maker_makes() -> None:
    spec = importlib.util.spec_from_file_location("make_simple", FOLDER / "make.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    made, kept = maker.network(), onnx.load(FOLDER / "simple.onnx")
    assert made.graph == kept.graph
    assert made.opset_import == kept.opset_import


def test_it_adds_and_subtracts() -> None:
    session = onnxruntime.InferenceSession(FOLDER / "simple.onnx", providers=["CPUExecutionProvider"])
    first = np.arange(48, dtype=np.int32).reshape(3, 16)
    second = np.full_like(first, 5)
    outputs = session.run(["OUTPUT0", "OUTPUT1"], {"INPUT0": first, "INPUT1": second})
    np.testing.assert_array_equal(outputs[0], first + second)
    np.testing.assert_array_equal(outputs[1], first - second)
