"""Servers as users start them, each a process tree of its own; their CPU time; and their end."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]  # it ships no types

from benchmarks.node import ROOT, Node

_READY_S = 150.0
_GONE_S = 60.0
_KILLED_S = 10.0
DATA_PATH = ("haproxy", "ray::Proxy", "ray::ServeRepli")
"""Names, as far as the kernel keeps them, of the processes of Ray Serve that a request goes through."""


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

    def wait_until_ready(self, request_path: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Wait for the first good answer.

        Raises:
            RuntimeError: it ended, or took too long; with the end of its log.
        """
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.plan.name} ended with {self._process.returncode}:\n{self._tail()}")
            connection = http.client.HTTPConnection("127.0.0.1", self.plan.port, timeout=5)
            try:
                connection.request("POST", request_path, body, dict(headers))
                if connection.getresponse().status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass  # it does not listen yet
            finally:
                connection.close()
            time.sleep(0.25)
        raise RuntimeError(f"{self.plan.name} was not ready within {_READY_S:g} s:\n{self._tail()}")

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

    def interrupt(self) -> list[psutil.Process]:
        """Press Ctrl-C, as a terminal does; the processes whose end is to be awaited."""
        try:
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
    """Ports of 127.0.0.1 that nobody listens on now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def spent(before: Mapping[int, Used], after: Mapping[int, Used]) -> list[Used]:
    """What each process used between two readings; one that came in between counts from 0."""
    return [
        Used(used.name, used.cpu_s - (before[number].cpu_s if number in before else 0.0))
        for number, used in after.items()
    ]


def _is_card(process: psutil.Process) -> bool:
    try:
        return "ascend_emulator.card" in process.cmdline()
    except psutil.NoSuchProcess:
        return False
