"""What a program passes by mistake: objects of every form, and host memory that cannot all be used."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any


class _Huge:
    def __index__(self) -> int:
        return 1 << 70


class _Number(int):
    pass


class _Text(str):
    __slots__ = ()


def _fail(*_: object) -> None:
    raise ValueError("a callback that fails")


def objects() -> list[Any]:
    """Objects of every form that a program could pass by mistake."""
    import numpy as np

    circle: list[Any] = [1]
    circle.append(circle)
    prop = {"memAttr": 4, "location": {"id": 0, "type": 1}}
    return [
        *(
            None,
            True,
            1.5,
            float("nan"),
            float("inf"),
            -1e300,
            1j,
            "",
            "x",
            "\ud800",
            "a\0b",
            b"",
            b"\x07" * 64,
            ...,
        ),
        *(
            bytearray(8),
            memoryview(b"12"),
            [],
            [0],
            [0] * 3,
            [1 << 70],
            [-1, "a"],
            [[1, 2]],
            [[1], None],
            circle,
            [None],
        ),
        *(
            (),
            (1,),
            (2, 3),
            (-1,),
            (1 << 40, 1 << 40),
            ("a",),
            {},
            {"a": 1},
            {1: 2},
            set(),
            range(3),
            prop,
            [prop],
            len,
        ),
        *(
            _fail,
            _Huge(),
            _Number(3),
            _Text("x"),
            object(),
            int,
            np.int64(3),
            np.uint8(1),
            np.float32(2),
            np.zeros(4),
        ),
        *(
            np.zeros((4, 4))[:, ::2],
            np.zeros((), "i4"),
            np.array([None]),
            np.zeros(2, "S3"),
            np.zeros((0, 2)),
            np,
        ),
        {"name": "x", "dimCount": 2, "dims": [2, 8]},
        {"dimCount": -1, "dims": [1 << 80]},
        {"dimCount": 1 << 40, "dims": []},
        {"numAttrs": 1, "attrs": [{"attr": 2, "value": {"deviceId": 0}}]},
        {"failureMode": -1, "overflowSwitch": 1 << 40, "priority": None},
    ]


def host_memory(model: bytes) -> dict[str, int]:
    """A model's file, and pages between others that nobody may touch: writable, readable, behind their file's end."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    private, none = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 0
    page = mmap.PAGESIZE
    room = (len(model) // page + 1) * page
    base: int = libc.mmap(None, 16 * page + room, none, private, -1, 0)
    fixed, readable = 0x10, mmap.PROT_READ
    libc.mmap(base + 2 * page, 2 * page, readable | mmap.PROT_WRITE, private | fixed, -1, 0)
    libc.mmap(base + 6 * page, page, readable, private | fixed, -1, 0)
    file = os.memfd_create("short")
    os.truncate(file, page)
    libc.mmap(base + 10 * page, 2 * page, readable | mmap.PROT_WRITE, mmap.MAP_SHARED | fixed, file, 0)
    libc.mmap(base + 14 * page, room, readable | mmap.PROT_WRITE, private | fixed, -1, 0)
    ctypes.memmove(base + 14 * page, model, len(model))
    return {
        "file": base + 14 * page,
        "file_size": len(model),
        "host": base + 2 * page,
        "guarded": base + 8 * page,
        "readonly": base + 6 * page,
        "behind_file": base + 11 * page,
    }
