"""`ascend-serve run`: who listens, a driver, a client that leaves, a taken port, HAProxy's own answers, the end."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import grpc
import httpx
import numpy as np
import psutil
import pytest
import yaml

from ascend_serve.batching.journal import Cancelled, Offered, decode_all
from ascend_serve.cli.ports import Ports
from ascend_serve.serving.haproxy import amended
from tests.serve.tools import (
    ROOT,
    Served,
    eventually,
    free_port,
    infer_binary,
    listening,
    outputs,
    processes_of,
)

pytestmark = pytest.mark.serve

BIN = Path(sys.executable).parent
COMMAND = [str(BIN / "ascend-serve"), "run"]
SLOWER = 100.0
LONG_MS = 6000.0 / SLOWER
"""Of one row alone, before the card is slowed down; more rows are quick."""

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

ONGOING = """
import sys, ray
ray.init(address=sys.argv[1], namespace="serve", log_to_driver=False)
names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
[replica] = [name for name in names if name.startswith("SERVE_REPLICA::resnet#AscendModel#")]
print(ray.get(ray.get_actor(replica).get_num_ongoing_requests.remote()))
"""

DELETE = """
import sys, ray
from ray import serve
ray.init(address=sys.argv[1], log_to_driver=False)
serve.delete("resnet")
"""

FAST = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),
}


class FastRun(Served):
    """The shipped file, with a journal, by the command; it compiles the model."""

    def __init__(self, scratch: Path) -> None:
        told = yaml.safe_load((ROOT / "deployments/resnet.yaml").read_text())
        told["applications"][0]["args"]["batching"] = {
            "policy": "pad_up",
            "slots": 1,
            "journal": str(scratch / "log.jsonl"),
        }
        file = scratch / "resnet.yaml"
        file.write_text(yaml.safe_dump(told))
        times = scratch / "times.json"
        times.write_text(json.dumps({"models": {"resnet": {"1": LONG_MS, "4": 0.05, "8": 0.05, "16": 0.05}}}))
        port, self.stats, self.metrics, self.fallback = (free_port() for _ in range(4))
        super().__init__(
            [*COMMAND, str(file), "--port", str(port)],
            port,
            scratch,
            ASCEND_EMULATOR_TIMES=str(times),
            ASCEND_EMULATOR_TIMING="modelled",
            RAY_SERVE_HAPROXY_STATS_PORT=str(self.stats),
            RAY_SERVE_HAPROXY_METRICS_PORT=str(self.metrics),
            RAY_SERVE_FALLBACK_PROXY_HTTP_PORT=str(self.fallback),
        )

    def gcs_address(self) -> str:
        """Of the run's own cluster: Ray's `auto` may find another one of this machine."""
        told = [word for process in processes_of(self.scratch) for word in process.info["cmdline"]]
        return next(word.partition("=")[2] for word in told if word.startswith("--gcs-address="))

    def drive(self, program: str, **variables: str) -> str:
        """Run a program in Python beside it, with the address of its cluster; what that prints."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment.update(
            variables,
            RAY_TMPDIR=str(self.scratch),
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN_PATH=str(self.scratch / "token"),
        )
        command = [sys.executable, "-c", program, self.gcs_address()]
        ended: subprocess.CompletedProcess[str] = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert ended.returncode == 0, ended.stderr[-3000:]
        return ended.stdout

    def events(self) -> list[Any]:
        """The journals by now, one of each replica that there was; they are written once a second."""
        journals = [file.read_bytes() for file in self.scratch.glob("log.*.jsonl")]
        return [event for journal in journals for event in decode_all(journal.splitlines(keepends=True))]

    def accepted(self) -> int:
        """Requests of one row; the journal may still be behind on others."""
        return sum(isinstance(event, Offered) and event.rows == 1 for event in self.events())


@pytest.fixture(scope="module")
def started(socket_folder: Callable[[], Path]) -> Iterator[Callable[[], FastRun]]:
    """Gives the run that serves; after its sudden end, another one."""
    runs: list[FastRun] = []

    def run() -> FastRun:
        if not runs or runs[-1].process.poll() is not None:
            runs.append(FastRun(socket_folder()))
            runs[-1].wait_until_ready()
            runs[-1].slow_down(SLOWER)
        return runs[-1]

    yield run
    for each in runs:
        each.end()


@pytest.fixture
def fast_run(started: Callable[[], FastRun]) -> FastRun:
    return started()


