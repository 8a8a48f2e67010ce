"""Which sockets listen while a model is served: the table "Ports" of the README, in both modes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from tests.serve.tools import ROOT, eventually, free_port

pytestmark = pytest.mark.serve

BIN = Path(sys.executable).parent
RAY_ITSELF = "(Ray)"
"""Ray's own processes talk to each other on ports of their choosing, guarded by its token."""


@contextmanager
def served(command: list[str], port: int, scratch: Path) -> Iterator[psutil.Process]:
    environment = {
        **os.environ,
        "RAY_TMPDIR": str(scratch),
        "ASCEND_SERVE_STORE": str(scratch / "store"),
        "RAY_AUTH_TOKEN_PATH": str(scratch / "token"),
        "ASCEND_EMULATOR_NODE": "ports",
    }
    (scratch / "token").write_text("0123456789abcdef0123456789abcdef")
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def ready() -> bool:
        assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v2/models/resnet/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually("the model is ready", ready, 120)
        yield psutil.Process(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(90)


def listening(root: psutil.Process) -> dict[str, set[str]]:
    """Interfaces by who listens: a named port of Serve's, or Ray itself."""
    found: dict[str, set[str]] = {}
    for process in [root, *root.children(recursive=True)]:
        try:
            connections = process.net_connections("inet")
        except psutil.NoSuchProcess:
            continue  # a worker that ended meanwhile
        for connection in connections:
            if connection.status != psutil.CONN_LISTEN:
                continue
            interface, port = connection.laddr
            name = process.name()
            if name == "haproxy":
                who = f"HAProxy {port}"
            elif name.startswith("ray::ServeRepli") and 30000 <= port < 31000:
                who = "replica"
            elif name.startswith("ray::Proxy") and (port in (8000, 8500) or port == PORT):
                who = f"proxy {port}"
            else:
                who = RAY_ITSELF
            found.setdefault(who, set()).add("all" if interface in ("0.0.0.0", "::") else interface)
    return found


PORT = free_port()


def test_the_fast_path_listens_on_loopback_but_for_haproxys_two_pages(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    command = [str(BIN / "ascend-serve"), "run", "deployments/resnet.yaml", "--port", str(PORT)]
    scratch = tmp_path_factory.mktemp("p")
    with served(command, PORT, scratch) as process:
        found = listening(process)
    found.pop(RAY_ITSELF)
    assert found == {
        f"HAProxy {PORT}": {"127.0.0.1"},
        "HAProxy 8404": {"all"},
        "HAProxy 9101": {"all"},
        "proxy 8500": {"127.0.0.1"},
        "replica": {"127.0.0.1"},
    }


def test_stock_serve_listens_where_the_file_says(tmp_path_factory: pytest.TempPathFactory) -> None:
    scratch = tmp_path_factory.mktemp("p")
    told = yaml.safe_load((ROOT / "deployments/resnet.yaml").read_text())
    assert told["http_options"]["host"] == "0.0.0.0"
    told["http_options"]["port"] = PORT
    (scratch / "resnet.yaml").write_text(yaml.safe_dump(told))
    with served([str(BIN / "serve"), "run", str(scratch / "resnet.yaml")], PORT, scratch) as process:
        found = listening(process)
    found.pop(RAY_ITSELF)
    assert found == {f"proxy {PORT}": {"all"}}
