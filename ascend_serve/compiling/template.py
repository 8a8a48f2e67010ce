"""Texts with places for parameters: `$name`, `${name}`, and `$$` for a dollar. Pure.

Names are a shell's: letters, digits and `_`, or a number as in `$1`, since such texts come from scripts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

NAME = r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+"
"""A parameter's name, as a regular expression."""

_PLACE = re.compile(rf"\$(?:(?P<dollar>\$)|\{{(?P<braced>{NAME})\}}|(?P<bare>[A-Za-z_][A-Za-z0-9_]*|[0-9]))")
_STRAY = re.compile(rf"\$(?!\{{(?:{NAME})\}}|[A-Za-z0-9_])")


def names_in(value: Any) -> tuple[str, ...]:
    """Names of the parameters in a template, or anywhere in plain values, in the order of their places."""
    if isinstance(value, str):
        return tuple(dict.fromkeys(filter(None, map(_name, _PLACE.finditer(value)))))
    if isinstance(value, Mapping):
        value = [part for pair in value.items() for part in pair]
    if isinstance(value, list | tuple):
        return tuple(dict.fromkeys(name for item in value for name in names_in(item)))
    return ()


def is_place(text: str) -> bool:
    """Whether a template is one parameter and nothing else."""
    found = _PLACE.fullmatch(text)
    return found is not None and not found["dollar"]


def fill(template: str, values: Mapping[str, str]) -> str:
    """The text that a template stands for; `values` has all its names."""
    return _replace(template, lambda found: values[_name(found)], "$")


def inline(template: str, templates: Mapping[str, str]) -> str:
    """A template with templates in the places of some of its parameters."""
    return _replace(template, lambda found: templates.get(_name(found), found[0]), "$$")


def adopt(text: str) -> str:
    """The template of a text in which a dollar that begins no name means itself."""
    return _STRAY.sub("$$$$", text)


def map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """Plain values, each text in them changed, keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {map_strings(key, change): map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [map_strings(item, change) for item in value]
    return value


def escape(text: str) -> str:
    """The template of a plain text."""
    return text.replace("$", "$$")


def _name(found: re.Match[str]) -> str:
    return found["braced"] or found["bare"] or ""


def _replace(template: str, replace: Callable[[re.Match[str]], str], dollar: str) -> str:
    return _PLACE.sub(lambda found: dollar if found["dollar"] else replace(found), template)
