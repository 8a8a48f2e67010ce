"""Dumping of data: the states of hicann/runtime's `aclrt_impl/toolchain/dump.cpp`. Nothing is ever written."""

from __future__ import annotations

from ascend_emulator.client import config_files
from ascend_emulator.client.models import registry
from ascend_emulator.codes import (
    DUMP_NOT_RUN,
    INVALID_PARAM,
    REPEAT_INITIALIZE,
    UNINITIALIZE,
    Failure,
)

_runs = False


def start() -> None:
    """Begin.

    Raises:
        Failure: 100001 (no init), 100002 (begun already).
    """
    global _runs
    _check_ready()
    if _runs:
        raise Failure(REPEAT_INITIALIZE, "EP0008: aclmdlInitDump cannot be called repeatedly.")
    _runs = True


def configure(path: str | None) -> None:
    """Take a configuration, which has no effect.

    Raises:
        Failure: 100001 (no init), 100045 (not begun), 100000 (no path); and as `config_files.check`.
    """
    _check_running()
    if path is None:
        raise Failure(INVALID_PARAM, "EH0002: the path of the dump configuration is null.")
    config_files.check(path)


def stop() -> None:
    """End.

    Raises:
        Failure: 100001 (no init), 100045 (not begun).
    """
    global _runs
    _check_running()
    _runs = False


def _check_ready() -> None:
    if not registry.is_ready():
        raise Failure(UNINITIALIZE, "EP0008: aclInit must be executed before data is dumped.")


def _check_running() -> None:
    _check_ready()
    if not _runs:
        raise Failure(DUMP_NOT_RUN, "EP0008: aclmdlInitDump must be executed first.")
