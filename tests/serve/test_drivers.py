"""A plain driver beside a served model, with Serve's fast-path variables and without them, also with 5 MB."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.tools import ROOT, free_port, processes_of, served

pytestmark = pytest.mark.serve

DRIVER = """
import sys, numpy as np, ray
from ray import serve
ray.init(address=sys.argv[1], log_to_driver=False)
with np.load("examples/digits/heldout.npz") as heldout:
    images, labels = heldout["images"][:, None].astype(np.float32) / 255, heldout["labels"]
handle = serve.get_app_handle("resnet")
few = handle.infer.remote({"image": images[:5]}).result(timeout_s=60)["logits"]
assert (few.argmax(axis=1) == labels[:5]).all()
rows = np.tile(images, (4, 1, 1, 1))[:1280]
assert rows.nbytes > 5_000_000
many = handle.infer.remote(rows).result(timeout_s=120)
assert (many.argmax(axis=1) == np.tile(labels, 4)[:1280]).mean() > 0.97
"""

FAST = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a model served by `ascend-serve run`."""
    port = free_port()
    folder = tmp_path_factory.mktemp("d")
    command = [
        str(Path(sys.executable).parent / "ascend-serve"),
        "run",
        "deployments/resnet.yaml",
        "--port",
        str(port),
    ]
    with served(command, port, folder):
        yield folder


def gcs_address(scratch: Path) -> str:
    """Of the run's own cluster: Ray's `auto` may find another one of this machine."""
    told = [word for process in processes_of(scratch) for word in process.info["cmdline"]]
    return next(word.partition("=")[2] for word in told if word.startswith("--gcs-address="))


@pytest.mark.parametrize("variables", [{}, FAST], ids=["without the variables", "with the variables"])
def test_a_driver_asks_through_a_handle(scratch: Path, variables: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment.update(
        variables, RAY_TMPDIR=str(scratch), RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(scratch / "token")
    )
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER, gcs_address(scratch)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
