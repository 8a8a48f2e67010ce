"""One served `simple` for all judges of a run, by HTTP and gRPC, on an emulated card."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
import yaml

from tests.judges import environments
from tests.serve.tools import ROOT, Served, eventually, free_port

CLIENTS = Path(__file__).parent / "clients"
BIN = Path(sys.executable).parent


class Simple(Served):
    """`deployments/simple.yaml` by `ascend-serve run`, at ports of its own."""

    NODE = "judged"

    def __init__(self, scratch: Path) -> None:
        self.grpc_port = free_port()
        http = free_port()
        told = yaml.safe_load((ROOT / "deployments/simple.yaml").read_text())
        told["http_options"] = {"host": "127.0.0.1", "port": http}
        told["grpc_options"]["port"] = self.grpc_port
        told["applications"][0]["args"]["batching"] = {"priority_levels": 2}
        file = scratch / "simple.yaml"
        file.write_text(yaml.safe_dump(told))
        ports = ("HAPROXY_STATS", "HAPROXY_METRICS", "FALLBACK_PROXY_HTTP", "FALLBACK_PROXY_GRPC")
        variables = {f"RAY_SERVE_{name}_PORT": str(free_port()) for name in ports}
        super().__init__([str(BIN / "ascend-serve"), "run", str(file)], http, scratch, **variables)

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"it ended: {self._log.read_text()[-2000:]}"
        try:
            return httpx.get(f"http://{self.http}/v2/models/simple/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def wait_for_grpc(self) -> None:
        """Return when its gRPC port is routed to the model."""

        def live() -> bool:
            with grpc.insecure_channel(self.grpc, [("grpc.enable_http_proxy", 0)]) as channel:
                call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
                try:
                    return bool(call(b"", timeout=2) == b"\x08\x01")
                except grpc.RpcError:
                    return False

        eventually("gRPC is routed", live)


@pytest.fixture(scope="session")
def simple(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simple]:
    """The server."""
    run = Simple(tmp_path_factory.mktemp("judged"))
    run.wait_until_ready()
    run.wait_for_grpc()
    yield run
    run.end()
    Simple.wait_for_ends()


def judge(environment: str, client: str, *arguments: str, timeout_s: float = 180.0) -> None:
    """Run a client of `clients/`; fails, with what it told, unless each of its checks passed."""
    command = [environments.python(environment), CLIENTS / client, *arguments]
    without_ours = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, env=without_ours, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
