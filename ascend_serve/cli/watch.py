"""Watches what `serve run` does not tell: that the model is ready, or why it never will be."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Sequence

import click

_RAISED = re.compile(r"^(?:\w+\.)+\w+: (?P<words>.+)$", re.MULTILINE)
_ENDED_WITH = re.compile(r"^(?:\w+\.)*\w+: ", re.MULTILINE)
_ALERT = "[ALERT]"
"""How HAProxy's own lines of what stops it begin."""
_STARTING_S = 0.3
_SERVING_S = 10.0
"""Pauses between two looks. One costs this process and Serve's controller 15 ms of CPU together."""
_WRAPPING = re.compile(r"^.*(?:failed with exception:|Error:)$")


def cause_of(messages: Sequence[str]) -> str:
    """The line a person needs out of Serve's messages on an application and its deployments.

    Serve wraps a builder's words in a line of its own, and a constructor's in a traceback whose last line counts.
    """
    for message in reversed(messages):
        if raised := _RAISED.findall(message):
            return str(raised[-1])
    for message in messages:
        if lines := [line for line in message.strip().splitlines() if not _WRAPPING.match(line)]:
            return lines[0]
    return "Serve gives no reason; see its controller's log"


def start_failure(told: str) -> str:
    """The words of an error with which Serve itself failed to start; of many lines from HAProxy, its alerts.

    Args:
        told: the error as Ray writes it, a traceback whose last exception counts.
    """
    words = told[max((found.end() for found in _ENDED_WITH.finditer(told)), default=0) :]
    lines = words.splitlines()
    return "; ".join([line for line in lines if line.startswith(_ALERT)] or lines)


class Watcher(threading.Thread):
    """Watches the applications' status; reports ready once, and ends the run on the first failure."""

    def __init__(self, url: str) -> None:
        super().__init__(name="ascend-serve-watcher", daemon=True)
        self._url = url
        self._stop_asked = threading.Event()
        self.failed = False

    def stop(self) -> None:
        """Watch no more; what goes down now was meant to."""
        self._stop_asked.set()

    def run(self) -> None:
        """Ask Serve until told to stop or an application failed: a few times a second while one is on its way up."""
        import ray
        from ray import serve
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        announced: set[str] = set()
        started = time.monotonic()
        pause_s = _STARTING_S
        while not self._stop_asked.wait(pause_s):
            if not ray.is_initialized():
                continue
            try:
                applications = serve.status().applications
            except (RayServeException, RayError):
                continue  # Serve's controller is not up yet, or gone already
            for name, application in applications.items():
                state = application.status.value
                if state == "RUNNING" and name not in announced:
                    announced.add(name)
                    seconds = time.monotonic() - started
                    click.echo(f"ready: '{name}' on {self._url} after {seconds:.0f} s. Ctrl-C stops it.")
                elif state in ("DEPLOY_FAILED", "UNHEALTHY") and name not in announced:
                    messages = [deployment.message for deployment in application.deployments.values()]
                    cause = cause_of([application.message, *messages])
                    click.echo(f"ascend-serve: '{name}' failed: {cause}", err=True)
                    self.failed = True
                    # A real signal, because it also ends the sleep that `serve run` is in.
                    os.kill(os.getpid(), signal.SIGINT)
                    return
            pause_s = _SERVING_S if announced.issuperset(applications) else _STARTING_S
