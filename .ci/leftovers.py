"""What a run must not leave behind: processes, listening sockets, shared memory, emulated cards."""

import os
import socket
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
SETTLE_S = 20.0
PORTS = (8000, 8404, 8500, 9000, 9101, 9500, 30000)


def _ours(process: psutil.Process) -> bool:
    command = " ".join(process.info["cmdline"] or [])
    return str(ROOT / ".venv") in command or command.startswith("ray::") or "ascend_emulator" in command


def _processes() -> list[str]:
    me = {process.pid for process in (psutil.Process(), *psutil.Process().parents())}
    return [
        f"process {process.pid}: {' '.join(process.info['cmdline'] or [])[:150]}"
        for process in psutil.process_iter(["cmdline"])
        if process.pid not in me and process.info["cmdline"] and _ours(process)
    ]


def _sockets() -> list[str]:
    found = []
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                found.append(f"port {port} still answers")
    return found


def _files() -> list[str]:
    shared = [
        f"/dev/shm/{entry}" for entry in os.listdir("/dev/shm") if "ascend" in entry or "plasma" in entry
    ]
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", tempfile.gettempdir()))
    return shared + [str(path) for path in runtime.glob(f"ascend-emulator-{os.getuid()}/**/*.sock")]


def assert_nothing_left() -> None:
    """Wait for what is on its way out, then fail with all that stayed."""
    deadline = time.monotonic() + SETTLE_S
    while left := [*_processes(), *_sockets(), *_files()]:
        if time.monotonic() > deadline:
            sys.exit("left behind:\n  " + "\n  ".join(left))
        time.sleep(0.5)
    print("nothing left behind")
