"""Dumping of data (facts/pyacl.md §14.6): the calls and their states; nothing is written."""

from __future__ import annotations

from ascend_emulator.client.calling import function, nothing, ret
from ascend_emulator.client.models import dump

__all__ = [
    "dump_reg_callback",
    "dump_unreg_callback",
    "finalize_dump",
    "init_dump",
    "set_dump",
]


@function("", ret)
def init_dump() -> int:
    """Begin dumping."""
    dump.start()
    return 0


@function("|s", ret)
def set_dump(path: str | None = None) -> int:
    """Take the JSON file that says what to dump."""
    dump.configure(path)
    return 0


@function("", ret)
def finalize_dump() -> int:
    """End dumping."""
    dump.stop()
    return 0


@function("Oi", ret)
def dump_reg_callback(callback: object, flag: int) -> int:
    """Ask to be called with what is dumped, which never happens here."""
    return 0


@function("", nothing)
def dump_unreg_callback() -> None:
    """Ask no longer."""
