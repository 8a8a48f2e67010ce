"""A TensorFlow SavedModel → a file that ATC reads: a frozen graph, or ONNX.

ATC takes frozen graphs and ONNX, no SavedModel (facts: ATC §1.3). TensorFlow is no dependency of this package: the
conversion runs as a program of its own (`_saved_model_script.py`) in whichever Python has it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from ascend_serve import env
from ascend_serve.compiling.process import run
from ascend_serve.errors import CompileError, ConfigError, ToolMissing
from ascend_serve.spec.text import nearest

_SCRIPT = Path(__file__).with_name("_saved_model_script.py")
_SUFFIX = {"freeze": ".pb", "onnx": ".onnx"}
_QUIET = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
"""Converting needs no GPU, and TensorFlow would otherwise take all memory of one."""
_INSTALL = (
    "install it with `pip install 'ascend-serve[tensorflow]'`, or beside this environment: `python3 -m venv tf && "
    "tf/bin/pip install tensorflow tf2onnx`, and name that Python in ASCEND_SERVE_TENSORFLOW_PYTHON"
)


@dataclass(frozen=True, slots=True)
class Converted:
    """What a SavedModel became.

    Attributes:
        path: the frozen graph (`.pb`) or the ONNX model.
        inputs: names of its inputs, which are those of the signature; ones that nothing reads are left out.
        outputs: names of its outputs, which are those of the signature.
    """

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def convert(
    folder: Path, how: Literal["freeze", "onnx"], signature: str, out: Path, *, timeout_s: float
) -> Converted:
    """Convert one signature of a SavedModel.

    Inputs and outputs keep the names that the signature gives them, so that a recipe can name them. A frozen graph
    has an Identity node for each output, of its name: `out_nodes: ["<name>:0"]`.

    Args:
        folder: the SavedModel.
        how: `freeze`, by TensorFlow's own means, or `onnx`, by tf2onnx.
        signature: which of its signatures, such as `serving_default`.
        out: folder for the result, named after the SavedModel, and the log `saved_model.log`.
        timeout_s: time limit in seconds.

    Raises:
        ConfigError: the SavedModel has no such signature; the message lists those it has.
        ToolMissing: no Python with TensorFlow (and tf2onnx); the message says how to get one.
        CompileError: the conversion failed or took too long.
    """
    setting = env.tensorflow_python()
    python = shutil.which(setting)
    if python is None:
        raise ToolMissing(f"ASCEND_SERVE_TENSORFLOW_PYTHON is {setting}, which is no program that can be run")
    path = out / f"{folder.name}{_SUFFIX[how]}"
    report, log = out / "saved_model.json", out / "saved_model.log"
    for left_over in (path, report):
        left_over.unlink(missing_ok=True)
    command = [python, str(_SCRIPT), str(folder), how, signature, str(path), str(report)]
    status = run(command, cwd=out, log=log, timeout_s=timeout_s, environment=_QUIET)
    if status is None:
        raise CompileError(
            f"converting the SavedModel {folder} took longer than {timeout_s:g} s: raise timeout_s in the recipe"
        )
    found: dict[str, Any] = orjson.loads(report.read_bytes()) if report.is_file() else {}
    if missing := found.get("missing"):
        raise ToolMissing(
            f"converting the SavedModel {folder} needs {missing}, which {python} does not have: {_INSTALL}"
        )
    if (signatures := found.get("signatures")) is not None:
        raise ConfigError(
            f"the SavedModel {folder} has no signature '{signature}'"
            + (nearest(signature, signatures) if signatures else ": it was saved without signatures")
        )
    if status != 0 or not path.is_file():
        raise CompileError(f"the SavedModel {folder} could not be converted: {_last_line(log, status)}")
    return Converted(path, tuple(found["inputs"]), tuple(found["outputs"]))


def _last_line(log: Path, status: int) -> str:
    """What the program said last, which for Python is the exception."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    said = next((line for line in reversed(lines) if line), "it said nothing")
    return f"{said[:500]} (exit status {status})"
