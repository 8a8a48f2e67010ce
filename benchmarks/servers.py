"""Servers as users start them, each a process tree of its own; their CPU time; and their end."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]  # it ships no types

from benchmarks.http_load import request
from benchmarks.node import ROOT, Node

GRPC_SERVICER = "ascend_serve.serving.doors.grpc.add_GRPCInferenceServiceServicer_to_server"
"""What a Serve file names for ours to answer over gRPC."""

_READY_S = 150.0
_GONE_S = 60.0
_KILLED_S = 10.0
_FREE = range(21000, 29900)
"""Above Ray's ports of workers, below its ports of replicas and those that the kernel hands out."""
_UNTRIED = iter(random.sample(_FREE, len(_FREE)))

_REPLICA = "ray::ServeReplica:"
"""What the title of a replica's process begins with; the application's and the deployment's names follow."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to start one server.

    Attributes:
        name: short, for tables and folders.
        command: what to run.
        port: where it will listen on 127.0.0.1.
        environment: in addition to this process's.
    """

    name: str
    command: tuple[str, ...]
    port: int
    environment: Mapping[str, str]


class Used(NamedTuple):
    """CPU seconds of one process, and its name; Ray changes the name of a worker with what it does."""

    name: str
    cpu_s: float


class Server:
    """A server that is running.

    Attributes:
        plan: how it was started.
    """

    def __init__(self, plan: Plan, node: Node) -> None:
        folder = Path(tempfile.mkdtemp(prefix="s", dir=node.scratch))
        (folder / "token").write_text(os.urandom(16).hex())
        self.plan = plan
        self._log = folder / "log"
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RAY_TMPDIR": str(folder),
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            # The card's own, so that no two servers share one, nor find each other's at the end.
            "ASCEND_EMULATOR_NODE": plan.name,
            **plan.environment,
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                plan.command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Wait for the first good answer at the plan's port.

        Raises:
            RuntimeError: it ended, or took too long; with the end of its log.
        """
        self.wait_until_answering(lambda: self.plan.port, request(path, body, headers))

    def wait_until_answering(self, port: Callable[[], int], whole_request: bytes) -> None:
        """Wait for the first good answer.

        Args:
            port: tells where to ask; a LookupError means that it is not known yet.
            whole_request: what to ask.

        Raises:
            RuntimeError: it ended, or took too long; with the end of its log.
        """
        deadline = time.monotonic() + _READY_S
        seen = "no answer"
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.plan.name} ended with {self._process.returncode}:\n{self._tail()}")
            try:
                seen = _first_answer(port(), whole_request)
                if seen.split(" ", 2)[1] == "200":
                    return
                if seen.split(" ", 2)[1].startswith("400"):
                    break  # it is there, and does not take the request
            except (OSError, LookupError):
                pass  # it does not listen yet
            time.sleep(0.25)
        raise RuntimeError(
            f"{self.plan.name} was not ready within {_READY_S:g} s; last: {seen}\n{self._tail()}"
        )

    def processes(self) -> list[psutil.Process]:
        """The whole tree, without the emulated card, which stands for hardware."""
        root = psutil.Process(self._process.pid)
        return [process for process in (root, *root.children(recursive=True)) if not _is_card(process)]

    def cpu(self) -> dict[int, Used]:
        """What each process of the tree has used so far (/proc), by its number."""
        found = {}
        for process in self.processes():
            try:
                times = process.cpu_times()
                found[process.pid] = Used(process.name(), times.user + times.system)
            except psutil.NoSuchProcess:
                continue
        return found

    def replicas(self) -> dict[int, str]:
        """Ray Serve's replicas in the tree: number of the process -> name of the application."""
        found = {}
        for process in self.processes():
            try:
                title = process.cmdline()
            except psutil.NoSuchProcess:
                continue
            if title and title[0].startswith(_REPLICA):
                found[process.pid] = title[0].split(":")[3]
        return found

    def freeze(self) -> None:
        """Stop the tree's processes where they are, all at once as far as anyone outside can tell."""
        self._tell_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._tell_all(signal.SIGCONT)

    def _tell_all(self, number: signal.Signals) -> None:
        for process in self.processes():
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    def interrupt(self) -> list[psutil.Process]:
        """Press Ctrl-C, as a terminal does; the processes whose end is to be awaited."""
        try:
            self.thaw()
            tree = self.processes()
            os.killpg(self._process.pid, signal.SIGINT)
        except (ProcessLookupError, psutil.NoSuchProcess):
            return []
        return tree

    def reap(self, tree: Sequence[psutil.Process], deadline: float) -> None:
        """Wait for the end of a tree until a time of the monotonic clock; kill what is left then."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"{self.plan.name} did not end after Ctrl-C and is killed", flush=True)
        _, alive = psutil.wait_procs(tree, max(0.0, min(_KILLED_S, deadline - time.monotonic())))
        for process in alive:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(alive, _KILLED_S)

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])


@contextmanager
def running(plans: Sequence[Plan], node: Node) -> Iterator[list[Server]]:
    """Start servers; at the end, whatever it is, end them all and wait for that."""
    servers: list[Server] = []
    try:
        for plan in plans:
            servers.append(Server(plan, node))
        yield servers
    finally:
        # A second Ctrl-C would leave behind what the first one is ending.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            trees = [server.interrupt() for server in servers]
            deadline = time.monotonic() + _GONE_S
            for server, tree in zip(servers, trees, strict=True):
                server.reap(tree, deadline)
        finally:
            signal.signal(signal.SIGINT, before)


def free_ports(count: int) -> list[int]:
    """Ports where nobody listens now, never the same twice, and that nobody is given by chance until they are used."""
    free: list[int] = []
    for port in _UNTRIED:
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))  # noqa: S104 - where HAProxy listens with two of its pages
            except OSError:
                continue
        free.append(port)
        if len(free) == count:
            return free
    raise OSError(f"no {count} free ports are left between {_FREE.start} and {_FREE.stop}")


def own_grpc_ports() -> dict[str, str]:
    """Variables that keep the gRPC ports of replicas apart from those of another Serve on this machine.

    gRPC's servers share a port with whoever listens there already (its option `so_reuseport`), and Serve starts at
    40000 in each cluster: a request to one could be answered by a replica of the other. HTTP's ports are not shared.
    """
    first = 41_000 + os.getpid() % 90 * 100
    return {
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(first + 100),
    }


def spent(before: Mapping[int, Used], after: Mapping[int, Used]) -> list[Used]:
    """What each process used between two readings; one that came in between counts from 0."""
    return [
        Used(used.name, used.cpu_s - (before[number].cpu_s if number in before else 0.0))
        for number, used in after.items()
    ]


def _first_answer(port: int, whole_request: bytes) -> str:
    """The beginning of an answer: status, headers and, if it comes at once, the body."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        peer.sendall(whole_request)
        if not (answer := peer.recv(2000)):
            raise ConnectionResetError("closed without an answer")
        return answer.decode("latin-1")


def _is_card(process: psutil.Process) -> bool:
    try:
        return "ascend_emulator.card" in process.cmdline()
    except psutil.NoSuchProcess:
        return False
