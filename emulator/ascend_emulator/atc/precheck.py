"""The pre-check: which operators ATC knows, and its report (facts/atc_om_soc.md §1.2, §2.5; GE: pre_checker.cc).

ATC makes it of every model and writes the report when that fails; `--mode=3` does nothing else.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from ascend_emulator.atc.errors import AtcError
from ascend_emulator.atc.paths import reason_of

UNSUPPORTED = (1, "The type is not supported.")
REPEATED = (9, "The name is repeated in the graph.")
"""Number and text of what can be wrong with an operator."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One operator.

    Attributes:
        name: of the node.
        kind: of ONNX domain, opset and type, such as `ai.onnx::17::Relu`; of TensorFlow the type alone.
        causes: number and text of what is wrong with it.
    """

    name: str
    kind: str
    causes: tuple[tuple[int, str], ...]


def _graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    """A graph and those inside its nodes, each before what is inside it."""
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                found += _graphs(inner)
    return found


def check(model: onnx.ModelProto) -> list[Checked]:
    """Look at every operator, in the order of the network; nodes must be named."""
    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    checked = []
    for graph in _graphs(model.graph):
        count = Counter(node.name for node in graph.node if node.name)
        for node in graph.node:
            domain = node.domain or "ai.onnx"
            version = versions.get(domain, 0)
            causes = []
            if count[node.name] > 1:
                causes.append(REPEATED)
            if domain != "ai.onnx" or not supported(node.op_type, version):
                causes.append(UNSUPPORTED)
            checked.append(Checked(node.name, f"{domain}::{version}::{node.op_type}", tuple(causes)))
    return checked


def report(checked: list[Checked]) -> str:
    """The report as ATC writes it: JSON of two spaces, keys in alphabetical order."""
    failed = sum(bool(operator.causes) for operator in checked)
    operators: list[dict[str, Any]] = []
    for operator in checked:
        entry: dict[str, Any] = {
            "name": operator.name,
            "result": "failed" if operator.causes else "success",
            "type": operator.kind,
        }
        if operator.causes:
            entry["cause"] = [{"code": code, "message": message} for code, message in operator.causes]
        operators.append(entry)
    content = {
        # ATC sets no name for an ONNX model.
        "name": "",
        "op": operators,
        "result": "failed" if failed else "success",
        "total": len(checked),
        "pass": len(checked) - failed,
        "fail": failed,
    }
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)


def supported(kind: str, opset: int) -> bool:
    """Whether ONNX's standard operators of that opset have the type."""
    found: bool = onnx.defs.has(kind, opset)
    return found


def conclude(checked: list[Checked], path: Path, *, always: bool) -> None:
    """Write the report when something is wrong, or always.

    Args:
        checked: every operator.
        path: of the report.
        always: whether a report of success is written too.

    Raises:
        AtcError: E13010 operators that no opset has; E13009 a name used twice; E13004 the report cannot be
            written.
    """
    wrong = [operator for operator in checked if operator.causes]
    if wrong or always:
        try:
            path.write_text(report(checked), encoding="utf-8")
        except OSError as error:
            raise AtcError("E13004", path, reason_of(error)) from error
    errors: list[tuple[str, ...]] = []
    for operator in wrong:
        for cause in operator.causes:
            if cause == REPEATED:
                errors.append(("E13009", operator.name))
            else:
                errors.append(("E13010", operator.name, operator.kind))
    if errors:
        distinct = list(dict.fromkeys(errors))
        follow = tuple(AtcError(*each).message for each in distinct[1:])
        raise AtcError(*distinct[0], trace=follow)
