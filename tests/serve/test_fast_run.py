"""`ascend-serve run`: who listens, a driver beside it, a client that leaves, a taken port, and a sudden end."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import numpy as np
import pytest
import yaml

from ascend_serve.batching.journal import Cancelled, Offered, decode_all
from ascend_serve.cli.ports import Ports
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

COMMAND = [str(Path(sys.executable).parent / "ascend-serve"), "run"]
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
        """The journal by now; it is written once a second."""
        (journal,) = self.scratch.glob("log.*.jsonl")
        return list(decode_all(journal.read_bytes().splitlines(keepends=True)))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], FastRun]]:
    """Gives the run that serves; after its sudden end, another one."""
    runs: list[FastRun] = []

    def run() -> FastRun:
        if not runs or runs[-1].process.poll() is not None:
            runs.append(FastRun(tmp_path_factory.mktemp("f")))
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


def test_it_listens_on_loopback_but_for_haproxys_two_pages(fast_run: FastRun) -> None:
    mine = (fast_run.port, fast_run.stats, fast_run.metrics, fast_run.fallback)

    def settled() -> dict[str, set[str]] | None:
        found = listening(fast_run.scratch, mine)
        return found if f"HAProxy {fast_run.port}" in found else None

    # HAProxy hands its sockets to a new process whenever a replica comes, so one look may find neither.
    assert eventually("HAProxy is settled", settled) == {
        f"HAProxy {fast_run.port}": {"127.0.0.1"},
        f"HAProxy {fast_run.stats}": {"all"},
        f"HAProxy {fast_run.metrics}": {"all"},
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


@pytest.mark.last
def test_what_was_accepted_is_finished_when_the_application_goes(
    fast_run: FastRun, digits: "np.ndarray[Any, Any]"
) -> None:
    request = whole(*infer_binary(digits[:1]))
    address = ("127.0.0.1", fast_run.port)

    def accepted() -> int:
        """Requests of one row; the journal may still be behind on others."""
        return sum(isinstance(event, Offered) and event.rows == 1 for event in fast_run.events())

    known = accepted()
    with socket.create_connection(address) as first, socket.create_connection(address) as second:
        for each in (first, second):  # the first takes six seconds, the second waits for it
            each.sendall(request)
        eventually("both are accepted", lambda: accepted() == known + 2)
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