def whole(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_it_listens_on_loopback_alone(fast_run: FastRun) -> None:
    mine = (fast_run.port, fast_run.stats, fast_run.metrics, fast_run.fallback)

    def settled() -> dict[str, set[str]] | None:
        found = listening(fast_run.scratch, mine)
        return found if f"HAProxy {fast_run.port}" in found else None

    # HAProxy hands its sockets to a new process whenever a replica comes, so one look may find neither.
    assert eventually("HAProxy is settled", settled) == {
        f"HAProxy {fast_run.port}": {"127.0.0.1"},
        f"HAProxy {fast_run.stats}": {"127.0.0.1"},
        f"HAProxy {fast_run.metrics}": {"127.0.0.1"},
        f"proxy {fast_run.fallback}": {"127.0.0.1"},
        "replica": {"127.0.0.1"},
    }


@pytest.mark.parametrize("variables", [{}, FAST], ids=["without the variables", "with the variables"])
def test_a_driver_asks_through_a_handle(fast_run: FastRun, variables: dict[str, str]) -> None:
    """A plain driver, with Serve's fast-path variables and without them, also with 5 MB."""
    fast_run.drive(DRIVER, **variables)


def test_a_client_that_leaves_while_it_waits_is_cancelled_and_journalled(
    fast_run: FastRun, digits: "np.ndarray[Any, Any]"
) -> None:
    request = whole(*infer_binary(digits[:1]))
    address = ("127.0.0.1", fast_run.port)

    def offered(rows: int) -> list[int]:
        """Tickets of so many rows; of one row they are this test's alone."""
        return [e.ticket for e in fast_run.events() if isinstance(e, Offered) and e.rows == rows]

    def cancelled() -> list[int]:
        mine = set(offered(1))
        return [e.ticket for e in fast_run.events() if isinstance(e, Cancelled) and e.ticket in mine]

    with socket.create_connection(address) as first:
        first.sendall(request)
        eventually("the first runs", lambda: len(offered(1)) == 1)
        with socket.create_connection(address) as leaver:
            leaver.sendall(request)
            eventually("the second waits", lambda: len(offered(1)) == 2)
        eventually("it is heard to have left", cancelled)
        path, body, headers = infer_binary(digits[:3])
        answer = httpx.post(
            f"http://127.0.0.1:{fast_run.port}{path}", content=body, headers=headers, timeout=60
        )
        assert outputs(answer)["logits"].shape == (3, 10)
        assert first.recv(15) == b"HTTP/1.1 200 OK"
    eventually("the third is in the journal", lambda: len(offered(3)) == 1)
    assert cancelled() == offered(1)[1:]


def test_what_speaks_to_serve_is_heard_by_serve_also_where_requests_are_answered_ahead_of_it(
    fast_run: FastRun, digits: "np.ndarray[Any, Any]"
) -> None:
    path, body, headers = infer_binary(digits[:2])
    with httpx.Client(base_url=f"http://127.0.0.1:{fast_run.port}", timeout=60) as client:
        for request_id in ("first", "second", "third"):
            answer = client.post(path, content=body, headers={**headers, "x-request-id": request_id})
            assert outputs(answer)["logits"].shape == (2, 10)
            assert answer.headers.get_list("x-request-id") == [request_id]
        # The batch takes 5 ms.
        late = client.post(path, content=body, headers={**headers, "x-request-timeout-seconds": "0.001"})
        assert late.status_code == 408, "Serve's own time limit"
        assert outputs(client.post(path, content=body, headers=headers))["logits"].shape == (2, 10)


def test_inference_is_answered_ahead_of_serve_once_serve_found_its_way(
    fast_run: FastRun, digits: "np.ndarray[Any, Any]"
) -> None:
    path, body, headers = infer_binary(digits[:2])
    with httpx.Client(base_url=f"http://127.0.0.1:{fast_run.port}", timeout=60) as client:
        # Serve gives an id to each request that has none. The first ones may come by way of the fallback proxy.
        eventually(
            "Serve sees no more of it",
            lambda: "x-request-id" not in client.post(path, content=body, headers=headers).headers,
        )
    request = whole(path, body, headers)
    once = whole(path.replace("/models/", "/models//"), body, headers)
    address = ("127.0.0.1", fast_run.port)
    with socket.create_connection(address) as first, socket.create_connection(address) as second:
        # As long as their bodies have not ended, they run.
        first.sendall(request[:-1])
        second.sendall(once[:-1])
        assert int(fast_run.drive(ONGOING)) == 1, "Serve counts the one on a path that it does not know"
        first.sendall(request[-1:])
        assert first.recv(15) == b"HTTP/1.1 200 OK"
        second.sendall(once[-1:])
        assert second.recv(12) == b"HTTP/1.1 404"


def test_a_taken_port_is_named() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        ended = subprocess.run(
            [*COMMAND, "deployments/resnet.yaml", "--port", port],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 2
    assert f"port {port} is taken" in ended.stderr
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_no_two_runs_are_given_one_port() -> None:
    wanted = free_port()
    with Ports() as first, Ports() as second:
        assert first.take_near(wanted) == wanted
        # Nobody listens there yet.
        other = second.take_near(wanted)
        assert other > wanted
        assert not second.take(wanted)
        assert not first.take(other)
    with Ports() as third:
        assert third.take(wanted)


def test_a_port_where_somebody_listens_is_not_taken() -> None:
    with socket.socket() as holder, Ports() as ports:
        holder.bind(("127.0.0.1", free_port()))
        holder.listen()
        port = holder.getsockname()[1]
        assert not ports.take(port)
        assert ports.take_near(port) > port


def test_an_error_that_serve_run_did_not_expect_is_named_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray
    from ray import serve

    from ascend_serve.cli.run import run_file

    client = Mock()
    client.deploy_apps.side_effect = KeyError("what it did not expect")
    for owner, name in ((ray, "init"), (serve, "shutdown")):
        monkeypatch.setattr(owner, name, Mock())
    monkeypatch.setattr("ray.serve.scripts._private_api.serve_start", Mock(return_value=client))
    monkeypatch.setattr(sys, "path", sys.path.copy())  # serve run adds to it
    monkeypatch.setattr("ascend_serve.env.switch_on_fast_path", Mock())  # Ray is imported here already

    assert run_file(ROOT / "deployments/resnet.yaml", free_port()) == 1
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith("ascend-serve: ")]
    assert told == ["ascend-serve: Serve ended on an unexpected error: KeyError: 'what it did not expect'"]


def binds(text: str) -> dict[str, str]:
    """Where the sections of a configuration listen."""
    found, section = {}, ""
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            section = line
        elif line.split()[:1] == ["bind"]:
            found[section] = line.split()[1]
    return found


class Proxy:
    """Ray's HAProxy without Ray: one application behind it, whose replica is a port of this process.

    It does not leave by itself: `api.stop` ends it.
    """

    def __init__(
        self, folder: Path, *, host: str = "127.0.0.1", replica: int = 1, over_grpc: bool = True
    ) -> None:
        from ray.serve._private.common import RequestProtocol
        from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
        from ray.serve.config import HTTPOptions, gRPCOptions

        self.http, self.grpc, self.stats, self.metrics = (free_port() for _ in range(4))
        self.file = folder / "haproxy.cfg"
        config = HAProxyConfig(
            socket_path=str(folder / "admin.sock"),
            server_state_base=str(folder),
            server_state_file=str(folder / "server-state"),
            stats_port=self.stats,
            metrics_port=self.metrics,
            metrics_enabled=False,
            http_options=HTTPOptions(host=host, port=self.http),
            grpc_options=gRPCOptions(port=self.grpc, grpc_servicer_functions=["a.b"] if over_grpc else []),
            is_head=True,
        )
        backends = {
            protocol.value: BackendConfig(
                name=f"{protocol.value.lower()}-application",
                path_prefix="/",
                app_name="größer",
                protocol=protocol,
                servers=[ServerConfig(name="replica", host="127.0.0.1", port=replica)],
            )
            for protocol in (RequestProtocol.HTTP, RequestProtocol.GRPC)
        }
        self.api = HAProxyApi(config, backends, str(self.file))

    def listens(self) -> set[str]:
        """Interfaces of the process that Ray takes for HAProxy."""
        process = psutil.Process(self.api._proc.pid)
        assert process.name() == "haproxy"
        return {
            each.laddr.ip for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN
        }

    async def answer(self) -> httpx.Response:
        """To a caller of its own connection."""
        async with httpx.AsyncClient(timeout=60) as client:
            return await client.get(f"http://127.0.0.1:{self.http}/v2")

    async def code(self) -> str:
        """What a gRPC client makes of its answer."""
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{self.grpc}", [("grpc.enable_http_proxy", 0)]
        ) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"")
        return str(failed.value.code().name)


