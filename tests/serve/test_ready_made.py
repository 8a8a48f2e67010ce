"""An `.om` that somebody else compiled is served without any ONNX: dynamic, static, and batch 1 only."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serve.deploying import Deploy
from tests.serve.tools import ROOT

pytestmark = pytest.mark.serve

Array = np.ndarray[Any, Any]


OPTIONS = {
    "gears": ["--input_shape=image:-1,1,32,32", "--dynamic_batch_size=2,6"],
    "static": ["--input_shape=image:4,1,32,32"],
    "single": ["--input_shape=image:1,1,32,32"],
}


@pytest.fixture(scope="module")
def deployed(deploy: Deploy, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The shipped network compiled by hand in each way, as a user would have, and served as `om-<way>`."""
    folder = tmp_path_factory.mktemp("om")
    told = [
        f"--model={ROOT / 'examples/digits/resnet20.onnx'}",
        "--framework=5",
        "--soc_version=Ascend310P3",
        "--precision_mode_v2=origin",
    ]
    atc = str(Path(sys.executable).parent / "atc")
    compiling = [
        subprocess.Popen(
            [atc, *told, f"--output={folder / stem}", *options], cwd=folder, stdout=subprocess.DEVNULL
        )
        for stem, options in OPTIONS.items()
    ]
    assert [process.wait(120) for process in compiling] == [0, 0, 0]
    deploy.add("om-gears", args={"om": str(folder / "gears.om")})
    deploy.add("om-static", args={"om": {"Ascend310P3": str(folder / "static.om")}})
    deploy("om-single", args={"om": str(folder / "single.om")})


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("way", OPTIONS)
def test_a_ready_made_om_is_served(digits: Array, expected: Array, way: str) -> None:
    from ray import serve

    handle = serve.get_app_handle(f"om-{way}")
    for rows in (1, 4, 7):
        logits = handle.infer.remote(digits[:rows]).result(timeout_s=60)
        np.testing.assert_allclose(logits, expected[:rows], rtol=1e-4, atol=1e-5)
