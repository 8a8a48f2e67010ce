"""Strict mode: a sanitizer for device code (facts/pyacl.md §8, §11, §17, §18).

It watches every call of `acl` in a process and reports misuses that an emulated card survives and hardware may not:
memory used after it was freed, results read before anything has waited for them, and what `findings.KINDS` lists
besides. It changes no answer; only the addresses of freed memory come back later.

`ASCEND_EMULATOR_STRICT=1` turns it on when `acl` is imported; `ASCEND_EMULATOR_STRICT_REPORT=<folder>` names where each
process writes its findings, instead of a text on standard error at its exit. `python -m ascend_emulator.strict report
<folder>` prints such a folder; `ascend_emulator.pytest_plugin` lets the test fail that did it.
"""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path

from ascend_emulator.client import calling
from ascend_emulator.strict.insight import ClientInsight
from ascend_emulator.strict.report import FOLDER_VARIABLE, Report
from ascend_emulator.strict.sanitizer import Sanitizer

__all__ = ["disable", "enable", "is_enabled"]

_running: tuple[Sanitizer, Report] | None = None


def enable(folder: Path | None = None) -> None:
    """Watch every call from now on; without effect when that is done already.

    Turn it on before the first call of `acl`: what was allocated earlier is not known.

    Args:
        folder: where findings are written; None for what `ASCEND_EMULATOR_STRICT_REPORT` says.
    """
    global _running
    if _running is None:
        named = os.environ.get(FOLDER_VARIABLE)
        report = Report(folder or (Path(named) if named else None))
        sanitizer = Sanitizer(ClientInsight(), report.add)
        _running = sanitizer, report
        calling.watchers.append(sanitizer)


def disable() -> None:
    """Watch no more, and free what is in quarantine."""
    global _running
    if _running is not None:
        sanitizer, _ = _running
        calling.watchers.remove(sanitizer)
        sanitizer.release_all()
        _running = None


def is_enabled() -> bool:
    """Whether calls are watched."""
    return _running is not None


def _at_exit() -> None:
    if _running is not None:
        _running[1].write_exit_summary(sys.stderr)


def _before_fork() -> None:
    if _running is not None:
        _running[0].before_fork()


def _after_fork() -> None:
    if _running is not None:
        sanitizer, report = _running
        report.after_fork()
        sanitizer.after_fork()


# Registered once, here: neither registry forgets what is in it, and each of these asks whether strict mode is on.
atexit.register(_at_exit)
os.register_at_fork(before=_before_fork, after_in_child=_after_fork)

# Here and not in `calling`, which imports this module while it may be half imported itself.
if os.environ.get(calling.STRICT_VARIABLE) == "1":
    enable()