@pytest.mark.parametrize("over_grpc", [False, True], ids=["http", "http and grpc"])
@pytest.mark.parametrize(("host", "there"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "*")])
def test_what_ray_writes_for_haproxy_is_amended(
    tmp_path: Path, host: str, there: str, over_grpc: bool
) -> None:
    proxy = Proxy(tmp_path, host=host, over_grpc=over_grpc)
    proxy.api._generate_config_file_internal()
    written = proxy.file.read_text(encoding="utf-8")
    assert written.count("/500.http") == 3
    assert (binds(written)["frontend prometheus"], binds(written)["listen stats"]) == (
        f":{proxy.metrics}",
        f"*:{proxy.stats}",
    )
    found = amended(written)
    assert "errorfile" not in found
    assert binds(found) == {
        "frontend prometheus": f"{there}:{proxy.metrics}",
        "frontend http_frontend": f"{there}:{proxy.http}",
        **({"frontend grpc_frontend": f"{there}:{proxy.grpc}"} if over_grpc else {}),
        "listen stats": f"{there}:{proxy.stats}",
    }
    rest = [
        [
            line
            for line in text.splitlines()
            if not line.split() or line.split()[0] not in ("bind", "errorfile")
        ]
        for text in (written, found)
    ]
    assert rest[0] == rest[1]
    assert amended(found) == found


