"""`ascend-serve run`: what `make serve` calls.

It runs Ray's own `serve run` on a derived copy of the file: on loopback, with Serve's fast data path switched on
(variables and traps: facts §4, §8.1), and with a watcher that says when the model is ready, or why it never
will be, since `serve run` loops without a word when an application fails to deploy.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from ascend_serve import env
from ascend_serve.errors import ConfigError
from ascend_serve.serving.serve_file import check_serve_file, read_serve_file

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8000


def run_file(path: Path, port: int | None) -> int:
    """Check, derive, serve until Ctrl-C; 0 after Ctrl-C, 1 if an application failed.

    Raises:
        ConfigError: the file has errors; nothing was started.
    """
    content = read_serve_file(path)
    findings = check_serve_file(content, Path.cwd())
    if findings.errors:
        raise ConfigError("; ".join(f"{path}: {error}" for error in findings.errors))
    for note in findings.notes:
        click.echo(f"note: {note}", err=True)
    with tempfile.TemporaryDirectory(prefix="ascend-serve-") as scratch:
        derived = loopback_copy(content, port)
        copy = Path(scratch) / path.name
        copy.write_text(yaml.safe_dump(derived, sort_keys=False), encoding="utf-8")
        # Serve reads these when it is imported, here and in every process that inherits them.
        env.switch_on_fast_path(Path(scratch))
        return _serve(copy, derived)


def loopback_copy(content: Mapping[str, Any], port: int | None) -> dict[str, Any]:
    """The same file, listening on loopback only."""
    http = {**(content.get("http_options") or {}), "host": LOOPBACK}
    http["port"] = port or http.get("port", DEFAULT_PORT)
    return {**content, "http_options": http}


_RAISED = re.compile(r"^(?:\w+\.)+\w+: (?P<words>.+)$", re.MULTILINE)
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


def _serve(file: Path, content: Mapping[str, Any]) -> int:
    from ray.serve.scripts import cli as serve_cli

    watcher = _Watcher(content)
    watcher.start()
    try:
        serve_cli(["run", str(file)], standalone_mode=False)
    except SystemExit:
        pass  # serve run ends so after Ctrl-C; the watcher knows whether it was ours
    finally:
        watcher.stop()
    return 1 if watcher.failed else 0


class _Watcher(threading.Thread):
    """Watches the applications' status; reports ready once, and ends the run on the first failure."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(name="ascend-serve-watcher", daemon=True)
        self._url = f"http://{LOOPBACK}:{content['http_options']['port']}"
        self._stop_asked = threading.Event()
        self.failed = False

    def stop(self) -> None:
        self._stop_asked.set()

    def run(self) -> None:
        import ray
        from ray import serve
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        announced: set[str] = set()
        started = time.monotonic()
        while not self._stop_asked.wait(0.3):
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
