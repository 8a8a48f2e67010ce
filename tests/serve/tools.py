"""Waiting, ports, and Open Inference requests by hand, so that the tests do not decode with the code they test."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

Array = np.ndarray[Any, Any]
ROOT = Path(__file__).resolve().parents[2]


def infer_binary(
    rows: Array, *, model: str = "resnet", name: str = "image"
) -> tuple[str, bytes, dict[str, str]]:
    """Path, body and headers of a request in the binary extension, asking for binary outputs."""
    raw = rows.tobytes()
    tensor = {
        "name": name,
        "shape": rows.shape,
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw)},
    }
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return f"/v2/models/{model}/infer", header + raw, {"Inference-Header-Content-Length": str(len(header))}


def outputs(response: httpx.Response) -> dict[str, Array]:
    """FP32 outputs of a binary answer; raises on any status but 200."""
    response.raise_for_status()
    length = int(response.headers["Inference-Header-Content-Length"])
    tail = response.content[length:]
    found = {}
    for tensor in json.loads(response.content[:length])["outputs"]:
        size = tensor["parameters"]["binary_data_size"]
        found[tensor["name"]] = np.frombuffer(tail[:size], "<f4").reshape(tensor["shape"])
        tail = tail[size:]
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(what: str, check: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """Ask until the answer is true; the answer. Fails, naming what was waited for, past the limit."""
    deadline = time.monotonic() + timeout_s
    while not (answer := check()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.1)
    return answer


@contextmanager
def served(command: list[str], port: int, scratch: Path, **variables: str) -> Iterator[psutil.Process]:
    """The shipped model served by a command, in a session and on cards of its own; ended by Ctrl-C."""
    environment = {
        **os.environ,
        "RAY_TMPDIR": str(scratch),
        "ASCEND_SERVE_STORE": str(scratch / "store"),
        "RAY_AUTH_TOKEN_PATH": str(scratch / "token"),
        "XDG_RUNTIME_DIR": str(scratch),
        "ASCEND_EMULATOR_NODE": "served",
        **variables,
    }
    (scratch / "token").write_text("0123456789abcdef0123456789abcdef")
    log = scratch / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, start_new_session=True, stdout=output, stderr=output
        )

    def ready() -> bool:
        assert process.poll() is None, (
            f"{command[0]} ended with {process.returncode}: {log.read_text()[-2000:]}"
        )
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v2/models/resnet/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually("the model is ready", ready, 120)
        yield psutil.Process(process.pid)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        process.wait(90)


def processes_of(scratch: Path) -> list[psutil.Process]:
    """Every process of a `served` run: those that name its folder in their command line or environment.

    What is asked of them is in their `info`, because each may end at any time.
    """
    return [
        process
        for process in psutil.process_iter(["name", "cmdline", "environ"])
        if any(
            str(scratch) in word
            for word in (
                *(process.info["cmdline"] or ()),
                (process.info["environ"] or {}).get("RAY_TMPDIR", ""),
            )
        )
    ]


def cards() -> list[int]:
    """Processes of the emulated cards of this run's cluster. Not their sockets: that of a killed card outlives it."""
    mine = os.environ["RAY_TMPDIR"]
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "ascend_emulator.card" in (command := " ".join(process.info["cmdline"] or [])) and mine in command
    ]
