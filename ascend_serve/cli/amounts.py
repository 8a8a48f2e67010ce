"""Sizes and ages as people write them on a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping

import click

_AMOUNT = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?) ?(?P<unit>[A-Za-z]*)")
_SIZES = {"": 1, "B": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for suffix, base in (("iB", 1024), ("B", 1000))
}
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def size(text: str) -> int:
    """Bytes, out of `20GiB`; a click type.

    Raises:
        click.BadParameter: it is no size; the message names the units.
    """
    return int(_amount(text, _SIZES, "20GiB"))


def age(text: str) -> float:
    """Seconds, out of `30d`; a click type.

    Raises:
        click.BadParameter: it is no age; the message names the units.
    """
    return _amount(text, _AGES, "30d")


def _amount(text: str, units: Mapping[str, int], example: str) -> float:
    match = _AMOUNT.fullmatch(text)
    if match is None or match["unit"] not in units:
        known = ", ".join(unit for unit in units if unit)
        raise click.BadParameter(f"{text!r}: give a number with a unit ({known}), such as {example}")
    return float(match["number"]) * units[match["unit"]]
