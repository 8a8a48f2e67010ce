"""Functions that pyACL has and the emulated card does not do: they parse their arguments and answer 200001.

A program that only looks for a name, or that calls it where failure is foreseen, finds what it would find on
hardware whose driver lacks the feature; a name that pyACL does not have raises AttributeError as everywhere.
A module lists such functions as text, a line each: name, arguments, results. The names, arguments and
results are those of the open binding (facts/pyacl.md §23.1).
"""

from __future__ import annotations

from collections.abc import Callable

from ascend_emulator.client.calling import function, nothing, ret
from ascend_emulator.codes import API_NOT_SUPPORT, Failure

_ARGUMENTS = str.maketrans({"-": None, "K": "k", "B": "I", "H": "I", "b": "i", "d": "f", "l": "O"})
"""pyACL's argument letters -> those of `calling.function`; `-` stands for no arguments, `l` for a list."""

_BLANKS: dict[str, Callable[[], object]] = {"v": int, "f": float, "D": dict, "L": list}


def functions(module: str, table: str) -> dict[str, Callable[..., object]]:
    """Make the functions of a table.

    Args:
        module: the private module that holds them, such as `acl._media`.
        table: lines `name arguments results`. Arguments are letters of `PyArg_ParseTuple` as the binding
            uses them, with `l` for a list and `D` for a dict, or `-`. Results are letters too: `r` ret, `v` a
            handle or number, `f` a float, `D` a dict, `L` a list, or `n` alone for None; several make a tuple.

    Returns:
        The functions by name.
    """
    lines = (line.split() for line in table.splitlines() if line.strip())
    return {name: _function(module, name, arguments, results) for name, arguments, results in lines}


def _function(module: str, name: str, arguments: str, results: str) -> Callable[..., object]:
    lists = [place for place, letter in enumerate(arguments) if letter == "l"]

    def body(*given: object) -> object:
        if not all(isinstance(given[place], list) for place in lists):
            raise TypeError(f"{made.__module__}.{name} args parse failed")
        text = f"EE1005: {made.__module__}.{name} is not supported: the emulated card does not do it."
        raise Failure(API_NOT_SUPPORT, text)

    body.__module__, body.__name__ = module, name
    body.__doc__ = "Answer 200001: pyACL has this, the emulated card does not do it."
    made = function(arguments.translate(_ARGUMENTS), _failed(results))(body)
    return made


def _failed(results: str) -> Callable[[int], object]:
    if results == "r":
        return ret
    if results == "n":
        return nothing

    def shape(code: int) -> object:
        parts = [code if letter == "r" else _BLANKS[letter]() for letter in results]
        return parts[0] if len(parts) == 1 else tuple(parts)

    return shape
