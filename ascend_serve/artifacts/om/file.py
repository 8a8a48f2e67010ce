"""Reads an `.om` on disk without loading what is not looked at.

The file is mapped, so a model of gigabytes costs as much as its graph (facts: ATC §3.9).
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from ascend_serve.artifacts.om.reading import Om, read_om


def read_om_file(path: Path, *, deep: bool = False) -> Om:
    """Read an `.om` on disk.

    Args:
        path: the file.
        deep: see `read_om`.

    Raises:
        NotAnOm: it is no offline model.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        # An empty file cannot be mapped.
        if not file.seek(0, os.SEEK_END):
            return read_om(b"")
        return read_om(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), deep=deep)
