"""Compile and serve an ONNX file that did not exist a second ago, so that nothing is fitted to the shipped one."""

import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime
import yaml
from leftovers import assert_nothing_left
from onnx import TensorProto, helper, numpy_helper
from server import URL, serving

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def fresh_model(seed: int) -> tuple[onnx.ModelProto, dict[str, list[int]]]:
    """Float features and int64 token ids in; float scores and the int64 index of the best out."""
    choose = random.Random(seed)
    values = np.random.default_rng(seed)
    left, ids, scores, best = (
        f"{word}_{choose.randrange(1000)}" for word in ("left", "ids", "scores", "best")
    )
    a, b, tokens, vocabulary, width = (choose.randrange(2, 9) for _ in range(5))

    def constant(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(values.normal(size=shape).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Flatten", [left], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "weights"], ["dense"]),
            helper.make_node("Gather", ["table", ids], ["embedded"], axis=0),
            helper.make_node("ReduceMean", ["embedded"], ["pooled"], axes=[1], keepdims=0),
            helper.make_node("Add", ["dense", "pooled"], ["summed"]),
            helper.make_node("Tanh", ["summed"], [scores]),
            helper.make_node("ArgMax", [scores], [best], axis=1, keepdims=0),
        ],
        f"fresh{seed}",
        [
            helper.make_tensor_value_info(left, TensorProto.FLOAT, ["batch", a, b]),
            helper.make_tensor_value_info(ids, TensorProto.INT64, ["batch", tokens]),
        ],
        [
            helper.make_tensor_value_info(scores, TensorProto.FLOAT, ["batch", width]),
            helper.make_tensor_value_info(best, TensorProto.INT64, ["batch"]),
        ],
        [constant("weights", a * b, width), constant("table", vocabulary, width)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model, {left: [-1, a, b], ids: [-1, tokens]}


def rows_for(shapes: dict[str, list[int]], rows: int, vocabulary: int) -> dict[str, np.ndarray[Any, Any]]:
    values = np.random.default_rng(rows)
    (left, left_shape), (ids, ids_shape) = shapes.items()
    return {
        left: values.normal(size=(rows, *left_shape[1:])).astype(np.float32),
        ids: values.integers(0, vocabulary, size=(rows, *ids_shape[1:]), dtype=np.int64),
    }


def ask(name: str, tensors: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    datatypes = {"float32": "FP32", "int64": "INT64"}
    inputs = [
        {
            "name": key,
            "shape": value.shape,
            "datatype": datatypes[str(value.dtype)],
            "data": value.ravel().tolist(),
        }
        for key, value in tensors.items()
    ]
    answer = httpx.post(f"{URL}/v2/models/{name}/infer", json={"inputs": inputs}, timeout=30)
    answer.raise_for_status()
    numpy_names = {datatype: name for name, datatype in datatypes.items()}
    return {
        out["name"]: np.array(out["data"], dtype=numpy_names[out["datatype"]]).reshape(out["shape"])
        for out in answer.json()["outputs"]
    }


def main() -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    model, shapes = fresh_model(seed)
    vocabulary = model.graph.initializer[1].dims[0]
    name = model.graph.name
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        onnx.save(model, folder / "model.onnx")
        recipe = {
            "name": name, "source": "model.onnx", "inputs": shapes, "gears": [2, 3, 9], "precision": "fp32",
        }  # fmt: skip
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        args = {"recipe": str(folder / "recipe.yaml"), "store": str(folder / "store")}
        application = {
            "name": name,
            "route_prefix": "/",
            "import_path": "ascend_serve.serving.app:build",
            "args": args,
        }
        (folder / "serve.yaml").write_text(yaml.safe_dump({"applications": [application]}))

        command = [
            sys.executable,
            "-m",
            "compile_jobs",
            str(folder / "recipe.yaml"),
            "--store",
            str(folder / "store"),
        ]
        subprocess.run([*command, "--soc", "Ascend310P3", "--soc", "Ascend910B3"], cwd=ROOT, check=True)
        reference = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        with serving([str(BIN / "serve"), "run", str(folder / "serve.yaml")], name):
            for rows in range(1, 21):
                tensors = rows_for(shapes, rows, vocabulary)
                names = [out.name for out in model.graph.output]
                expected = dict(zip(names, reference.run(None, tensors), strict=True))
                for key, value in ask(name, tensors).items():
                    np.testing.assert_allclose(
                        value, expected[key], 1e-5, 1e-6, err_msg=f"{key}, {rows} rows"
                    )
            print("1 to 20 rows equal onnxruntime's")
    assert_nothing_left()


main()
