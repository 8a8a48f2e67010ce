"""Asks programs: pyACL in a process of its own, npu-smi, and which `atc` would compile. Each has a time limit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ascend_serve import env
from ascend_serve.artifacts.store import Store
from ascend_serve.compiling.toolchain import find_atc
from ascend_serve.errors import AscendServeError, ToolMissing
from ascend_serve.examining.facts import Artifacts, Atc, Compiled, Pyacl, Smi
from ascend_serve.examining.smi import parse_places, parse_smi
from ascend_serve.spec.toolchain import CANN, Toolchain

ACL_TIMEOUT_S = 60.0
"""A first call waits for the driver, which takes seconds on a machine with eight cards."""

SMI_TIMEOUT_S = 30.0
_PROC = Path("/proc")


class NoAnswer(Exception):  # noqa: N818  # named for what happened
    """A program did not answer; the text says why."""


def answer_of(command: Sequence[str], timeout_s: float) -> str:
    """What a program prints.

    Raises:
        NoAnswer: it cannot be started, takes too long, or fails without printing anything.
    """
    name = Path(command[0]).name if command[0] != sys.executable else " ".join(["python", *command[1:3]])
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NoAnswer(f"`{name}` did not answer within {timeout_s:g} s") from error
    except OSError as error:
        raise NoAnswer(f"`{name}` cannot be run: {error.strerror}") from error
    if done.returncode and not done.stdout.strip():
        said = done.stderr.strip().splitlines()
        ending = (
            f"was killed by signal {-done.returncode}"
            if done.returncode < 0
            else f"ended with {done.returncode}"
        )
        raise NoAnswer(f"`{name}` {ending}: {said[-1] if said else 'it printed nothing'}")
    return done.stdout


def json_of(module: str, timeout_s: float, *arguments: str) -> Any:
    """The JSON in the last line that one of our modules prints when it is run.

    Raises:
        NoAnswer: as `answer_of`.
    """
    lines = answer_of([sys.executable, "-m", module, *arguments], timeout_s).splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError) as error:
        raise NoAnswer(f"`python -m {module}` printed no JSON: {lines[-1:]}") from error


def ask_pyacl(timeout_s: float = ACL_TIMEOUT_S) -> Pyacl:
    """What pyACL answers; trouble if it does not."""
    try:
        told = json_of("ascend_serve.examining.acl_probe", timeout_s)
    except NoAnswer as silence:
        provider = env.acl_distribution() or (CANN, "")
        return Pyacl("acl", Toolchain(*provider), trouble=str(silence))
    provider = told.get("provider")
    return Pyacl(
        origin=told["origin"],
        provider=Toolchain(*provider) if provider else None,
        trouble=told.get("trouble", ""),
        soc_name=told.get("soc_name"),
        ordinals=told.get("ordinals"),
        healthy=tuple(told.get("healthy", ())),
    )


def ask_smi(timeout_s: float = SMI_TIMEOUT_S) -> Smi | None:
    """What npu-smi says of the chips; None where there is none."""
    path = os.pathsep.join([env.search_path(), str(Path(sys.executable).parent)])
    program = shutil.which("npu-smi", path=path)
    if program is None:
        return None
    try:
        text = answer_of([program, "info"], timeout_s)
    except NoAnswer as silence:
        return Smi(trouble=str(silence))
    smi = parse_smi(text, lambda pid: (_PROC / str(pid)).exists())
    try:
        return replace(smi, places=parse_places(answer_of([program, "info", "-m"], timeout_s)))
    except NoAnswer:
        return smi


def find_compiler() -> Atc:
    """The `atc` that would compile, and whose it is."""
    try:
        path = find_atc()
    except ToolMissing as missing:
        return Atc(None, trouble=str(missing))
    return Atc(str(path), _vendor_of(path))


def _vendor_of(program: Path) -> str:
    """An installed distribution if it made this script, else CANN."""
    if program.parent in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        for script in entry_points(group="console_scripts", name=program.name):
            if script.dist is not None:
                return str(script.dist.name)
    return CANN


def read_artifacts(url: str | None = None) -> Artifacts:
    """What the store holds.

    Args:
        url: of the store; None for the one that the environment names.
    """
    url = url or env.store_url()
    try:
        manifests = list(Store.lasting(url).manifests())
    except (AscendServeError, OSError) as error:
        return Artifacts(url, trouble=str(error))
    return Artifacts(url, tuple(Compiled(one.name, one.soc, one.toolchain.vendor) for one in manifests))
