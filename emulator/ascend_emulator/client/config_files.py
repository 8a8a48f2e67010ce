"""JSON files that configure `init` and dumps: what is refused, by hicann/runtime's `acl/common/json_parser.cpp`."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from ascend_emulator.codes import INVALID_FILE, PARSE_FILE, Failure

_MOST_BYTES = 10 << 20
_DEEPEST = 10


def check(path: str) -> None:
    """Refuse a file that is no configuration; an empty one is fine, and no option has an effect here.

    Args:
        path: of the file.

    Raises:
        Failure: 100003 (no regular file, not readable, above 10 MiB), 100006 (no JSON, or deeper than 10 levels).
    """
    file = Path(path)
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            raise Failure(
                INVALID_FILE, f"EH0003: {path!r} is no regular file, or larger than {_MOST_BYTES} bytes."
            )
        data = file.read_bytes()
    except OSError as error:
        raise Failure(INVALID_FILE, f"EH0003: the file {path!r} cannot be read: {error.strerror}.") from error
    if max(_depth(data, b"{}"), _depth(data, b"[]")) > _DEEPEST:
        raise Failure(PARSE_FILE, f"EH0004: the file {path!r} is nested deeper than {_DEEPEST} levels.")
    try:
        json.loads(data or b"{}")
    except ValueError as error:
        raise Failure(PARSE_FILE, f"EH0004: the file {path!r} is no JSON: {error}.") from error


def _depth(data: bytes, pair: bytes) -> int:
    """The most levels of one kind of bracket, counted in strings too, as the original does."""
    opening, closing = pair
    deepest = level = 0
    for byte in data:
        if byte == opening:
            level += 1
            deepest = max(deepest, level)
        elif byte == closing:
            level -= 1
    return deepest
