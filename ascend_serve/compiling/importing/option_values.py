"""The value of one of ATC's options: from its text on a command line to the plain value of a recipe's field. Pure.

The opposite of `atc.options`. Texts are refused as ATC refuses them, with its code (facts: ATC §1.3–1.9, §2.4;
GE: cmd_flag_info.cc `kStrValueRange`, option_utils.cc). Texts are templates: what holds a parameter is kept as text,
or as an item of its list, until the parameter is bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from ascend_serve.compiling.template import is_place, names_in
from ascend_serve.errors import ConfigError
from ascend_serve.spec.atc_options import AtcOptions, writing_of
from ascend_serve.spec.recipe import field_of
from ascend_serve.spec.text import nearest

_FRAMEWORKS = {"0": "caffe", "1": "mindspore", "3": "tensorflow", "5": "onnx"}
_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")
_RANGE = re.compile(r"\d+~(\d+|-1)")
_LONGEST_NAME = 64

# Switches that ATC refuses as E10001 with its range of values, and not as E10006 (GE: cmd_flag_info.cc).
_RANGED_SWITCHES = ("virtual_type",)


def read_value(option: str, text: str) -> Any:
    """What the recipe's field for an option holds when the command line says `text`.

    Args:
        option: its full name, without dashes.
        text: its value, a template; not empty.

    Returns:
        A plain value as YAML has it: text, number, boolean, list, or mapping of lists.

    Raises:
        ConfigError: ATC does not take the value; the message has its code.
    """
    read = _HOUSE.get(option)
    if read is not None:
        return read(text)
    return _read_field(option, AtcOptions.model_fields[option], text)


def option_of(field: str) -> str | None:
    """The option that a recipe's field sets, None for fields that ATC knows nothing of."""
    if field in AtcOptions.model_fields:
        return field
    return next((option for option in _HOUSE if field_of(option) == field), None)


def read_items(option: str, text: str) -> list[Any]:
    """What a part of an option's list holds: of one shape, of one gear, of names; `text` may say several items.

    Raises:
        ConfigError: ATC does not take it; the message has its code.
    """
    if option == "input_shape":
        return read_dims(text)
    if option.startswith("dynamic_"):
        return read_numbers(text)
    read = read_value(option, text)
    return read if isinstance(read, list) else [read]


def read_dims(text: str) -> list[Any]:
    """One shape, `-1,3,224,224`, as a list; empty for a scalar.

    Raises:
        ConfigError: E10002, E10011.
    """
    return [_read_dim(dim.strip(), text) for dim in text.split(",")] if text else []


def read_numbers(text: str) -> list[Any]:
    """Numbers between commas; a trailing comma is taken, as ATC does.

    Raises:
        ConfigError: E10003.
    """
    return [_read_number(item.strip(), text) for item in text.removesuffix(",").split(",")]


def fit_name(text: str) -> str:
    """The nearest name that a recipe can have: letters, digits, `_` and `-`, at most 64."""
    return _UNFIT.sub("_", text).lstrip("_-")[:_LONGEST_NAME] or "model"


def _read_dim(dim: str, shape: str) -> Any:
    if names_in(dim):
        return dim
    if dim == "-1" or (dim.isascii() and dim.isdigit()):
        if not int(dim):
            raise ConfigError(f"--input_shape: {shape!r} has a dim of 0; dims are -1 or at least 1 (E10011)")
        return int(dim)
    if "~" in dim:
        ends = "~".join(end.strip() for end in dim.split("~"))
        if _RANGE.fullmatch(ends):
            return ends
    raise ConfigError(
        f"--input_shape: {dim!r} in {shape!r} is no dim: a whole number, -1, or a range 1~4 (E10002)"
    )


def _read_number(item: str, text: str) -> Any:
    if names_in(item):
        return item
    if not (item.isascii() and item.isdigit()):
        raise ConfigError(f"{item!r} in {text!r} is no whole number (E10003)")
    return int(item)


def _read_framework(text: str) -> str:
    if names_in(text):
        return text
    if text not in _FRAMEWORKS:
        known = ", ".join(f"{number} ({name})" for number, name in _FRAMEWORKS.items())
        raise ConfigError(f"--framework: {text!r} is none of {known} (E10007)")
    return _FRAMEWORKS[text]


