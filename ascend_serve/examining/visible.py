"""How the runtime reads `ASCEND_RT_VISIBLE_DEVICES`. Pure (facts: pyACL §5.3)."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple


class Visible(NamedTuple):
    """What a list of visible devices comes to.

    Attributes:
        listed: logical numbers of the devices that are seen, in the order of the ordinals 0, 1, …
        stopped_at: the token at which the runtime stops reading, and ignores what follows; None if it reads all.
        unordered: whether the list is not ascending or names a device twice, so that calls fail.
    """

    listed: tuple[int, ...]
    stopped_at: str | None
    unordered: bool


def read_visible(listed: str, present: int | None = None) -> Visible:
    """Read a list as the runtime does: up to the first token that is no number of a device that is there.

    Args:
        listed: the variable's value.
        present: how many devices the machine has; None if that is not known.
    """
    numbers: list[int] = []
    stopped_at = None
    for token in listed.split(","):
        if not (token.isascii() and token.isdigit()) or (present is not None and int(token) >= present):
            stopped_at = token
            break
        numbers.append(int(token))
    unordered = any(later <= earlier for earlier, later in pairwise(numbers))
    return Visible(tuple(numbers), stopped_at, unordered)
