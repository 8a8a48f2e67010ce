"""An environment for each judge: clients whose pins clash with Ray's and with each other's.

    python -m tests.judges.environments [name ...]

builds those that are not there yet: `venv`, and `pip` from its configured index, with every version pinned by the
judge's lock in `locks/`. Where a program of the judge needs libraries of Debian packages (`locks/<name>.apt`), they are
unpacked beside it, and nothing is installed.

They are kept in `.cache/judges`, or where `JUDGES_CACHE` says, each under the digest of its lock, so that a changed
lock makes a new one. To change a lock, install what its first line says into an environment of its own and write
`pip freeze` below that line.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

LOCKS = Path(__file__).parent / "locks"
ROOT = Path(__file__).resolve().parents[2]


def names() -> list[str]:
    """The judges that have a lock."""
    return sorted(lock.stem for lock in LOCKS.glob("*.txt"))


def folder(name: str) -> Path:
    """Where the environment of a judge is, or will be."""
    cache = Path(os.environ.get("JUDGES_CACHE") or ROOT / ".cache/judges")
    digest = hashlib.sha256((LOCKS / f"{name}.txt").read_bytes()).hexdigest()[:12]
    return cache / f"{name}-{digest}"


def python(name: str) -> Path:
    """The interpreter of a judge's environment.

    Raises:
        FileNotFoundError: it is not built.
    """
    interpreter = folder(name) / "bin/python"
    if not (folder(name) / "built").exists():
        raise FileNotFoundError(
            f"{name} has no environment: run `python -m tests.judges.environments {name}`"
        )
    return interpreter


def build(name: str) -> None:
    """Make a judge's environment, unless it is there."""
    place = folder(name)
    if (place / "built").exists():
        return
    shutil.rmtree(place, ignore_errors=True)  # of a build that was interrupted
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    install = [
        place / "bin/python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ]
    subprocess.run([*install, "--requirement", LOCKS / f"{name}.txt"], check=True)
    for package in _packages(name):
        _unpack(package, place / "apt")
    (place / "built").touch()


def libraries(name: str) -> list[Path]:
    """Folders in which a judge's programs find shared libraries that are not the system's."""
    found = folder(name).glob("**/lib*.so.*")
    return sorted({library.parent for library in found})


def _packages(name: str) -> list[str]:
    """Debian packages whose libraries a judge's programs need, beside what pip brings."""
    listed = LOCKS / f"{name}.apt"
    return listed.read_text().split() if listed.exists() else []


def _unpack(package: str, place: Path) -> None:
    """Unpack a Debian package, without installing it."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "--quiet", package], cwd=place, check=True)
    for file in place.glob(f"{package}_*.deb"):
        subprocess.run(["dpkg", "-x", file, place], check=True)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or names():
        print(f"{wanted}: {folder(wanted)}", file=sys.stderr)
        build(wanted)
