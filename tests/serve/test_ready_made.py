"""An `.om` that somebody else compiled is served without any ONNX: dynamic, static, and batch 1 only."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serve.tools import ROOT

pytestmark = pytest.mark.serve

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def om(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compile the shipped network by hand, as a user would have."""
    folder = tmp_path_factory.mktemp("om")

    def compiled(stem: str, *options: str) -> Path:
        command = [
            str(Path(sys.executable).parent / "atc"),
            f"--model={ROOT / 'examples/digits/resnet20.onnx'}",
            "--framework=5",
            f"--output={folder / stem}",
            "--soc_version=Ascend310P3",
            "--precision_mode_v2=origin",
            *options,
        ]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
        return folder / f"{stem}.om"

    return compiled


@pytest.mark.parametrize(
    ("stem", "options", "by_soc"),
    [
        ("gears", ["--input_shape=image:-1,1,32,32", "--dynamic_batch_size=2,6"], False),
        ("static", ["--input_shape=image:4,1,32,32"], True),
        ("single", ["--input_shape=image:1,1,32,32"], False),
    ],
)
def test_a_ready_made_om_is_served(
    deploy: Callable[..., Any],
    om: Callable[..., Path],
    digits: Array,
    expected: Array,
    stem: str,
    options: list[str],
    by_soc: bool,
) -> None:
    path = str(om(stem, *options))
    handle = deploy(f"om-{stem}", args={"om": {"Ascend310P3": path} if by_soc else path})
    for rows in (1, 4, 7):
        logits = handle.infer.remote(digits[:rows]).result(timeout_s=60)
        np.testing.assert_allclose(logits, expected[:rows], rtol=1e-4, atol=1e-5)
