"""Paths that options name, checked as ATC does before it opens them (GE: base/common/util.cc)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ascend_emulator.atc.errors import AtcError

_PATH_MAX = 4096
_PATH = re.compile(r"[A-Za-z0-9./_\-一-龥]*")
_PATH_RULE = "The path can only contain 'a-z' 'A-Z' '0-9' '-' '.' '_' and Chinese characters."


def reason_of(error: OSError) -> str:
    """A failed system call as ATC tells it: number and text."""
    return f"[Error {error.errno}] {error.strerror}"


def check_input(path: str, option: str) -> None:
    """Check a path that something is read from.

    Args:
        path: as given.
        option: with its dashes.

    Raises:
        AtcError: E13000 nothing can be reached under it; E10001 other characters than ATC allows, or no right
            to read.
    """
    try:
        real = Path(path).resolve(strict=True)
    except OSError as error:
        told = reason_of(error)
        follow = AtcError("E10001", path, option, told).message
        raise AtcError("E13000", path, told, trace=(follow,)) from error
    if not _PATH.fullmatch(str(real)):
        raise AtcError("E10001", path, option, _PATH_RULE)
    if not os.access(real, os.R_OK):
        raise AtcError("E10001", path, option, "[Error 13] Permission denied")


def check_output(path: str, option: str) -> Path:
    """Check a path that a file is written to; its folder is made, as ATC does while it checks.

    Args:
        path: of the file.
        option: with its dashes.

    Raises:
        AtcError: E10021 too long; E10001 other characters than ATC allows, no folder, or no right to write.
    """
    if len(path) >= _PATH_MAX:
        raise AtcError("E10021", option.lstrip("-"), _PATH_MAX)
    if not _PATH.fullmatch(path):
        raise AtcError("E10001", path, option, _PATH_RULE)
    output = Path(path)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AtcError("E10001", path, option, reason_of(error)) from error
    if os.access(output, os.F_OK) and not os.access(output, os.W_OK):
        raise AtcError("E10001", path, option, "[Error 13] Permission denied")
    return output


def check_model_output(path: str, suffix: str) -> Path:
    """The file to write a model to: `--output` with its suffix.

    Raises:
        AtcError: as `check_output`; E10022 no file name at the end.
    """
    if len(path) + len(suffix) < _PATH_MAX and _PATH.fullmatch(path) and path.endswith("/"):
        raise AtcError("E10022", path, "output")
    try:
        return check_output(path + suffix, "--output")
    except AtcError as error:
        if error.code != "E10001":
            raise
        # The user gave the path without its suffix and looks for it so.
        _, _, told = error.message.partition(" Reason: ")
        raise AtcError("E10001", path, "--output", told) from error
