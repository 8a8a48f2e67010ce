"""Runs of the emulated `atc` in this process: small networks as text, and what a run said and made."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from ascend_emulator.atc import main
from ascend_emulator.om import OmFile, read_om

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
NET = (
    HEADER
    + " net (float[N,4] x) => (float[N,3] y) <float[4,3] w = {1,2,3,4,5,6,7,8,9,10,11,12}> {"
    + " [fc] h = MatMul(x, w) [act] y = Relu(h) }"
)
BASE = ["--framework=5", "--soc_version=Ascend310P3"]
GEARS = ["--input_shape=x:-1,4", "--dynamic_batch_size=1,2"]
STATIC = ["--input_shape=x:2,4"]

Run = Callable[..., tuple[int, str, str]]


def save(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ASCEND_HOME_PATH", "ASCEND_OPP_PATH", "ASCEND_TOOLKIT_HOME", "ASCEND_WORK_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name in ("FORCE", "CANN", "COMPILE_TIME"):
        monkeypatch.delenv(f"ASCEND_EMULATOR_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(arguments)
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def compile_text(run: Run, folder: Path) -> Callable[..., OmFile]:
    def call(text: str, *arguments: str) -> OmFile:
        save(folder / "net.onnx", text)
        status, out, _ = run("--model=net.onnx", "--output=net", *BASE, *arguments)
        assert status == 0, out
        return read_om((folder / "net.om").read_bytes())

    return call


@pytest.fixture
def refused(run: Run, folder: Path) -> Callable[..., str]:
    """Compile something that must fail; gives code and report as one text."""

    def call(text: str, *arguments: str, base: list[str] = BASE) -> str:
        save(folder / "net.onnx", text)
        status, out, _ = run("--model=net.onnx", "--output=made/net", *base, *arguments)
        assert status == 255
        assert not (folder / "made" / "net.om").exists()
        return out

    return call


def code(out: str) -> str:
    """The root code, found as the product's log reader finds it."""
    found = re.search(r"\b(E[0-9]{5}|E[A-Z][0-9]{4}|W[0-9]{5}|W[A-Z][0-9]{4})\b", out)
    assert found is not None, out
    return found[1]
