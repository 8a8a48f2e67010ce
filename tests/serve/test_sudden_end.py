"""`ascend-serve run` that is killed leaves nothing behind, and one whose port is taken says so."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.tools import ROOT, eventually, free_port, processes_of, served

pytestmark = pytest.mark.serve

COMMAND = [str(Path(sys.executable).parent / "ascend-serve"), "run", "deployments/resnet.yaml", "--port"]


def test_a_run_that_is_killed_leaves_no_process_and_no_card(tmp_path_factory: pytest.TempPathFactory) -> None:
    scratch = tmp_path_factory.mktemp("k")
    port = free_port()
    with served([*COMMAND, str(port)], port, scratch) as process:
        # HAProxy replaces its process when replicas come and go.
        wanted = {"haproxy", "raylet"}
        eventually("both run", lambda: wanted <= {mine.info["name"] for mine in processes_of(scratch)}, 30)
        os.kill(process.pid, signal.SIGKILL)
    eventually("all processes of the run are gone", lambda: not processes_of(scratch), 60)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        ended = subprocess.run(
            [*COMMAND, port], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
    assert ended.returncode == 2
    assert f"port {port} is taken" in ended.stderr
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr
