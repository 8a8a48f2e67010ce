"""The files that options name, those of the model apart: read and refused as ATC does.

Forms and codes: facts/atc_om_soc.md §1.8, §1.9; GE: keep_dtype_option.cc, modify_mixlist_config_parser.cc,
fusion_config_parser.cc, fe_error_code.h (E20003, E21001, E21002); main_impl.cc ParseRawCompileOptions.
"""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path
from typing import Any

from ascend_emulator.atc.errors import AtcError
from ascend_emulator.atc.paths import reason_of
from ascend_emulator.precision_lists import List

_OP_TYPE = "OpType::"
_SECTIONS = {"ByOpType", "ByNodeName"}
_SWITCHES = {"on", "off"}
_RAW_LEVELS = ("global", "session", "graph")


def _read(path: str) -> str:
    """The text of a file that FE reads.

    Raises:
        AtcError: E21001 it cannot be read, or is empty; E21002 no UTF-8.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise AtcError("E21001", path, cause=f"{error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise AtcError("E21002", path, "it is no UTF-8 text") from error
    if not text.strip():
        raise AtcError("E21001", path, cause="The file is empty.")
    return text


def keep_dtype(path: str) -> tuple[frozenset[str], frozenset[str]]:
    """Read a file of `--keep_dtype`: a node's name or `OpType::<type>` on each line.

    Returns:
        Names of nodes, and operator types.

    Raises:
        AtcError: E10410 no such file; E13001 it cannot be read; E10003 a type that is not in PascalCase.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise AtcError("E10410", path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise AtcError("E13001", path, " ".join(str(error).split())) from error
    types = {line.removeprefix(_OP_TYPE) for line in lines if line.startswith(_OP_TYPE)}
    for name in sorted(types):
        if not re.fullmatch("[A-Z][A-Za-z0-9]*", name):
            reason = f"The operator type [{name}] in the config file is invalid. It must be in PascalCase."
            raise AtcError("E10003", path, "keep_dtype", reason)
    nodes = {line for line in lines if line and not line.startswith(_OP_TYPE)}
    return frozenset(nodes), frozenset(types)


def _mixlist_types(path: str, content: Any, kind: str, change: str) -> list[str]:
    types = content[kind][change]
    if not (isinstance(types, list) and all(isinstance(name, str) for name in types)):
        raise AtcError("E21002", path, f'"{kind}"."{change}" must be an array of operator types')
    return types


def modify_mixlist(path: str) -> dict[str, List]:
    """Read a file of `--modify_mixlist`.

    Returns:
        Operator type to the list that it is on from now on; what is only removed from a list is gray.

    Raises:
        AtcError: E21001 or E21002 no JSON of that form; E20003 a type that is put on several lists.
    """
    text = _read(path)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise AtcError("E21002", path, f"it is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise AtcError("E21002", path, "the top level must be an object")
    added: dict[str, List] = {}
    removed: dict[str, List] = {}
    for kind, changes in content.items():
        if kind not in {each.value for each in List} or not isinstance(changes, dict):
            reason = f'"{kind}" must be an object named white-list, black-list or gray-list'
            raise AtcError("E21002", path, reason)
        for change in changes:
            if change not in ("to-add", "to-remove"):
                raise AtcError("E21002", path, f'"{kind}"."{change}" must be to-add or to-remove')
            known = added if change == "to-add" else removed
            for name in _mixlist_types(path, content, kind, change):
                if known.get(name, List(kind)) is not List(kind):
                    reason = f"{name} is named twice under {change}"
                    raise AtcError("E20003", path, "modify_mixlist", reason)
                known[name] = List(kind)
    for name, kind in removed.items():
        if added.get(name) is kind:
            raise AtcError("E20003", path, "modify_mixlist", f"{name} is added to and removed from one list")
    return {**dict.fromkeys(removed, List.GRAY), **added}


def check_op_precision_mode(path: str) -> None:
    """Check a file of `--op_precision_mode`: `name=mode` under `[ByOpType]` and `[ByNodeName]`.

    Raises:
        AtcError: E21001 or E21002 no file of that form.
    """
    parser = configparser.ConfigParser(
        delimiters=("=",), interpolation=None, default_section="", strict=False, comment_prefixes=("#", ";")
    )
    try:
        # Without a section, each line is about a type (the form before CANN 6).
        parser.read_string("[ByOpType]\n" + _read(path))
    except configparser.Error as error:
        raise AtcError("E21002", path, " ".join(str(error).split())) from error
    if unknown := set(parser.sections()) - _SECTIONS:
        reason = f"[{sorted(unknown)[0]}] must be [ByOpType] or [ByNodeName]"
        raise AtcError("E21002", path, reason)


def check_fusion_switch(path: str) -> None:
    """Check a file of `--fusion_switch_file`: JSON, or the older `Pass:on` and `Pass:off` lines.

    Raises:
        AtcError: E21001 or E21002 no file of that form; E20003 a switch that is neither on nor off, or a pass
            named twice.
    """
    text = _read(path)
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if content is None:
        seen: set[str] = set()
        for line in filter(None, map(str.strip, text.splitlines())):
            name, colon, switch = line.partition(":")
            if not colon:
                raise AtcError("E21002", path, f"{line!r} must be a pass, a colon and on or off")
            if switch.strip() not in _SWITCHES or name.strip() in seen:
                reason = f"{line!r} must name a pass once, with on or off"
                raise AtcError("E20003", path, "fusion_switch_file", reason)
            seen.add(name.strip())
        return
    switches = content.get("Switch") if isinstance(content, dict) else None
    if not isinstance(switches, dict) or not all(isinstance(group, dict) for group in switches.values()):
        raise AtcError("E21002", path, 'it must hold an object "Switch" of objects')
    for group in switches.values():
        for name, switch in group.items():
            if switch not in _SWITCHES:
                raise AtcError("E20003", path, "fusion_switch_file", f"{name} must be on or off")


def check_raw_ge_options(path: str) -> None:
    """Check a file of `--raw_ge_options`: JSON, under "compile options" levels of options whose values are texts.

    Raises:
        AtcError: E13001 it cannot be read; E10032 no JSON of that form.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise AtcError("E13001", path, reason_of(error)) from error
    except ValueError as error:
        raise AtcError("E10032", path, "Invalid JSON format", cause=f"{error}.") from error
    levels = content.get("compile options") if isinstance(content, dict) else None
    if not isinstance(levels, dict):
        raise AtcError("E10032", path, 'it must hold an object "compile options"')
    for level, options in levels.items():
        if level not in _RAW_LEVELS:
            raise AtcError("E10032", path, f"level {level!r} must be one of {', '.join(_RAW_LEVELS)}")
        if not isinstance(options, dict) or "" in options:
            raise AtcError(
                "E10032", path, f"level {level!r} must be an object of options, none without a name"
            )
        for name, value in options.items():
            if not isinstance(value, str):
                raise AtcError("E10032", path, f"option {name!r} of level {level!r} must be a text")
