"""Which operator and node a message of ATC is about. Pure.

Every release words and brackets its messages differently; what is recognised are the templates of CANN 5 to 9
(facts: ATC §2.4, §2.5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_PIECES = {
    "{node}": r"\[?(?P<node>[^\[\]\n]{1,500}?),?\]?",
    "{operator}": r"\[?(?P<operator>[\w.:]+?)\]?",
    "*": ".*?",
    # Names hold dots, a sentence's end is followed by something else.
    ".": r"\.(?=\s|\[|$)",
    " ": r"\s+",
}


def _pattern(template: str) -> re.Pattern[str]:
    """A template with `{node}` and `{operator}` as a pattern; `*` stands for any text."""
    parts = re.split(r"(\{node\}|\{operator\}|[*. ])", template)
    text = "".join(_PIECES.get(part, re.escape(part)) for part in parts)
    return re.compile(rf"\b{text}" if template[0].isalpha() else text, re.IGNORECASE)


_TEMPLATES = (
    "Op [{node}, oppath [*], optype [{operator}]]",
    "Op [{node}, optype [{operator}]]",
    "Op {node} with optype {operator} ",
    "Op {node} with Op type {operator}.",
    "Op: {node}, optype: {operator}.",
    "Op {node}. oppath is * and optype is {operator}.",
    "Op {node}. (optype: {operator})",
    "Op {node}. (oppath: ",
    "found for {node}, optype {operator}.",
    "Operator {node} compilation failed. Optype is {operator}.",
    "operator {node} not found. Optype is {operator}.",
    "Optype {operator} of Ops kernel ",
    "parser is registered for optype {operator}.",
    "Operator {operator} lacks required ",
    "Op {node} does not hit ",
    "Op {node} exists in ",
    "Op name {node} specified in ",
    "Opname {node} specified in ",
    "Input Op {node} specified in ",
    "Operator {node} already exists ",
    "Op {node} has a name conflict",
    "pre-compile node {node}. ",
    "for node:{node}({operator}) failed",
    "on node:{node} failed",
    "[-1_0_{node}]",
)
_PATTERNS = (
    *map(_pattern, _TEMPLATES),
    re.compile(r"\bop ?\[(?P<operator>\w+)\]", re.IGNORECASE),
)
_COPY = re.compile(r"_ascend_mbatch_batch_(?P<place>\d+)$")
_VERSIONED = re.compile(r"(?P<domain>[\w.]+)::(?P<opset>\d+)::(?P<operator>\w+)")
_STANDARD = "ai.onnx"


@dataclass(frozen=True, slots=True)
class Named:
    """An operator that a message names.

    Attributes:
        operator: its type, such as `Resize`, without domain and opset; None when the message does not say.
        node: its name in the model; None when the message does not say.
        copy: which gear's copy of the network it stands in, counted from 0; None outside of such copies.
        opset: the version of ONNX's standard operators it is of; None when the message does not say.
    """

    operator: str | None
    node: str | None
    copy: int | None = None
    opset: int | None = None

    def __str__(self) -> str:
        """Both names, as far as they are known."""
        return (
            f"{self.operator} ({self.node})"
            if self.operator and self.node
            else self.operator or self.node or ""
        )


def named(message: str) -> Named | None:
    """The operator a message is about, or None when it names none."""
    found = next(filter(None, (pattern.search(message) for pattern in _PATTERNS)), None)
    if found is None:
        return None
    groups = found.groupdict()
    operator, node = groups.get("operator"), groups.get("node")
    copy = opset = None
    if node is not None and (match := _COPY.search(node)):
        node, copy = node[: match.start()], int(match["place"])
    if operator is not None and (match := _VERSIONED.fullmatch(operator)):
        operator = match["operator"]
        opset = int(match["opset"]) if match["domain"] == _STANDARD else None
    return Named(operator, node, copy, opset)


def all_named(messages: Iterable[str]) -> tuple[Named, ...]:
    """The operators that messages name, each once, in order."""
    found = (named(message) for message in messages)
    return tuple(dict.fromkeys(each for each in found if each is not None))
