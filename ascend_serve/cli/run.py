"""`ascend-serve run`: what `make serve` calls.

It runs Ray's own `serve run` on a derived copy of the file: on loopback, with Serve's fast data path switched on
(variables and traps: facts §4, §8.1), watched (`watch.py`), and swept up after (`_sweeper.py`).
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import yaml

from ascend_serve import env
from ascend_serve.cli import _sweeper
from ascend_serve.cli.watch import Watcher, start_failure
from ascend_serve.errors import ConfigError
from ascend_serve.serving.serve_file import check_serve_file, read_serve_file

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8000


@click.command(name="run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="HTTP port. [default: that of FILE, else 8000]",
)
def command(file: Path, port: int | None) -> None:
    """Serve FILE on this machine, on loopback, over Serve's fast data path, until Ctrl-C."""
    raise SystemExit(run_file(file, port))


def run_file(path: Path, port: int | None) -> int:
    """Check, derive, serve until Ctrl-C; 0 after Ctrl-C, 1 if Serve did not start or an application failed.

    Raises:
        ConfigError: the file has errors, or its port is taken; nothing was started.
    """
    content = read_serve_file(path)
    findings = check_serve_file(content, Path.cwd())
    if findings.errors:
        raise ConfigError("; ".join(f"{path}: {error}" for error in findings.errors))
    for note in findings.notes:
        click.echo(f"note: {note}", err=True)
    derived = loopback_copy(content, port)
    taken = derived["http_options"]["port"]
    if not _is_free(taken):
        raise ConfigError(
            f"port {taken} is taken: another server listens there; stop it, or choose with --port"
        )
    with _scratch_folder() as scratch:
        copy = scratch / path.name
        copy.write_text(yaml.safe_dump(derived, sort_keys=False), encoding="utf-8")
        # Serve reads these when it is imported, here and in every process that inherits them.
        env.switch_on_fast_path(scratch, _free_port)
        return _serve(copy, f"http://{LOOPBACK}:{taken}")


def loopback_copy(content: Mapping[str, Any], port: int | None) -> dict[str, Any]:
    """The same file, listening on loopback only."""
    http = {**(content.get("http_options") or {}), "host": LOOPBACK}
    http["port"] = port or http.get("port", DEFAULT_PORT)
    return {**content, "http_options": http}


def _serve(file: Path, url: str) -> int:
    from ray.exceptions import RayError
    from ray.serve.scripts import cli as serve_cli

    watcher = Watcher(url)
    watcher.start()
    try:
        serve_cli(["run", str(file)], standalone_mode=False)
    except SystemExit:
        pass  # serve run ends so after Ctrl-C; the watcher knows whether it was ours
    except RayError as error:
        click.echo(f"ascend-serve: Serve did not start: {start_failure(str(error))}", err=True)
        return 1
    finally:
        watcher.stop()
    return 1 if watcher.failed else 0


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """A folder that is removed afterwards, with whatever still uses it, even if this process is killed."""
    scratch = tempfile.mkdtemp(prefix="ascend-serve-")
    # In a session of its own: Ctrl-C in a terminal is sent to the whole group, and it has to outlive that.
    sweeper = subprocess.Popen(
        [sys.executable, "-I", "-S", _sweeper.__file__, scratch],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield Path(scratch)
    finally:
        sweeper.communicate(b".")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _free_port(wanted: int) -> int:
    """The port wanted, or another that is free."""
    if _is_free(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
