"""Clients that leave on Serve's fast data path, where Serve's own watch is off and ours is on."""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from ascend_serve.batching.journal import Cancelled, Offered, decode_all
from tests.serve.tools import eventually, free_port, infer_binary, outputs, served

pytestmark = pytest.mark.serve

ROOT = Path(__file__).resolve().parents[2]
HOOK = "ascend_serve.serving.untracked.middlewares"


async def test_serve_is_told_not_to_watch_http_requests_of_ours_alone() -> None:
    from ascend_serve.serving import untracked

    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    marked = untracked.Untracked(app)
    await marked({"type": "http", "headers": [(b"host", b"a")]}, None, None)  # type: ignore[arg-type]
    await marked({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == [
        {"type": "http", "headers": [(b"host", b"a"), (b"x-request-disconnect-disabled", b"?1")]},
        {"type": "lifespan"},
    ]
    assert untracked.middlewares() == [], "this process is no replica of ours"


def test_a_client_that_leaves_while_it_waits_is_cancelled_and_journalled(
    tmp_path_factory: pytest.TempPathFactory, digits: "np.ndarray[Any, Any]"
) -> None:
    scratch = tmp_path_factory.mktemp("l")
    times = scratch / "times.json"
    times.write_text(json.dumps({"models": {"resnet": {"1": 4000.0, "4": 5.0, "8": 5.0, "16": 5.0}}}))
    port = free_port()
    shipped = yaml.safe_load((ROOT / "deployments/resnet.yaml").read_text())
    shipped["applications"][0]["args"]["batching"] = {
        "policy": "pad_up",
        "slots": 1,
        "journal": str(scratch / "log.jsonl"),
    }
    file = scratch / "serve.yaml"
    file.write_text(yaml.safe_dump(shipped))
    command = [str(Path(sys.executable).parent / "ascend-serve"), "run", str(file), "--port", str(port)]
    variables = {
        "ASCEND_EMULATOR_TIMES": str(times),
        "ASCEND_EMULATOR_TIMING": "modelled",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": HOOK,
    }
    path, body, headers = infer_binary(digits[:1])
    with served(command, port, scratch, **variables):
        url = f"http://127.0.0.1:{port}{path}"
        lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        with socket.create_connection(("127.0.0.1", port)) as first:
            first.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            eventually("the first runs", lambda: _noted(scratch, Offered) == 1)
            with socket.create_connection(("127.0.0.1", port)) as leaver:
                leaver.sendall("\r\n".join([*lines, "", ""]).encode() + body)
                eventually("the second waits", lambda: _noted(scratch, Offered) == 2)
            eventually("it is heard to have left", lambda: _noted(scratch, Cancelled) == 1)
            answer = httpx.post(url, content=body, headers=headers, timeout=60)
            assert outputs(answer)["logits"].shape == (1, 10)
            assert first.recv(15) == b"HTTP/1.1 200 OK"
    (journal,) = scratch.glob("log.*.jsonl")
    events = list(decode_all(journal.read_bytes().splitlines(keepends=True)))
    assert sum(isinstance(event, Offered) for event in events) == 3
    assert [event.ticket for event in events if isinstance(event, Cancelled)] == [
        [event.ticket for event in events if isinstance(event, Offered)][1]
    ]


def _noted(scratch: Path, kind: type[Offered] | type[Cancelled]) -> int:
    """Events of a kind in the journal by now; it is written once a second."""
    found = list(scratch.glob("log.*.jsonl"))
    if not found:
        return 0
    lines = found[0].read_bytes().splitlines(keepends=True)
    return sum(isinstance(event, kind) for event in decode_all(lines))
