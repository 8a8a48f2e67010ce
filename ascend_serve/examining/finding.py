"""One thing that an examination found, with the way out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        level: an error keeps models from being served here; a warning may.
        check: what was looked at, in one or two words.
        value: what was found.
        rule: what should be so; empty for what is in order.
        fix: what to do about it; empty for what is in order.
    """

    level: Level
    check: str
    value: str
    rule: str = ""
    fix: str = ""


def ok(check: str, value: str) -> Finding:
    """Something in order."""
    return Finding(Level.OK, check, value)


def note(check: str, value: str, fix: str = "") -> Finding:
    """Something to know, which is nobody's fault."""
    return Finding(Level.NOTE, check, value, fix=fix)


def warning(check: str, value: str, rule: str, fix: str) -> Finding:
    """Something that may keep models from being served, or slows them down."""
    return Finding(Level.WARNING, check, value, rule, fix)


def error(check: str, value: str, rule: str, fix: str) -> Finding:
    """Something that keeps models from being served."""
    return Finding(Level.ERROR, check, value, rule, fix)
