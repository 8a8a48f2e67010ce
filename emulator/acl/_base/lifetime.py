"""Initialisation, what the device is, and the last error (facts/pyacl.md §3, §4)."""

from __future__ import annotations

from ascend_emulator.client import config_files, models, process
from ascend_emulator.client.calling import (
    function,
    nothing,
    ret,
    take_message,
    value_ret,
)
from ascend_emulator.codes import (
    REPEAT_FINALIZE,
    REPEAT_INITIALIZE,
    Failure,
)

__all__ = [
    "app_log",
    "finalize",
    "finalize_reference",
    "get_recent_err_msg",
    "get_soc_name",
    "get_version",
    "init",
]

_API_VERSION = (1, 17, 0)
_references = 0
_finalized = False


@function("|s", ret)
def init(config_path: str = "") -> int:
    """Initialise acl: 0, or 100002 (and one more reference) when it is already."""
    global _references, _finalized
    if _references:
        _references += 1
        raise Failure(REPEAT_INITIALIZE, "EE1001: acl is initialised already.")
    if config_path:
        config_files.check(config_path)
    _references, _finalized = 1, False
    models.set_executor(ready=True)
    return 0


@function("", ret)
def finalize() -> int:
    """Undo every `init`: 0 the first time, 100037 after that."""
    _finalize()
    return 0


@function("", value_ret)
def finalize_reference() -> tuple[int, int]:
    """Undo one `init`; `(references left, ret)`."""
    global _references
    if _references > 1:
        _references -= 1
    elif _references == 1:
        _finalize()
    else:
        raise Failure(REPEAT_FINALIZE)
    return _references, 0


@function("", value_ret)
def get_version() -> tuple[int, int, int, int]:
    """`(major, minor, patch, ret)` of the API."""
    return (*_API_VERSION, 0)


@function("", nothing)
def get_soc_name() -> str | None:
    """Full name of the SoC, None when it cannot be told."""
    return process.settings().soc.name


@function("", nothing)
def get_recent_err_msg() -> str | None:
    """Text of this thread's last failure, None if there is none; reading clears it."""
    return take_message()


@function("is", nothing)
def app_log(level: int, message: str) -> None:
    """Write to CANN's log, of which the emulator has none."""


def _finalize() -> None:
    global _references, _finalized
    if _finalized:
        raise Failure(REPEAT_FINALIZE)
    _references, _finalized = 0, True
    models.set_executor(ready=False)
