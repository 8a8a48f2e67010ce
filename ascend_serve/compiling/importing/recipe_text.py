"""A recipe as YAML for people: short lists on one line, what is to be looked at on top. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from ascend_serve.compiling.importing.import_atc import Imported
from ascend_serve.compiling.parameters import KEY

_WIDTH = 110


def yaml_of(imported: Imported) -> str:
    """The text of a recipe's file; empty for a command that compiles nothing.

    Errors and warnings stand on top as comments, since that is where they are put right; notes do not. The keys keep
    the command's order. A parameter without value is null.
    """
    if not imported.settings:
        return ""
    marks = [
        f"{problem.severity}: {problem.text}" for problem in imported.problems if problem.severity != "note"
    ]
    settings = dict(imported.settings)
    document = {"name": settings.pop("name")}
    if imported.parameters:
        document[KEY] = {name: _bare(value) for name, value in imported.parameters.items()}
    where = f" in line {imported.line}" if imported.line else ""
    return _comments([f"Imported from the ATC command{where}.", *marks]) + dump(document | settings)


def dump(document: Mapping[str, Any]) -> str:
    """Plain values as YAML, keys in their order; lists and mappings of single values on one line."""
    return yaml.dump(
        dict(document),
        Dumper=_Dumper,
        default_flow_style=None,
        sort_keys=False,
        allow_unicode=True,
        width=_WIDTH,
    )


def _bare(text: str | None) -> str | int | None:
    """A parameter's value without the quotes that YAML would put around a number."""
    return int(text) if text is not None and re.fullmatch(r"0|-?[1-9][0-9]*", text) else text


def _comments(lines: Iterable[str]) -> str:
    return "".join(f"# {' '.join(line.split())}\n" for line in lines)


class _Dumper(yaml.SafeDumper):
    """YAML's safe writer, which would otherwise put marks at lists that stand in two places."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
