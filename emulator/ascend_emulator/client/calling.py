"""How pyACL functions are called: positional ints and strings in, codes out (facts/pyacl.md §2).

`function` makes one from a format and a plain Python function. The format has a letter per argument, those of
`PyArg_ParseTuple` that pyACL uses; arguments after `|` may be left out; an empty format ignores whatever it
is given.

Every call of every function goes through `Function.__call__`. Whoever wants to see the calls of a program puts a
`Watcher` into `watchers`; while the list is empty, watching costs one look at it.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from operator import index
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ascend_emulator.codes import Failure

R = TypeVar("R")

OWN_FOLDERS = tuple(f"{Path(__file__).parents[2] / package}/" for package in ("acl", "ascend_emulator"))
"""Where the emulator's code lies: what is not in them is the program."""

STRICT_VARIABLE = "ASCEND_EMULATOR_STRICT"
"""`1`: calls are watched by `ascend_emulator.strict` from the start."""


class _Thread(threading.local):
    message: str | None = None
    code: int = 0

    def remember(self, failure: Failure) -> None:
        """Note a failure; its code only if it is the runtime's: 107, 207 or 507 thousand and some."""
        if failure.code // 1000 in (107, 207, 507):
            self.code = failure.code
        self.message = failure.text or self.message


_thread = _Thread()


def take_message() -> str | None:
    """The text of the calling thread's last failure; reading clears it (facts/pyacl.md §3)."""
    message, _thread.message = _thread.message, None
    return message


def note(failure: Failure) -> None:
    """Remember a failure as the calling thread's last, for a function that answers in a shape of its own."""
    _thread.remember(failure)


def last_code(*, clear: bool) -> int:
    """The code of the calling thread's last failure in the runtime (`aclrtPeekAtLastError`), 0 if none."""
    code = _thread.code
    if clear:
        _thread.code = 0
    return code


