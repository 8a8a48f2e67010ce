"""Python stacks that cost little to take: code objects and positions, made into lines only when one is shown."""

from __future__ import annotations

import sys
from types import CodeType, FrameType
from typing import TypedDict

from ascend_emulator.client.calling import OWN_FOLDERS

Stack = tuple[tuple[CodeType, int], ...]
"""Innermost frame first: its code, and the offset of the instruction it is at."""

DEPTH = 12
"""Frames kept: a misuse is seldom further than that from the code that is to blame."""


class _OwnFiles(dict[str, bool]):
    """File name -> whether it is the emulator's; asked of every call, so each name is looked at once."""

    def __missing__(self, file: str) -> bool:
        own = self[file] = file.startswith(OWN_FOLDERS)
        return own


_is_own = _OwnFiles()


class Frame(TypedDict):
    """One line of a stack as it is shown."""

    file: str
    line: int
    function: str


def capture() -> Stack:
    """The stack of the calling thread from the program's innermost frame on; the emulator's own are cut off."""
    frame: FrameType | None = sys._getframe(1)
    frames: list[tuple[CodeType, int]] = []
    while frame is not None and len(frames) < DEPTH:
        code = frame.f_code
        if frames or not _is_own[code.co_filename]:
            frames.append((code, frame.f_lasti))
        frame = frame.f_back
    return tuple(frames)


def shown(stack: Stack) -> list[Frame]:
    """The lines of a stack, innermost first."""
    return [
        {"file": code.co_filename, "line": _line(code, offset), "function": code.co_name}
        for code, offset in stack
    ]


def _line(code: CodeType, offset: int) -> int:
    for start, end, line in code.co_lines():
        if start <= offset < end and line is not None:
            return line
    return code.co_firstlineno
