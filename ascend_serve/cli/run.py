"""`ascend-serve run`: what `make serve` calls.

It runs Ray's own `serve run` on a derived copy of the file: on loopback, with Serve's fast data path switched on
(variables and traps: facts §4, §8.1), watched (`watch.py`), and swept up after (`_sweeper.py`).
"""

from __future__ import annotations

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
from ascend_serve.cli.ports import LOOPBACK, Ports
from ascend_serve.cli.watch import Watcher, start_failure
from ascend_serve.errors import ConfigError
from ascend_serve.serving.serve_file import check_serve_file, read_serve_file
from ascend_serve.serving.tls import absent_files, speaks_tls

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
    """Serve FILE on this machine, on loopback, over Serve's fast data path, until Ctrl-C.

    A FILE with a certificate (http_options.ssl_*) is served over HTTPS, and then by Serve's Python proxy.
    """
    raise SystemExit(run_file(file, port))


def run_file(path: Path, port: int | None) -> int:
    """Check, derive, serve until Ctrl-C.

    Returns:
        0 after Ctrl-C; 1 if Serve did not start or ended by itself, or an application failed, which is then told.

    Raises:
        ConfigError: the file has errors, its key or certificate is not here, or its port is taken; nothing was started.
    """
    content = read_serve_file(path)
    findings = check_serve_file(content, Path.cwd())
    if findings.errors:
        raise ConfigError("; ".join(f"{path}: {error}" for error in findings.errors))
    for note in findings.notes:
        click.echo(f"note: {note}", err=True)
    derived = loopback_copy(content, port)
    wanted = derived["http_options"]["port"]
    secure = speaks_tls(derived["http_options"])
    if secure and (absent := absent_files(derived["http_options"], Path.cwd())):
        told = "; ".join(f"http_options.{option}: no file {file}" for option, file in absent.items())
        raise ConfigError(f"{path}: {told}: HTTPS needs both here: docs/tls.md says how they are made")
    with Ports() as ports:
        if not ports.take(wanted):
            raise ConfigError(
                f"port {wanted} is taken by another server, or by another `ascend-serve run`: stop it, or choose one "
                "with --port"
            )
        with _scratch_folder() as scratch:
            copy = scratch / path.name
            copy.write_text(yaml.safe_dump(derived, sort_keys=False), encoding="utf-8")
            # Serve reads these when it is imported, here and in every process that inherits them.
            env.switch_on_fast_path(scratch, ports.take_near, haproxy=not secure)
            return _serve(copy, f"{'https' if secure else 'http'}://{LOOPBACK}:{wanted}")


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
    except SystemExit as ended:
        # So ends serve run, without a status, after Ctrl-C (the watcher knows whether it was ours) and after an error.
        if isinstance(ended.__context__, Exception):
            error = ended.__context__
            told = f"{type(error).__name__}: {start_failure(str(error))}"
            click.echo(f"ascend-serve: Serve ended on an unexpected error: {told}", err=True)
            return 1
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
