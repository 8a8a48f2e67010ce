"""How pyACL functions are called: positional ints and strings in, codes out (facts/pyacl.md §2).

`function` makes one from a format and a plain Python function. The format has a letter per argument, those of
`PyArg_ParseTuple` that pyACL uses; arguments after `|` may be left out; an empty format ignores whatever it
is given.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from operator import index
from typing import Any, TypeVar

from ascend_emulator.codes import Failure

R = TypeVar("R")


class _Thread(threading.local):
    message: str | None = None
    code: int = 0


_thread = _Thread()


def take_message() -> str | None:
    """The text of the calling thread's last failure; reading clears it (facts/pyacl.md §3)."""
    message, _thread.message = _thread.message, None
    return message


def last_code(*, clear: bool) -> int:
    """The code of the calling thread's last failure, 0 if none."""
    code = _thread.code
    if clear:
        _thread.code = 0
    return code


# --- what a function gives back when it fails with a code ------------------------------------------


def ret(code: int) -> int:
    """A bare `ret`."""
    return code


def value_ret(code: int) -> tuple[int, int]:
    """`(value, ret)`."""
    return 0, code


def two_values_ret(code: int) -> tuple[int, int, int]:
    """`(value, value, ret)`."""
    return 0, 0, code


def dict_ret(code: int) -> tuple[dict[str, Any], int]:
    """`(dict, ret)`, the dict empty."""
    return {}, code


def zero(code: int) -> int:
    """A bare value that is 0 on failure."""
    return 0


def minus_one(code: int) -> int:
    """A bare value that is -1 on failure."""
    return -1 if code else 0


def empty_text(code: int) -> str:
    """A bare string that is empty on failure."""
    return ""


def nothing(code: int) -> None:
    """No result at all."""


# --- arguments -------------------------------------------------------------------------------------


def _unsigned_long(value: object) -> int:
    # `k` takes real ints only, bool included, and wraps silently
    if not isinstance(value, int):
        raise TypeError
    return value & 0xFFFF_FFFF_FFFF_FFFF


def _unsigned_int(value: Any) -> int:
    return index(value) & 0xFFFF_FFFF


def _int(value: Any) -> int:
    number = index(value)
    if not -(1 << 31) <= number < 1 << 31:
        raise TypeError
    return number


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    return value


def _float(value: Any) -> float:
    return float(value.__float__())


def _list(value: object) -> list[int]:
    if not isinstance(value, list):
        raise TypeError
    return [index(item) for item in value]


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


_CONVERTERS: dict[str, Callable[[Any], object]] = {
    "k": _unsigned_long,
    "I": _unsigned_int,
    "i": _int,
    "s": _text,
    "f": _float,
    "L": _list,
    "D": _dict,
    "O": lambda value: value,
}


def _shown(module: str) -> str:
    """The module a program finds a function in: `acl.rt` for `acl._rt.memory`, `acl` for `acl._base.buffers`."""
    package, _, rest = module.partition("._")
    room = rest.partition(".")[0]
    return package if room in ("", "base") else f"{package}.{room}"


class _Function:
    """What `function` makes: an object that, as a builtin does, binds to no instance when a class holds it."""

    def __init__(self, form: str, failed: Callable[[int], object], body: Callable[..., object]) -> None:
        required, _, optional = form.partition("|")
        # `acl._rt.memory` holds what `acl.rt` shows, and errors and pickles name the latter.
        self.__module__ = _shown(body.__module__)
        self.__name__ = self.__qualname__ = body.__name__
        self.__doc__ = body.__doc__
        self._converters = tuple(_CONVERTERS[letter] for letter in required + optional)
        self._fewest = len(required)
        self._body = body
        self._failed = failed
        # Held, because at interpreter exit this module's globals may be None already.
        self._thread = _thread
        self._finalizing = sys.is_finalizing

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        if keywords:
            raise TypeError(f"{self._path}() takes no keyword arguments")
        converters = self._converters
        if converters:
            if not self._fewest <= len(args) <= len(converters):
                raise TypeError(f"{self._path} args parse failed")
            try:
                args = tuple([convert(value) for convert, value in zip(converters, args)])  # noqa: B905 - hot
            except (TypeError, AttributeError, OverflowError):
                raise TypeError(f"{self._path} args parse failed") from None
        else:
            args = ()
        try:
            return self._body(*args)
        except Exception as error:
            if type(error) is Failure:
                self._thread.code = error.code
                self._thread.message = error.text or self._thread.message
                return self._failed(error.code)
            if self._finalizing():
                return self._failed(0)
            raise

    def __repr__(self) -> str:
        return f"<function {self._path}>"

    def __reduce__(self) -> str:
        return self.__name__  # pickled by name, as a builtin is

    @property
    def _path(self) -> str:
        return f"{self.__module__}.{self.__name__}"


def function(form: str, failed: Callable[[int], object]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Make a pyACL function.

    Args:
        form: a letter per argument: `k` unsigned long, `I` unsigned int, `i` int, `s` str, `f` float, `L`
            list of ints, `D` dict, `O` anything.
        failed: what the function returns for a code when it fails.

    Returns:
        A decorator. The function it makes takes no keywords, raises TypeError for arguments of the wrong
        number or type, turns a `Failure` into `failed(code)` and notes its text for `get_recent_err_msg`.
    """
    return lambda body: _Function(form, failed, body)
