"""Settings that are closed: frozen, and without unknown keys; their faults in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from ascend_serve.errors import ConfigError
from ascend_serve.spec.text import nearest


class Closed(BaseModel):
    """A frozen value whose unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_C = TypeVar("_C", bound=Closed)

_BRANCHES = ("int", "str", "bool", "float", "path")
"""What pydantic calls branches of a union, beside those with a bracket, such as `dict[str,path]`."""


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
    path = written_path(fault["loc"])
    where = ".".join(map(str, path))
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{where}'{nearest(str(path[-1]), keys_at(kind, path[:-1]))}"
    if fault["type"] == "missing":
        return f"key '{where}' is missing"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{where}: {message}" if len(path) > 1 else message
    return f"{where}: {message}, not {fault['input']!r}" if where else message


def written_path(location: Sequence[int | str]) -> tuple[int | str, ...]:
    """A fault's location as a user knows it, in keys and indices: pydantic names the branches of a union there, too."""
    return tuple(
        part for part in location if not (isinstance(part, str) and ("[" in part or part in _BRANCHES))
    )


def keys_at(kind: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The keys that are known at a path; none where it leads to no model."""
    in_mapping = False
    for key in path:
        if isinstance(key, int):
            continue  # which one of a list; all are of one kind
        if in_mapping:
            in_mapping = False  # which one of a mapping, likewise
            continue
        field = kind.model_fields.get(key)
        inner = None if field is None else _model_in(field.annotation)
        if field is None or inner is None:
            return []
        in_mapping = getattr(field.annotation, "__origin__", None) is dict
        kind = inner
    return list(kind.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as `tuple[Model, ...]`, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