@pytest.fixture
async def hanging_up() -> AsyncIterator[asyncio.Server]:
    """A replica that is healthy, and is gone as soon as it has a request."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/-/healthz" in await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server
    server.close()


async def test_haproxys_own_answers_are_those_that_clients_know(
    hanging_up: asyncio.Server, socket_folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = str(BIN / "ascend-serve-haproxy")
    proxy = Proxy(socket_folder(), replica=hanging_up.sockets[0].getsockname()[1])
    monkeypatch.setattr("ray.serve._private.haproxy.RAY_SERVE_HAPROXY_BINARY_PATH", command)
    try:
        await proxy.api.start()
        first = proxy.api._proc.pid
        assert (await proxy.answer()).status_code == 502
        await proxy.api.reload()
        assert proxy.api._proc.pid != first
        # As Ray tells its own processes from others.
        assert proxy.api._is_our_haproxy(proxy.api._proc.pid)
        assert (await proxy.answer()).status_code == 502
        assert proxy.listens() == {"127.0.0.1"}
        hanging_up.close()
        none = await proxy.answer()
        assert (none.status_code, "No server is available" in none.text) == (503, True)
        assert await proxy.code() == "UNAVAILABLE"
    finally:
        await proxy.api.stop()


@pytest.mark.last
def test_what_a_killed_replica_had_may_be_sent_again_and_the_replica_is_replaced(
    fast_run: FastRun, digits: "np.ndarray[Any, Any]"
) -> None:
    path, body, headers = infer_binary(digits[:1])
    replicas = [
        mine for mine in processes_of(fast_run.scratch) if mine.info["name"].startswith("ray::ServeRepl")
    ]
    [replica] = [mine for mine in replicas if "AscendModel" in " ".join(mine.info["cmdline"])]

    known = fast_run.accepted()
    with socket.create_connection(("127.0.0.1", fast_run.port)) as caller:
        caller.sendall(whole(path, body, headers))  # it takes six seconds
        eventually("it is accepted", lambda: fast_run.accepted() > known)
        replica.kill()
        # HAProxy closes without a word where its connection to the replica had served another request before.
        assert caller.recv(12) in (b"HTTP/1.1 502", b"")
    fast_run.wait_until_ready()
    fast_run.slow_down(SLOWER)


@pytest.mark.last
def test_what_was_accepted_is_finished_when_the_application_goes(
    fast_run: FastRun, digits: "np.ndarray[Any, Any]"
) -> None:
    request = whole(*infer_binary(digits[:1]))
    address = ("127.0.0.1", fast_run.port)
    known = fast_run.accepted()
    with socket.create_connection(address) as first, socket.create_connection(address) as second:
        for each in (first, second):  # the first takes six seconds, the second waits for it
            each.sendall(request)
        eventually("both are accepted", lambda: fast_run.accepted() == known + 2)
        fast_run.drive(DELETE)
        assert [each.recv(15) for each in (first, second)] == [b"HTTP/1.1 200 OK"] * 2


@pytest.mark.last
def test_a_run_that_is_killed_leaves_no_process_and_no_card(fast_run: FastRun) -> None:
    # HAProxy replaces its process when replicas come and go.
    wanted = {"haproxy", "raylet"}
    scratch = fast_run.scratch
    eventually("both run", lambda: wanted <= {mine.info["name"] for mine in processes_of(scratch)})
    os.kill(fast_run.process.pid, signal.SIGKILL)
    fast_run.process.wait(10)

    def left() -> list[str]:
        """The sweeper stays a little longer, in case HAProxy is started again; the run's end waits for it."""
        commands = [" ".join(mine.info["cmdline"] or ()) for mine in processes_of(scratch)]
        return [command for command in commands if "_sweeper.py" not in command]

    eventually("all processes of the run are gone", lambda: not left())
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", fast_run.port)) != 0
