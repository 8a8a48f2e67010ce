"""One helper for error messages: the nearest known word."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str:
    """A clause such as `; did you mean 'gears'?`, or the list of known words when none is near."""
    words = sorted(set(known))
    close = get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(words)}" if words else ""
