"""Values that a stranger sent, as short text for error messages."""

from __future__ import annotations

import reprlib

_shortener = reprlib.Repr()
_shortener.maxlevel = 2
_shortener.maxstring = 80
_shortener.maxother = 80


def show(value: object) -> str:
    """The value's repr, bounded in length and depth whatever it holds."""
    return _shortener.repr(value)
