"""SavedModel sources: the conversion as a program of its own, with a stub for TensorFlow, and for real where it is."""

import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from ascend_serve.compiling.saved_model import Converted, convert
from ascend_serve.errors import CompileError, ConfigError, ToolMissing

pytestmark = pytest.mark.unit

# Its arguments, as `convert` passes them: $1 the script, $2 SavedModel, $3 how, $4 signature, $5 result, $6 report.
WRITES = (
    """echo "$3 $4 $CUDA_VISIBLE_DEVICES" > "$5"; echo '{"inputs": ["b", "a"], "outputs": ["y"]}' > "$6" """
)


def python(folder, script):
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def folders(tmp_path):
    """A folder that stands for a SavedModel, and one for results."""
    model, out = tmp_path / "model", tmp_path / "out"
    model.mkdir()
    out.mkdir()
    return model, out


@pytest.fixture
def stub(tmp_path, monkeypatch):
    def use(script):
        monkeypatch.setenv("ASCEND_SERVE_TENSORFLOW_PYTHON", str(python(tmp_path, script)))

    return use


def converted(folders, how="freeze", signature="serving_default", timeout_s=30.0):
    return convert(folders[0], how, signature, folders[1], timeout_s=timeout_s)


@pytest.mark.parametrize(("how", "suffix"), [("freeze", ".pb"), ("onnx", ".onnx")])
def test_the_result_and_its_names_are_told(folders, stub, how, suffix):
    stub(WRITES)
    path = folders[1] / f"model{suffix}"
    assert converted(folders, how, "score") == Converted(path, ("b", "a"), ("y",))
    assert path.read_text() == f"{how} score -1\n"


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        (
            """echo '{"signatures": ["serving_default", "train"]}' > "$6" """,
            ConfigError,
            "no signature 'serving_defualt'; did you mean 'serving_default'",
        ),
        ("""echo '{"signatures": []}' > "$6" """, ConfigError, "it was saved without signatures"),
        (
            """echo '{"missing": "tf2onnx"}' > "$6" """,
            ToolMissing,
            r"needs tf2onnx, which .*python does not have: .*pip install 'ascend-serve\[tensorflow\]'.*"
            "ASCEND_SERVE_TENSORFLOW_PYTHON",
        ),
        (
            "echo Traceback; echo 'KeyError: MyOp'; exit 1",
            CompileError,
            r"could not be converted: KeyError: MyOp \(exit status 1\)",
        ),
        ("exit 0", CompileError, "could not be converted: it said nothing"),
    ],
)
def test_a_conversion_that_fails_says_why(folders, stub, script, error, message):
    stub(script)
    with pytest.raises(error, match=message):
        converted(folders, signature="serving_defualt")


def test_a_report_of_an_earlier_run_counts_for_nothing(folders, stub):
    stub(WRITES)
    converted(folders)
    stub("exit 0")
    with pytest.raises(CompileError, match="exit status 0"):
        converted(folders)


def test_a_conversion_has_a_time_limit(folders, stub):
    stub("sleep 60")
    with pytest.raises(CompileError, match=r"took longer than 0.2 s: raise timeout_s"):
        converted(folders, timeout_s=0.2)


def test_a_python_that_is_not_there_is_named(folders, monkeypatch):
    monkeypatch.setenv("ASCEND_SERVE_TENSORFLOW_PYTHON", "/gone/python")
    with pytest.raises(
        ToolMissing, match="ASCEND_SERVE_TENSORFLOW_PYTHON is /gone/python, which is no program"
    ):
        converted(folders)


def test_the_script_tells_what_a_python_without_tensorflow_lacks(folders, stub):
    # -S: no site-packages, whatever is installed here.
    stub(f'exec "{sys.executable}" -S "$@"')
    with pytest.raises(ToolMissing, match="needs tensorflow, which"):
        converted(folders)


# --- with TensorFlow ----------------------------------------------------------------------------

_TENSORFLOW = os.environ.get("ASCEND_SERVE_TENSORFLOW_PYTHON")