def _read_inputs(text: str) -> Any:
    if is_place(text):
        return text
    shapes: dict[str, Any] = {}
    for item in text.removesuffix(";").split(";"):
        name, colon, dims = item.rpartition(":")
        name = name.strip()
        if not colon and names_in(item):
            return text  # the parameter may hold names and shapes
        if not (colon and name):
            raise ConfigError(
                f"--input_shape: {item!r} is not of the form name:n,c,h,w (E10002; open shapes may come without names "
                "for ATC, and a recipe names its inputs)"
            )
        if dims.startswith("[") and dims.endswith("]"):
            raise ConfigError(
                f"--input_shape: {item!r} has brackets, which are --input_shape_range's: {name}:{dims[1:-1]}"
                " says the same (E10002)"
            )
        if name in shapes:
            raise ConfigError(
                f"--input_shape: input '{name}' stands twice; ATC would take the first: remove one"
            )
        shapes[name] = dims if is_place(dims) else read_dims(dims)
    return shapes


def _read_gears(text: str) -> Any:
    if is_place(text):
        return text
    if " " in text:
        raise ConfigError(
            f"--dynamic_batch_size: {text!r} may hold digits and commas alone, no spaces (E10003)"
        )
    try:
        return read_numbers(text)
    except ConfigError as error:
        raise ConfigError(f"--dynamic_batch_size: {error}") from error


def _read_groups(option: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if is_place(text):
            return text
        try:
            groups = [read_numbers(group) for group in text.strip().removesuffix(";").split(";")]
        except ConfigError as error:
            raise ConfigError(f"--{option}: {error}") from error
        if option == "dynamic_image_size" and not names_in(text):
            for group in groups:
                if len(group) != 2:
                    raise ConfigError(f"--{option}: {group} is no height and width (E10020)")
        return groups

    return read


def _read_mode(text: str) -> Any:
    if names_in(text):
        return text
    if text != "0":
        raise ConfigError(f"--mode: {text!r} makes no .om; a recipe is for mode 0")
    return 0


def _read_text(text: str) -> str:
    return text


_HOUSE: dict[str, Callable[[str], Any]] = {
    "mode": _read_mode,
    "framework": _read_framework,
    "model": _read_text,
    "weight": _read_text,
    "output": _read_text,
    "soc_version": lambda text: [text],
    "input_shape": _read_inputs,
    "dynamic_batch_size": _read_gears,
    "dynamic_image_size": _read_groups("dynamic_image_size"),
    "dynamic_dims": _read_groups("dynamic_dims"),
}
"""Reader of each option whose field has a house name."""


def _read_field(option: str, field: FieldInfo, text: str) -> Any:
    if get_origin(field.annotation) is tuple:
        return _read_items(option, field, text)
    if names_in(text):
        return text
    kinds = (field.annotation, *get_args(field.annotation))
    literal = next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())
    if bool in kinds:
        return _read_switch(option, field, text)
    if literal:
        return _read_choice(option, literal, text)
    if any(int in (kind, *get_args(kind)) for kind in kinds):
        return _read_integer(option, text)
    return text


def _read_switch(option: str, field: FieldInfo, text: str) -> bool:
    writing = writing_of(field)
    if text not in (writing.yes, writing.no):
        code = "E10005" if writing.yes == "true" else "E10001" if option in _RANGED_SWITCHES else "E10006"
        raise ConfigError(f"--{option}: {text!r} is neither {writing.yes} nor {writing.no} ({code})")
    return text == writing.yes


def _read_choice(option: str, known: tuple[Any, ...], text: str) -> Any:
    found = next((value for value in known if str(value) == text), None)
    if found is None:
        code = {"log": "E10010", "external_weight": "E10006"}.get(option, "E10001")
        near = nearest(text.lower(), map(str, known)) or ""
        raise ConfigError(f"--{option}: {text!r} is none of {', '.join(map(str, known))} ({code}){near}")
    return found


def _read_items(option: str, field: FieldInfo, text: str) -> Any:
    if is_place(text):
        return text
    join = writing_of(field).join
    items = [item.strip() for item in text.strip().removesuffix(join).split(join)]
    if bool not in get_args(field.annotation):
        return items
    if bad := [item for item in items if item not in ("true", "false") and not names_in(item)]:
        raise ConfigError(f"--{option}: {bad[0]!r} in {text!r} is neither true nor false (E10005)")
    return [item if names_in(item) else item == "true" for item in items]


def _read_integer(option: str, text: str) -> int:
    if not re.fullmatch(r"-?[0-9]+", text):
        raise ConfigError(f"--{option}: {text!r} is no whole number (E10001)")
    return int(text)
