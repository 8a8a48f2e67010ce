"""ATC's options on a command line, read as `getopt_long` reads them. Pure.

`--name value`, `--name=value`, `-name=value`, dashes for underscores, beginnings of names that fit one name alone, any
order (facts: ATC §1.1; GE: cmd_flag_info.cc `FormatArgv`, `ParseCommandLine`). Words are templates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from ascend_serve.spec.recipe import all_options

REMOVED = "auto_tune_mode"
"""Still a name to ATC's parser, so that beginnings of it are too; any value of it is refused."""

HELP = "help"
_NAMES = (*all_options(), HELP)
_OPTIONAL = (HELP, "raw_ge_options_ignore_unsupported")
"""Options whose value can only be attached, and may be left out for `true`."""

_LONG = re.compile(r"(?P<dashes>--|-(?=[A-Za-z][A-Za-z0-9_]))(?P<name>[^=]*)(?:=(?P<value>.*))?", re.DOTALL)

Pairs = list[tuple[str, str]]


def read_options(argv: Sequence[str]) -> tuple[Pairs, list[str]]:
    """Read ATC's arguments.

    Args:
        argv: words behind the program's name.

    Returns:
        Each option's full name with its value, in their order; and what ATC's parser would refuse, in words. It
        stops at the first of these, here reading goes on.
    """
    pairs: Pairs = []
    faults: list[str] = []
    rest = iter(argv)
    for word in rest:
        if word == "--":
            faults += [_stray(stray) for stray in rest]
            break
        match = _LONG.fullmatch(word)
        if re.match(r"-h(?![A-Za-z0-9_])", word) or (match and match["name"] == "h"):
            pairs.append((HELP, "true"))
        elif match is None:
            faults.append(f"unknown option {word}" if re.match(r"-[A-Za-z]", word) else _stray(word))
        else:
            _read(match, rest, pairs, faults)
    return pairs, faults


def _read(match: re.Match[str], rest: Iterator[str], pairs: Pairs, faults: list[str]) -> None:
    typed = match["name"].replace("-", "_")
    found = [typed] if typed in _NAMES else [name for name in _NAMES if name.startswith(typed)]
    value = match["value"]
    if len(found) != 1:
        faults.append(_unknown(typed, found))
        if value is None and not found:
            next(rest, None)  # most likely its value
        return
    if value is None:
        value = "true" if found[0] in _OPTIONAL else next(rest, None)
    if value is None:
        faults.append(f"--{found[0]} is the last word and has no value: add it, or remove the option")
        return
    pairs.append((found[0], value))


def _unknown(typed: str, found: list[str]) -> str:
    if found:
        return f"--{typed} may be {' or '.join(f'--{name}' for name in sorted(found))}: write the whole name"
    near = "".join(f"; did you mean --{name}?" for name in get_close_matches(typed, _NAMES, n=1))
    return (
        f"ATC has no option --{typed}{near or '.'} If your release has it, put it into the recipe's `extra_args`, as "
        f"--{typed}=…"
    )


def _stray(word: str) -> str:
    return f"{word!r} belongs to no option (ATC: Non-option parameter): put the value before it in quotes, or remove it"
