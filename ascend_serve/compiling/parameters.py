"""Parameters of a recipe's file: `${bs}` in its values, bound when it is loaded. Pure.

A document with the key `parameters` is a template (`compiling.template`): `$name` and `${name}` stand for what the
parameter is bound to, and `$$` for a dollar. Without the key a dollar is a dollar. A field that sets one of ATC's
options reads a bound text as ATC reads the option, so that `gears: ${gears}` takes `1,4,8` (facts: ATC §1.4–1.9).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ascend_serve.compiling.importing.option_values import fit_name, option_of, read_items, read_value
from ascend_serve.compiling.template import NAME, fill, is_place, map_strings, names_in
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.text import nearest

KEY = "parameters"
"""The document's key that makes it a template."""

_NUMBER = re.compile(r"[-+]?[0-9]+(?P<real>\.[0-9]+)?(?P<power>[eE][-+]?[0-9]+)?")

Settings = dict[str, Any]
Parameters = dict[str, str | None]
Fill = Callable[[str], str]


def read_settings(told: Sequence[str]) -> dict[str, str]:
    """Values of parameters as a command line gives them, each as `NAME=VALUE`.

    Raises:
        ConfigError: one without `=`.
    """
    given = {}
    for setting in told:
        name, equals, value = setting.partition("=")
        if not (name and equals):
            raise ConfigError(f"--set {setting}: give NAME=VALUE")
        given[name] = value
    return given


def split(document: Mapping[str, Any]) -> tuple[Settings, Parameters | None]:
    """Separate a document's parameters from the recipe.

    Args:
        document: as read from YAML.

    Returns:
        The recipe's settings, and each parameter's value as text, None for one that has to be given. None in the
        place of all where the document has no parameters, and so is no template.

    Raises:
        ConfigError: `parameters` is no mapping of names to single values.
    """
    settings = {str(key): value for key, value in document.items() if key != KEY}
    if KEY not in document:
        return settings, None
    given = document[KEY]
    if not isinstance(given, Mapping):
        raise ConfigError(f"{KEY} is a mapping of names to values, such as {{bs: 8}}, not {given!r}")
    for name, value in given.items():
        if not re.fullmatch(NAME, str(name)):
            raise ConfigError(f"{KEY}: {name!r} is no name: letters, digits and _, or a number")
        if not isinstance(value, str | int | float | None):
            raise ConfigError(
                f"{KEY}.{name}: {value!r} is no single value; write a list as ATC does, such as '1,4,8'"
            )
    return settings, {str(name): _text(value) for name, value in given.items()}


def bind(
    settings: Mapping[str, Any], parameters: Mapping[str, str | None] | None, given: Mapping[str, str]
) -> Settings:
    """Put values in the places of parameters.

    Args:
        settings: the recipe's, as `split` gave them.
        parameters: as `split` gave them; None: nothing is replaced.
        given: values for this time, which win over those of the document.

    Returns:
        Plain values for `CompileRecipe.parse`, in the same order.

    Raises:
        ConfigError: a parameter without value, one that the recipe does not have, or a value that its option does
            not take.
    """
    if unknown := [name for name in given if name not in (parameters or {})]:
        raise ConfigError(
            f"--set {unknown[0]}=…: the recipe has no such parameter{nearest(unknown[0], parameters or ())}"
        )
    if parameters is None:
        return dict(settings)
    values = {**parameters, **given}
    used = names_in(settings)
    if unknown := [name for name in used if name not in values]:
        raise ConfigError(
            f"${{{unknown[0]}}} is not among the recipe's `{KEY}`: add it there, or write $$ for a "
            f"dollar{nearest(unknown[0], values)}"
        )
    if missing := [name for name in used if values[name] is None]:
        options = " ".join(f"--set {name}=…" for name in missing)
        raise ConfigError(f"no value for parameter {', '.join(missing)}: give {options}")
    texts = {name: text for name, text in values.items() if text is not None}
    try:
        bound = {
            field: _bind(field, value, lambda text: fill(text, texts)) for field, value in settings.items()
        }
    except ConfigError as error:
        said = ", ".join(f"{name}={texts[name]}" for name in used)
        raise ConfigError(f"with {said}: {error}") from error
    return {field: value for field, value in bound.items() if value is not None}


def _text(value: str | int | float | None) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def _bind(field: str, value: Any, filled: Fill) -> Any:
    if not names_in(value):
        return map_strings(value, filled)
    if field == "name":
        return fit_name(filled(str(value)))
    option = option_of(field)
    if option is None:
        texts = _holds_texts(field)
        return map_strings(value, filled) if texts else _bind_scalars(value, filled)
    if isinstance(value, str):
        text = filled(value)
        return read_value(option, text) if text else None  # an option without value is not given
    if isinstance(value, Mapping):
        return {filled(str(name)): _bind_items(option, dims, filled) for name, dims in value.items()}
    if isinstance(value, list) and any(isinstance(item, list) for item in value):
        return [_bind_items(option, item, filled) for item in value]
    return _bind_items(option, value, filled)


def _bind_items(option: str, value: Any, filled: Fill) -> Any:
    """A list, in which one parameter may stand for several items."""
    if isinstance(value, str):
        return read_items(option, filled(value))
    if not isinstance(value, list):
        return value
    bound: list[Any] = []
    for item in value:
        if names_in(item):
            bound += read_items(option, filled(item))
        else:
            bound.append(map_strings(item, filled))
    return bound


def _holds_texts(field: str) -> bool:
    """Whether a field that sets no option holds texts, which may not become numbers."""
    known = CompileRecipe.model_fields.get(field)
    return known is None or known.annotation in (str, dict[str, str], tuple[str, ...])


def _bind_scalars(value: Any, filled: Fill) -> Any:
    if isinstance(value, str):
        return _scalar(filled(value)) if is_place(value) else filled(value)
    if isinstance(value, Mapping):
        return {filled(str(key)): _bind_scalars(item, filled) for key, item in value.items()}
    if isinstance(value, list):
        return [_bind_scalars(item, filled) for item in value]
    return value


def _scalar(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    return float(text) if number["real"] or number["power"] else int(text)