MODERN = """
import sys
import tensorflow as tf

class Net(tf.Module):
    def __init__(self):
        self.w = tf.Variable([[1.0, 2.0], [3.0, 4.0]])

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32), tf.TensorSpec([None, 2], tf.float32)])
    def score(self, zeta, alpha):
        made = tf.matmul(zeta, self.w) - 2 * alpha
        return {"scores": made, "best": tf.argmax(made, axis=1)}

net = Net()
tf.saved_model.save(net, sys.argv[1], signatures={"score": net.score})
"""
FIRST = """
import sys
import tensorflow.compat.v1 as tf

tf.disable_eager_execution()
with tf.Graph().as_default(), tf.Session() as session:
    zeta, alpha = (tf.placeholder(tf.float32, [None, 2], name=name) for name in ("some", "other"))
    w = tf.get_variable("w", initializer=[[1.0, 2.0], [3.0, 4.0]], use_resource=False)
    made = tf.subtract(tf.matmul(zeta, w), 2 * alpha)
    session.run(tf.global_variables_initializer())
    signature = tf.saved_model.predict_signature_def(
        {"zeta": zeta, "alpha": alpha}, {"scores": made, "best": tf.argmax(made, axis=1)}
    )
    builder = tf.saved_model.Builder(sys.argv[1])
    builder.add_meta_graph_and_variables(session, ["serve"], {"score": signature})
    builder.save()
"""
RUN_FROZEN = """
import json
import sys
import tensorflow.compat.v1 as tf

graph_def = tf.GraphDef.FromString(open(sys.argv[1], "rb").read())
with tf.Graph().as_default(), tf.Session() as session:
    tf.import_graph_def(graph_def, name="")
    feeds = {"zeta:0": [[1, 2]], "alpha:0": [[1, 1]]}
    found = session.run({"scores": "scores:0", "best": "best:0"}, feeds)
print(json.dumps({name: value.tolist() for name, value in found.items()}))
"""


def in_tensorflow(program, *arguments):
    done = subprocess.run(
        [_TENSORFLOW, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


@pytest.fixture
def _with_tensorflow(monkeypatch):
    if _TENSORFLOW is None:
        pytest.skip("ASCEND_SERVE_TENSORFLOW_PYTHON names no Python with TensorFlow and tf2onnx")
    # No test inherits what the user has set; these were asked for by it.
    monkeypatch.setenv("ASCEND_SERVE_TENSORFLOW_PYTHON", _TENSORFLOW)


@pytest.mark.usefixtures("_with_tensorflow")
@pytest.mark.parametrize("program", [MODERN, FIRST], ids=["TensorFlow 2", "TensorFlow 1"])
def test_the_signatures_names_are_those_of_the_result(tmp_path, program):
    model = tmp_path / "model"
    in_tensorflow(program, model)
    frozen = convert(model, "freeze", "score", tmp_path, timeout_s=300)
    assert (frozen.inputs, frozen.outputs) == (("alpha", "zeta"), ("best", "scores"))
    assert in_tensorflow(RUN_FROZEN, frozen.path)[-1] == '{"scores": [[5.0, 8.0]], "best": [1]}'
    as_onnx = convert(model, "onnx", "score", tmp_path, timeout_s=300)
    assert (as_onnx.inputs, as_onnx.outputs) == (("alpha", "zeta"), ("best", "scores"))
    onnx.checker.check_model(onnx.load(as_onnx.path), full_check=True)
    session = onnxruntime.InferenceSession(as_onnx.path, providers=["CPUExecutionProvider"])
    feeds = {"zeta": np.array([[1, 2]], np.float32), "alpha": np.ones((1, 2), np.float32)}
    best, scores = session.run(["best", "scores"], feeds)
    assert (best.tolist(), scores.tolist()) == ([1], [[5, 8]])
    assert [value.name for value in session.get_inputs()] == ["alpha", "zeta"]


@pytest.mark.usefixtures("_with_tensorflow")
def test_a_folder_that_is_no_saved_model_is_refused_in_tensorflows_words(tmp_path):
    with pytest.raises(CompileError, match="SavedModel file does not exist"):
        convert(tmp_path, "freeze", "score", tmp_path, timeout_s=300)


@pytest.mark.usefixtures("_with_tensorflow")
def test_the_signatures_there_are_are_told(tmp_path):
    in_tensorflow(MODERN, tmp_path / "model")
    with pytest.raises(ConfigError, match=r"no signature 'serving_default'; .*score"):
        convert(tmp_path / "model", "freeze", "serving_default", tmp_path, timeout_s=300)
