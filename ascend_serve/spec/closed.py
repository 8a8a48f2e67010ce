"""Settings that are closed: frozen, and without unknown keys; their faults in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ascend_serve.errors import ConfigError
from ascend_serve.spec.text import nearest


class Closed(BaseModel):
    """A frozen value whose unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_C = TypeVar("_C", bound=Closed)


def parse_closed(kind: type[_C], settings: Mapping[str, Any], where: str) -> _C:
    """Make a value of `kind` from plain values, as read from YAML.

    Raises:
        ConfigError: a key or value is wrong; the message names all of them, the rule and the nearest key.
    """
    try:
        return kind(**{str(key): value for key, value in settings.items()})
    except ValidationError as error:
        faults = (_explain(kind, fault) for fault in error.errors())
        raise ConfigError(f"{where}: " + "; ".join(dict.fromkeys(faults))) from None


def _explain(kind: type[BaseModel], fault: Any) -> str:
    path = [part for part in fault["loc"] if not _names_a_type(part)]
    where = ".".join(map(str, path))
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{where}'{nearest(str(path[-1]), _fields_at(kind, path[:-1]))}"
    if fault["type"] == "missing":
        return f"key '{where}' is missing"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{where}: {message}" if len(path) > 1 else message
    return f"{where}: {message}, not {fault['input']!r}" if where else message


def _names_a_type(part: int | str) -> bool:
    """Whether a part of a fault's location is pydantic's name of a union's branch, which no user wrote."""
    return isinstance(part, str) and ("[" in part or part in ("int", "str", "bool", "float"))


def _fields_at(kind: type[BaseModel], path: list[int | str]) -> list[str]:
    for key in path:
        if isinstance(key, int):
            continue
        field = kind.model_fields.get(key)
        inner = [t for t in _types_of(field.annotation if field else None) if issubclass(t, BaseModel)]
        if not inner:
            return []
        kind = inner[0]
    return list(kind.model_fields)


def _types_of(annotation: Any) -> list[type]:
    if isinstance(annotation, type):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _types_of(part)]
