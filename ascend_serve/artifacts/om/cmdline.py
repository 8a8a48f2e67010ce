"""The command line that ATC records in an `.om`, taken apart far enough to read single options.

It is argv joined with single spaces, so quotes are gone and a value that holds ` --` cannot be told from the next
option (facts: ATC §1.1). What a person typed into a shell is another matter: `ascend-serve import-atc`.
"""

from __future__ import annotations

import re

from ascend_serve.artifacts.om.facts import Precision

_OPTION = re.compile(r"(?:^|(?<=\s))--?(?P<name>[A-Za-z_][\w-]*)(?:=|\s+(?!-)|(?=\s|$))")


def options(cmdline: str) -> dict[str, str]:
    """Name (without dashes, with underscores) → value, in the order of the command line; the last one counts.

    Names stay as they were given, which may be a prefix of the option's.
    """
    matches = list(_OPTION.finditer(cmdline))
    ends = [*(match.start() for match in matches), len(cmdline)][1:]
    return {
        match["name"].replace("-", "_"): cmdline[match.end() : end].strip()
        for match, end in zip(matches, ends, strict=False)
    }


def option(given: dict[str, str], name: str) -> str | None:
    """The value of an option that was given by its name or by a prefix, as ATC takes it; None when it was not.

    Args:
        given: what `options` answers.
        name: the option's whole name.
    """
    if name in given:
        return given[name]
    # ATC ran, so a prefix was not ambiguous; one name is whole although another begins with it.
    prefixes = (key for key in given if name.startswith(key) and key != "precision_mode")
    return next((given[key] for key in prefixes), None)


def program(cmdline: str) -> str:
    """What stands before the first option: the path of `atc.bin`, which tells CANN's version to people."""
    first = _OPTION.search(cmdline)
    return cmdline[: first.start()].strip() if first else cmdline.strip()


def precision_of(cmdline: str) -> Precision:
    """In what ATC was told to compute; without a word it is `force_fp16` (facts: ATC §1.8)."""
    given = options(cmdline)
    for name in ("precision_mode_v2", "precision_mode"):
        value = option(given, name)
        if value:
            return Precision(name, value, True)
    return Precision("precision_mode", "force_fp16" if cmdline else "", False)
