"""The rivals' environment: made once for each lock file, under the cache folder; never in the project's own."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.node import ROOT

LOCK = Path(__file__).with_name("requirements.lock")
_MADE = ".made"


class RivalsMissingError(Exception):
    """The environment cannot be made here; the message is the installer's last line."""


def rivals_python() -> Path:
    """The interpreter that has the rivals and the emulated device; made when it is not there yet.

    Raises:
        RivalsMissingError: the registry lacks a package, or cannot be reached.
    """
    lock = LOCK.read_bytes()
    key = hashlib.sha256(lock + platform.python_version().encode() + bytes(ROOT)).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "ascend-serve-benchmarks" / f"rivals-{key}"
    python = folder / "bin/python"
    if (folder / _MADE).exists():
        return python
    print(f"making the rivals' environment in {folder} (once)", file=sys.stderr, flush=True)
    packages = ("-r", str(LOCK), "-e", str(ROOT / "emulator"))
    try:
        if uv := shutil.which("uv"):
            _run(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder))
            _run(uv, "pip", "install", "--quiet", "--python", str(python), *packages)
        else:
            _run(sys.executable, "-m", "venv", str(folder))
            _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"ended with {error.returncode}"]
        raise RivalsMissingError(lines[-1]) from error
    (folder / _MADE).touch()
    return python


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
