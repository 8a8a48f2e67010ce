"""Ray's autoscaler adds a node with an emulated NPU for a replica that fits nowhere, and takes it away again."""

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.serve.tools import ROOT, eventually, processes_of

pytestmark = pytest.mark.serve


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder with a short name, for sockets; in the end whatever runs in it is ended."""
    with tempfile.TemporaryDirectory(prefix="fk-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
        for process in processes_of(Path(folder)):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue  # it went with another one
        eventually("all processes of the cluster are gone", lambda: not processes_of(Path(folder)))


def test_a_load_that_one_npu_does_not_bear_adds_a_node_and_it_goes_with_its_replica(
    scratch: Path, store: Path
) -> None:
    (scratch / "token").write_text(uuid.uuid4().hex)
    done = subprocess.run(
        [sys.executable, "-m", "tests.serve.growing_fleet", scratch, store],
        cwd=ROOT,
        env={
            **os.environ,
            "RAY_TMPDIR": str(scratch),
            "RAY_AUTH_TOKEN_PATH": str(scratch / "token"),
            "XDG_RUNTIME_DIR": str(scratch),
            "ASCEND_EMULATOR_NODE": "fake",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads((scratch / "told.json").read_text())
    head, added = ["head", 1.0, "Ascend310P3"], ["added", 1.0, "Ascend310P3"]
    assert told["alone"] == {"replicas": 1, "nodes": [head]}
    assert told["grown"] == {"replicas": 2, "nodes": [added, head]}
    assert told["left"] == [head]
    assert told["answers"] > 0
    assert told["others"] == 0
