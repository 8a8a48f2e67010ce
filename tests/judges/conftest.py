"""One served `simple` for all judges of a run, by HTTP and gRPC, on an emulated card."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml

from tests.judges import environments
from tests.serve.tools import ROOT, Served, eventually, free_port

CLIENTS = Path(__file__).parent / "clients"
BIN = Path(sys.executable).parent


class Judged(Served):
    """A Serve file by `ascend-serve run`, at ports of its own.

    Args:
        told: the file's content; its ports are replaced.
        scratch: folder of the session, the store and the log.
        ready: paths that all answer 200 when it serves.
        headers: of the requests that ask for them.
        variables: of its environment.
    """

    NODE = "judged"

    def __init__(
        self,
        told: dict[str, Any],
        scratch: Path,
        ready: Sequence[str],
        headers: Mapping[str, str] | None = None,
        **variables: str,
    ) -> None:
        self.grpc_port = free_port()
        http = free_port()
        told["http_options"] = {"host": "127.0.0.1", "port": http}
        told.setdefault("grpc_options", {})["port"] = self.grpc_port
        file = scratch / "judged.yaml"
        file.write_text(yaml.safe_dump(told))
        self._asked, self._headers = ready, headers
        ports = ("HAPROXY_STATS", "HAPROXY_METRICS", "FALLBACK_PROXY_HTTP", "FALLBACK_PROXY_GRPC")
        variables |= {f"RAY_SERVE_{name}_PORT": str(free_port()) for name in ports}
        super().__init__([str(BIN / "ascend-serve"), "run", str(file)], http, scratch, **variables)

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"it ended: {self._log.read_text()[-2000:]}"
        with httpx.Client(base_url=f"http://{self.http}", headers=self._headers, timeout=2) as client:
            try:
                return all(client.get(path).status_code == 200 for path in self._asked)
            except httpx.TransportError:
                return False

    def wait_for_grpc(self, *applications: str) -> None:
        """Return when its gRPC port is routed to the applications; with none named, to the only one."""
        named = [[("application", name)] for name in applications] or [[]]

        def live() -> bool:
            with grpc.insecure_channel(self.grpc, [("grpc.enable_http_proxy", 0)]) as channel:
                call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
                try:
                    return all(call(b"", metadata=each, timeout=2) == b"\x08\x01" for each in named)
                except grpc.RpcError:
                    return False

        eventually("gRPC is routed", live)


@pytest.fixture(scope="session")
def simple(socket_folder: Callable[[], Path]) -> Iterator[Judged]:
    """`deployments/simple.yaml`, served."""
    told = yaml.safe_load((ROOT / "deployments/simple.yaml").read_text())
    told["applications"][0]["args"]["batching"] = {"priority_levels": 2}
    run = Judged(told, socket_folder(), ["/v2/models/simple/ready"])
    run.wait_until_ready()
    run.wait_for_grpc()
    yield run
    run.end()
    Judged.wait_for_ends()


def judge(environment: str, client: str, *arguments: str, timeout_s: float = 180.0) -> None:
    """Run a client of `clients/`; fails, with what it told, unless each of its checks passed."""
    command = [environments.python(environment), CLIENTS / client, *arguments]
    without_ours = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, env=without_ours, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
