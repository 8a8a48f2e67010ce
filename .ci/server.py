"""A served application as a user has it: a command in a terminal, ended by Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

URL = "http://127.0.0.1:8000"
READY_S = 180.0
GONE_S = 90.0

# A shell's background job ignores Ctrl-C, and so would the command below.
signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def serving(command: list[str], model: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command until `model` is ready; afterwards Ctrl-C, as the terminal sends it to the whole group."""
    process = subprocess.Popen(command, start_new_session=True)
    try:
        _wait_until_ready(process, model)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            begin = time.monotonic()
            try:
                process.wait(GONE_S)
                print(
                    f"Ctrl-C: gone after {time.monotonic() - begin:.1f} s, exit status {process.returncode}"
                )
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                sys.exit(f"did not end within {GONE_S:.0f} s of Ctrl-C")


def _wait_until_ready(process: subprocess.Popen[bytes], model: str) -> None:
    begin = time.monotonic()
    while time.monotonic() - begin < READY_S:
        if process.poll() is not None:
            sys.exit(f"ended with {process.returncode} before it was ready")
        try:
            if httpx.get(f"{URL}/v2/models/{model}/ready", timeout=2).status_code == 200:
                print(f"ready after {time.monotonic() - begin:.1f} s")
                return
        except httpx.TransportError:
            pass  # nobody listens yet
        time.sleep(0.25)
    sys.exit(f"not ready within {READY_S:.0f} s")
