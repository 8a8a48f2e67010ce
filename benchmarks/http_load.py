"""A load of HTTP requests from a process of its own (`http_client.py`): what goes in, and what comes out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from benchmarks.node import ROOT

HTTP_CLIENT = "benchmarks.http_client"
READY = "ready\n"
DONE = "done\n"


@dataclass(frozen=True, slots=True)
class Load:
    """What to send.

    Attributes:
        port: of the server, on 127.0.0.1.
        requests: whole HTTP/1.1 requests in hexadecimal; connection i sends request i, modulo their number.
        tail_bytes: how many bytes at the end of an answer are the model's output.
        connections: how many are kept open.
        seconds: length of the measured part.
        rate_per_s: mean of an open loop; 0 is a closed loop.
        swing: of an open loop with bursts (see `arrivals.bursts`); 0 is a Poisson stream.
        seed: of that stream.
    """

    port: int
    requests: list[str]
    tail_bytes: int
    connections: int
    seconds: float
    rate_per_s: float = 0.0
    swing: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What came back in the measured part.

    Attributes:
        latencies_ms: of each good answer.
        elapsed_s: to the last answer.
        outputs: the models' outputs to the distinct requests, in hexadecimal.
        client_cpu_s: CPU seconds of the client.
        refused: requests that were answered with 429 or 503.
        unsent: requests of an open loop that found no connection in time.
        lag_p99_ms: how late the client itself sent in an open loop.
    """

    latencies_ms: list[float]
    elapsed_s: float
    outputs: list[str]
    client_cpu_s: float
    refused: int = 0
    unsent: int = 0
    lag_p99_ms: float = 0.0


def request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Write one whole request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _nothing() -> None:
    pass


def send(
    load: Load,
    *,
    on_start: Callable[[], None],
    on_end: Callable[[], None] = _nothing,
    client: str = HTTP_CLIENT,
) -> Seen:
    """Run a load in a process of its own.

    Args:
        load: what to send.
        on_start: called before the measured part, when client and server are warm; the client waits for it.
        on_end: called after the last answer.
        client: the module that sends it.

    Raises:
        RuntimeError: the client failed, with what it wrote.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", client],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdin is not None, "a pipe was asked for"
        assert process.stdout is not None, "a pipe was asked for"
        assert process.stderr is not None, "a pipe was asked for"
        try:
            process.stdin.write(json.dumps(asdict(load)) + "\n")
            process.stdin.flush()
            if process.stdout.readline() == READY:
                on_start()
                process.stdin.write("go\n")
                process.stdin.flush()
                if process.stdout.readline() == DONE:
                    on_end()
            answer, trouble = process.stdout.read(), process.stderr.read()
            process.wait()
        finally:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"the client of port {load.port} failed: {trouble.strip().splitlines()[-1]}")
    return Seen(**json.loads(answer))