def warn(text: str) -> None:
    """Show a warning at the line of the program that made the call, whatever watches it in between.

    The category is plain `Warning` as in the original, so it is shown by default (facts/pyacl.md §13).
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(OWN_FOLDERS):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, Warning, stacklevel=level + 1)


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


def _within(lowest: int, highest: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        number = index(value)
        if not lowest <= number <= highest:
            raise OverflowError
        return number

    return convert


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, which `s` refuses as well
        raise TypeError from None
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
    "K": _unsigned_long,  # long long, which is as long here
    "I": _unsigned_int,
    "i": _int,
    "h": _within(-(1 << 15), (1 << 15) - 1),
    "b": _within(0, 0xFF),
    "B": lambda value: index(value) & 0xFF,
    "s": _text,
    "f": _float,
    "L": _list,
    "D": _dict,
    "O": lambda value: value,
}


_UNCHANGED: dict[str, tuple[int, int]] = {
    "k": (0, (1 << 64) - 1),
    "I": (0, (1 << 32) - 1),
    "i": (-(1 << 31), (1 << 31) - 1),
}
"""Letter -> least and greatest int that its converter gives back as it is."""

Arguments = tuple[Any, ...]


class Watcher(Protocol):
    """What stands between a program and the functions it calls."""

    def around(self, function: Function, proceed: Callable[[Arguments], Any], arguments: Arguments) -> Any:
        """Take part in one call, in the thread that makes it.

        Args:
            function: what is called.
            proceed: makes the call with the arguments it is given, and returns its result.
            arguments: as converted; calls with wrong arguments do not get here.

        Returns:
            What the program gets.
        """


watchers: list[Watcher] = []
"""Who sees every call, outermost first. Calls made while the interpreter goes down are not shown to them."""


class Function:
    """What `function` makes: an object that, as a builtin does, binds to no instance when a class holds it.

    Attributes:
        path: its full name, such as `acl.rt.malloc`.
    """

    def __init__(self, form: str, failed: Callable[[int], object], body: Callable[..., object]) -> None:
        required, _, optional = form.partition("|")
        self.__module__ = _shown_module(body.__module__)
        self.__name__ = self.__qualname__ = body.__name__
        self.__doc__ = body.__doc__
        self.path = f"{self.__module__}.{self.__name__}"
        self._converters = tuple(_CONVERTERS[letter] for letter in required + optional)
        self._fewest = len(required)
        ranges = [_UNCHANGED.get(letter) for letter in required + optional]
        self._ranges = tuple([each for each in ranges if each]) if all(ranges) else None
        self._body = body
        self._failed = failed
        self._shape = failed(1)
        # Held, because at interpreter exit this module's globals may be None already.
        self._thread = _thread
        self._finalizing = sys.is_finalizing

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Check and convert the arguments and make the call, past the watchers if there are any."""
        if keywords:
            raise TypeError(f"{self.path}() takes no keyword arguments")
        # What a program gives nearly always: as many plain ints as there are letters, all of them in range.
        ranges = self._ranges
        if ranges is None or len(args) != len(ranges):
            args = self._converted(args)
        else:
            for value, (least, greatest) in zip(args, ranges):  # noqa: B905 - hot
                if type(value) is not int or not least <= value <= greatest:
                    args = self._converted(args)
                    break
        if watchers and not self._finalizing():
            return self._watched(args)
        try:
            return self._body(*args)
        except Exception as error:  # noqa: BLE001 - `_answer` raises again what is no refusal
            return self._answer(error)

    def run(self, arguments: Arguments) -> Any:
        """Make the call unwatched, with arguments that are converted already."""
        try:
            return self._body(*arguments)
        except Exception as error:  # noqa: BLE001 - `_answer` raises again what is no refusal
            return self._answer(error)

    def code_of(self, result: Any) -> int | None:
        """The `ret` in a result of this function; None when it gives none."""
        if isinstance(self._shape, tuple):
            code: int | None = result[-1] if self._shape[-1] == 1 else None
            return code
        return result if self._shape == 1 else None

    def __repr__(self) -> str:
        return f"<function {self.path}>"

    def __reduce__(self) -> str:
        return self.__name__  # pickled by name, as a builtin is

    def _converted(self, args: Arguments) -> Arguments:
        converters = self._converters
        if not converters:
            return ()
        if not self._fewest <= len(args) <= len(converters):
            raise TypeError(f"{self.path} args parse failed")
        try:
            return tuple(convert(value) for convert, value in zip(converters, args, strict=False))
        except (TypeError, AttributeError, OverflowError):
            raise TypeError(f"{self.path} args parse failed") from None

    def _watched(self, arguments: Arguments) -> Any:
        proceed: Callable[[Arguments], Any] = self.run
        for watcher in reversed(watchers):
            proceed = partial(watcher.around, self, proceed)
        return proceed(arguments)

    def _answer(self, error: Exception) -> Any:
        if type(error) is Failure:
            self._thread.remember(error)
            return self._failed(error.code)
        if self._finalizing():
            return self._failed(0)
        raise error


def _shown_module(module: str) -> str:
    """Where a program finds what a private module of `acl` defines: `acl._rt.memory` is `acl.rt`.

    A room may have several modules beside each other: `acl._util_threads` is `acl.util` too.
    """
    package, _, rest = module.partition("._")
    if package != "acl" or not rest:
        return module
    room = rest.partition(".")[0].partition("_")[0]
    return package if room == "base" else f"{package}.{room}"


def function(form: str, failed: Callable[[int], object]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Make a pyACL function.

    Args:
        form: a letter per argument: `k` and `K` unsigned long, `I` unsigned int, `i` int, `h` short, `b` byte,
            `B` byte that wraps, `s` str, `f` float, `L`
            list of ints, `D` dict, `O` anything.
        failed: what the function returns for a code when it fails.

    Returns:
        A decorator. The function it makes takes no keywords, raises TypeError for arguments of the wrong
        number or type, turns a `Failure` into `failed(code)` and notes its text for `get_recent_err_msg`.
    """
    return lambda body: Function(form, failed, body)


if os.environ.get(STRICT_VARIABLE) == "1":
    import_module("ascend_emulator.strict")  # which turns itself on then; it needs all of the above
