"""Waiting, ports, and Open Inference requests by hand, so that the tests do not decode with the code they test."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import httpx
import numpy as np
import psutil
import pytest
from ascend_emulator import control

Array = np.ndarray[Any, Any]
ROOT = Path(__file__).resolve().parents[2]

_PORTS = iter(range(20_000 + os.getpid() * 97 % 8_000, 30_000))
"""Above those of Ray's workers, below those of Serve's replicas and of the system."""


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
    """A port where nobody listens, never the same twice, and none that the system or Ray gives to whoever asks."""
    for port in _PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue  # somebody listens there
            return port
    raise AssertionError("no free port is left")


def eventually(what: str, check: Callable[[], Any], timeout_s: float = 120.0, *, every_s: float = 0.1) -> Any:
    """Ask until the answer is true; the answer. Fails, naming what was waited for, past the limit."""
    deadline = time.monotonic() + timeout_s
    while not (answer := check()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(every_s)
    return answer


def exported(what: str, check: Callable[[], Any]) -> Any:
    """As `eventually`, of Ray's page of metrics: who asks for it without pause leaves its agent no time for news."""
    return eventually(what, check, 240, every_s=2.0)


def metrics_page(port: int) -> str:
    """What Ray exports there: megabytes late in a run, since it forgets no replica, so a busy host takes seconds."""
    return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).raise_for_status().text


class Served:
    """The shipped model served by a command, in a session and on cards of its own.

    Args:
        command: serves it over HTTP; it may go on for long, so several are started before the first is waited for.
        port: of HTTP.
        scratch: folder of the session, the store and the log.
        variables: of the command's environment, beside those of this run.
    """

    NODE = "served"
    _ending: ClassVar["list[Served]"] = []

    def __init__(self, command: list[str], port: int, scratch: Path, **variables: str) -> None:
        environment = {
            **os.environ,
            "RAY_TMPDIR": str(scratch),
            "ASCEND_SERVE_STORE": str(scratch / "store"),
            "RAY_AUTH_TOKEN_PATH": str(scratch / "token"),
            "XDG_RUNTIME_DIR": str(scratch),
            "ASCEND_EMULATOR_NODE": self.NODE,
            **variables,
        }
        (scratch / "token").write_text("0123456789abcdef0123456789abcdef")
        self.port, self.scratch = port, scratch
        self._log = scratch / "log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, start_new_session=True, stdout=output, stderr=output
            )

    def wait_until_ready(self) -> None:
        eventually("the model is ready", self._ready, 480)

    def slow_down(self, factor: float) -> None:
        """Have its card take so many times as long from now on."""
        slow_down(self.NODE, self.scratch, factor)

    def end(self) -> None:
        """Send Ctrl-C as a terminal does, to the whole group; `wait_for_ends` waits for what that takes."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        self._ending.append(self)

    @classmethod
    def wait_for_ends(cls) -> None:
        """Fail unless every run that was told to end has ended, and left no process behind."""
        for run in cls._ending:
            run.process.wait(120)
            eventually("all processes of the run are gone", run._is_gone)

    def _is_gone(self) -> bool:
        return not processes_of(self.scratch)

    def _ready(self) -> bool:
        assert self.process.poll() is None, (
            f"it ended with {self.process.returncode}: {self._log.read_text()[-2000:]}"
        )
        try:
            url = f"http://127.0.0.1:{self.port}/v2/models/resnet/ready"
            return httpx.get(url, timeout=2).status_code == 200
        except httpx.TransportError:
            return False


def processes_of(scratch: Path) -> list[psutil.Process]:
    """Every process of a `Served` run: those that name its folder in their command line or environment.

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


def listening(scratch: Path, ports: Collection[int]) -> dict[str, set[str]]:
    """Interfaces by who listens, in a `Served` run: Serve on one of its ports, or a replica.

    Ray's own processes talk to each other on ports of their choosing, guarded by its token; they are left out.
    """
    found: dict[str, set[str]] = {}
    for process in processes_of(scratch):
        try:
            name, connections = process.name(), process.net_connections("inet")
        except psutil.NoSuchProcess:
            continue  # a worker that ended meanwhile
        for connection in connections:
            if connection.status != psutil.CONN_LISTEN:
                continue
            interface, port = connection.laddr
            if name == "haproxy":
                who = f"HAProxy {port}"
            elif name.startswith("ray::ServeRepli") and 30000 <= port < 31000:
                who = "replica"
            elif name.startswith("ray::Proxy") and port in ports:
                who = f"proxy {port}"
            else:
                continue
            found.setdefault(who, set()).add("all" if interface in ("0.0.0.0", "::") else interface)
    return found


def cards() -> list[int]:
    """Processes of the emulated cards of this run's cluster. Not their sockets: that of a killed card outlives it."""
    mine = os.environ["RAY_TMPDIR"]
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "ascend_emulator.card" in (command := " ".join(process.info["cmdline"] or [])) and mine in command
    ]


def slow_down(node: str, folder: Path, factor: float) -> None:
    """Have everything on the cards of a node take so many times as long from now on; 1 undoes it.

    A model that is to run for seconds is slowed down when it serves: a replica gets ready by running each gear at
    least four times.

    Args:
        node: the emulated node.
        folder: its `XDG_RUNTIME_DIR`.
        factor: at least 1.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        running = control.cards(node)
        assert running, f"no card of {node} runs"
        for state in running:
            with control.Card(state.number, node) as card:
                card.slow(factor)


def slow_device(folder: Path, ms: Mapping[str, float], **variables: str) -> dict[str, Any]:
    """Actor options of a replica whose emulated card takes the given milliseconds at each gear.

    Args:
        folder: for the table of times.
        ms: by gear.
        variables: further ones of the replica's environment.
    """
    table = folder / "times.json"
    table.write_text(json.dumps({"models": {"resnet": ms}}))
    return {
        "num_cpus": 0.25,
        "resources": {"NPU": 1},
        "runtime_env": {
            "env_vars": {
                "ASCEND_EMULATOR_TIMING": "modelled",
                "ASCEND_EMULATOR_TIMES": str(table),
                **variables,
            }
        },
    }
