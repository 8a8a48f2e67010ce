"""Runs a program so that nothing of it outlives its purpose.

The program gets a process group of its own. The group is killed when the program ends (it may leave workers
behind), when its time is up, when the caller is interrupted, and, by a watchdog inside the group
(`_launch.py`), when the calling process disappears, even by SIGKILL.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep

from ascend_serve import env

_LAUNCHER = Path(__file__).with_name("_launch.py")
_POLL_S = 0.02


def run(
    arguments: list[str],
    *,
    cwd: Path,
    log: Path,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
) -> int | None:
    """Run a program to its end.

    Args:
        arguments: the program, by its path, and its arguments.
        cwd: working directory.
        log: file that takes stdout and stderr, in the order they come.
        timeout_s: time limit in seconds.
        environment: variables to set for it, beside those of this process.

    Returns:
        The exit status, negative for the number of a signal; None when the time was up.
    """
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            launcher,
            cwd=cwd,
            stdin=subprocess.PIPE,  # the watchdog's lifeline: it breaks when this process is gone
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env.environment(environment or {}),
            start_new_session=True,
        )
    ended = False
    try:
        deadline = monotonic() + timeout_s
        # No Popen.wait(): a KeyboardInterrupt that Ray raises to cancel a task is not delivered inside it.
        # The program is left unreaped (WNOWAIT), so that its number cannot pass to another process before the
        # group is killed.
        while not ended and monotonic() < deadline:
            ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            if not ended:
                sleep(_POLL_S)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        if process.stdin is not None:
            process.stdin.close()
    return status if ended else None
