"""Finding `atc`, telling one installation from another, and refusing a mix of two."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from ascend_serve import env
from ascend_serve.compiling.process import run
from ascend_serve.compiling.scratch import scratch
from ascend_serve.errors import CompileError, ToolchainMismatch, ToolMissing
from ascend_serve.spec.toolchain import CANN, Toolchain

_HELP_TIMEOUT_S = 120.0
_VERSION_FILES = (
    "version.cfg",
    "*/version.info",
    "*/ascend_*_install.info",
    "share/info/*/version.info",
)
"""Where CANN 5 to 9 write their versions, seen from the install root."""
_VERSION_LINE = re.compile(r"^.*(version|timestamp).*=.*$", re.IGNORECASE | re.MULTILINE)


def find_atc(explicit: str | Path | None = None) -> Path:
    """The `atc` to compile with.

    Looked for in this order: the explicit setting (the argument, else `ASCEND_SERVE_ATC`), after which
    nothing else is tried; CANN's install root `$ASCEND_HOME_PATH`; `PATH`; the scripts folder of the running
    interpreter.

    Raises:
        ToolMissing: none is there; the message names every place.
    """
    return find_program(
        "atc",
        explicit or env.explicit_atc(),
        ("bin", "compiler/bin"),
        "On a machine with CANN, run `source /usr/local/Ascend/ascend-toolkit/set_env.sh`; or name the program in "
        "ASCEND_SERVE_ATC",
    )


def find_program(name: str, setting: str | Path | None, in_cann: Sequence[str], otherwise: str) -> Path:
    """A program of CANN's toolkit.

    Args:
        name: of the program.
        setting: the explicit setting, after which nothing else is tried.
        in_cann: folders under CANN's install root.
        otherwise: what to do when it is nowhere.

    Raises:
        ToolMissing: none is there; the message names every place.
    """
    if setting:
        found = shutil.which(Path(setting).expanduser().absolute())
        if found is None:
            raise ToolMissing(f"{name} was set to {setting}, which is no program that can be run")
        return Path(found)
    root = env.cann_root()
    cann = [root / folder for folder in in_cann] if root else []
    path = [Path(part) for part in env.search_path().split(os.pathsep) if part]
    scripts = list(dict.fromkeys([Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]))
    for folder in (*cann, *path, *scripts):
        if found := shutil.which(name, path=str(folder)):
            return Path(found).absolute()
    raise ToolMissing(
        f"no `{name}` in $ASCEND_HOME_PATH ({root or 'not set'}), PATH, or {', '.join(map(str, scripts))}. {otherwise}"
    )


def fingerprint(atc: Path) -> str:
    """What tells this toolchain from another: a hash of `atc --help` and of CANN's version files beside it.

    ATC has no option that prints its version. Its help lists the options of the release, and CANN's packages
    write their versions into files under the install root.

    Raises:
        CompileError: `atc --help` fails, so nothing can be compiled with it.
    """
    return _fingerprint(atc, atc.stat().st_mtime_ns)


@functools.cache
def _fingerprint(atc: Path, _mtime_ns: int) -> str:
    digest = hashlib.sha256()
    with scratch() as folder:
        log = folder / "help.txt"
        status = run([str(atc), "--help"], cwd=folder, log=log, timeout_s=_HELP_TIMEOUT_S)
        output = log.read_bytes()
    if status != 0:
        fate = "did not end in time" if status is None else f"ended with status {status}"
        lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip(" .")]
        raise CompileError(f"`{atc} --help` {fate}: {' '.join(lines)[:500] or 'it printed nothing'}")
    digest.update(output)
    real = atc.resolve()
    # bin/atc and compiler/bin/atc: the install root is two or three floors up.
    for root in real.parents[1:3]:
        for file in sorted(file for pattern in _VERSION_FILES for file in root.glob(pattern)):
            # Their other lines name folders of this machine.
            for line in _VERSION_LINE.finditer(file.read_text(encoding="utf-8", errors="replace")):
                digest.update(line.group().encode())
    return digest.hexdigest()


def check_one_kind(made_by: Toolchain, atc: Path) -> None:
    """See that what compiled a model and the installed `acl` are of one kind.

    Nothing is checked where no `acl` can be imported: a machine may compile without being able to run.

    Raises:
        ToolchainMismatch: they are not; the message names both and the way out.
    """
    if not env.acl_installed():
        return
    distribution = env.acl_distribution()
    runtime = Toolchain(*distribution) if distribution else Toolchain(CANN, "")
    if runtime.vendor != made_by.vendor:
        raise ToolchainMismatch(
            f"{atc} is of {made_by}, but the module acl that would run the model is of {runtime}: one cannot "
            "run what the other compiled. Use both of one kind: set ASCEND_SERVE_ATC to the atc of "
            f"{runtime.vendor}, or make the acl of {made_by.vendor} the one that Python imports"
        )
