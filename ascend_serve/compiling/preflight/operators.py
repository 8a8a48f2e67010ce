"""Whether ATC's ONNX parser will know what a graph is made of (facts: ATC §1.3, §2.4; GE: onnx_parser.cc)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import onnx

from ascend_serve.compiling.onnx_model import OnnxModel, Value, graphs
from ascend_serve.compiling.preflight.findings import Finding, error, warning
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.tensors import DataType

OPSETS = range(11, 19)
"""Versions of the standard operators that ATC documents."""

_STANDARD = ("", "ai.onnx")
_NEWEST_IR = 10
_BY_DATA = ("NonZero", "NonMaxSuppression", "Unique", "Compress")
"""Operators whose output's shape depends on values."""
_MOST_NAMED = 3


def check_operators(model: OnnxModel, recipe: CompileRecipe) -> Iterator[Finding]:
    """Look at versions, domains, operators and names of a graph."""
    yield from _versions(model)
    yield from _domains(model)
    yield from _strangers(model)
    yield from _names(model)
    yield from _shapes_by_data(model, recipe)


def check_signature(model: OnnxModel) -> Iterator[Finding]:
    """Look at the inputs and outputs of a graph, and at the types of their elements."""
    for side, values in (("input", model.inputs), ("output", model.outputs)):
        if not values:
            yield error(f"the graph has no {side}: export it again", "E16001")
        for value in values:
            yield from _element_type(side, value)


def _element_type(side: str, value: Value) -> Iterator[Finding]:
    names = [member.value[0] for member in DataType]
    if not value.elem_type:
        yield error(
            f"{side} '{value.name}' is no tensor of known type: the card takes tensors only; export the network "
            f"without it"
        )
        return
    # numpy names bfloat16 and the smaller floats too, as types of their own, so that ONNX's name decides.
    kind = onnx.TensorProto.DataType.Name(value.elem_type).lower()
    if {"float": "float32", "double": "float64"}.get(kind, kind) not in names:
        yield error(
            f"{side} '{value.name}' has elements of type {kind}, which cannot be served ({', '.join(names)} can): cast "
            "outside of the network"
        )


def _versions(model: OnnxModel) -> Iterator[Finding]:
    if not model.opset:
        yield error("the model names no version of the standard operators: export it again", "E16005")
    elif model.opset not in OPSETS:
        yield warning(
            f"opset {model.opset} is outside of what ATC documents, {OPSETS[0]} to {OPSETS[-1]}: operators may have no "
            f"parser (E16002); export with opset_version={min(max(model.opset, OPSETS[0]), OPSETS[-1])}"
        )
    if model.proto.ir_version > _NEWEST_IR:
        yield warning(
            f"IR version {model.proto.ir_version} is newer than the toolchain's own tools ({_NEWEST_IR}): if ATC "
            "cannot parse the file (E13005), save it with an older `ir_version`"
        )


def _domains(model: OnnxModel) -> Iterator[Finding]:
    imports = model.proto.opset_import
    twice = [name for name, count in Counter(e.domain or "ai.onnx" for e in imports).items() if count > 1]
    if twice:
        yield error(f"domain '{twice[0]}' is imported in two versions: export with one", "E16005")
    used = {node.domain for node in model.nodes}
    spare = sorted({e.domain for e in imports if e.domain not in used and e.domain not in _STANDARD})
    if spare:
        yield warning(
            f"the model imports the domain '{spare[0]}' and uses no operator of it: older releases of ATC take one "
            "domain only; remove the entry of opset_import",
            "E16005",
        )


def _strangers(model: OnnxModel) -> Iterator[Finding]:
    local = {(function.domain, function.name) for function in model.proto.functions}
    custom: dict[str, list[str]] = {}
    called: dict[str, list[str]] = {}
    for node in model.nodes:
        kind = f"{node.domain or 'ai.onnx'}::{node.op_type}"
        if (node.domain, node.op_type) in local:
            called.setdefault(kind, []).append(node.name)
        elif not is_standard(node, model.opset):
            custom.setdefault(kind, []).append(node.name)
    for kind, nodes in custom.items():
        yield warning(
            f"operator {kind} (nodes {_some(nodes)}) is none of ONNX's: ATC needs a parser and a kernel for it, which "
            "come with a custom operator package (E19010, EZ9010 without)",
            "E16002",
            nodes[0] or None,
        )
    for kind, nodes in called.items():
        yield warning(
            f"{kind} (nodes {_some(nodes)}) is a function of the model, which ATC's parser does not expand: save the "
            "model after onnx.inliner.inline_local_functions",
            "E16002",
            nodes[0] or None,
        )


def is_standard(node: onnx.NodeProto, opset: int) -> bool:
    """Whether a node is one of ONNX's own operators, in the version that the model imports."""
    return node.domain in _STANDARD and bool(onnx.defs.has(node.op_type, opset))


def _names(model: OnnxModel) -> Iterator[Finding]:
    for graph in graphs(model.proto.graph):
        count = Counter(node.name for node in graph.node if node.name)
        twice = [name for name, times in count.items() if times > 1]
        if twice:
            yield error(
                f"{count[twice[0]]} nodes have the name '{twice[0]}', and ATC wants each once: rename them, or clear "
                "the names, and ATC gives its own",
                "E13009",
                twice[0],
            )
    # ATC makes a node of each input, under the input's name.
    same = {node.name for node in model.proto.graph.node} & {value.name for value in model.inputs}
    for name in sorted(same):
        yield warning(
            f"node '{name}' has the name of an input, of which ATC makes a node too: rename it",
            "E13009",
            name,
        )


def _shapes_by_data(model: OnnxModel, recipe: CompileRecipe) -> Iterator[Finding]:
    fed = dependents(model)
    nodes = [
        node for node in model.proto.graph.node if node.op_type in _BY_DATA and fed.intersection(node.input)
    ]
    for node in nodes[:_MOST_NAMED]:
        what = f"the output of {label(node)} has a shape that depends on values"
        if recipe.gear_kind:
            yield error(
                f"{what}: a network with gears may hold no such operator; end the network before it, or compile "
                "without gears",
                node=node.name or None,
            )
        else:
            yield warning(
                f"{what}: ATC compiles it for open shapes, which are not served; end the network before it",
                node=node.name or None,
            )
    for node in model.proto.graph.node:
        if recipe.gear_kind and node.op_type in ("If", "Loop", "Scan") and fed.intersection(node.input):
            yield warning(
                f"{label(node)} chooses or repeats what is computed: with gears its outputs must have the same shapes "
                "whatever it chooses",
                node=node.name or None,
            )


def dependents(model: OnnxModel) -> set[str]:
    """Names of the tensors of the outer graph whose values depend on the inputs' values, and not on shapes alone."""
    fed = {value.name for value in model.inputs}
    for node in model.proto.graph.node:
        if node.op_type in ("Shape", "Size"):
            continue
        if fed.intersection(node.input) or any(fed.intersection(names) for names in _captured(node)):
            fed.update(filter(None, node.output))
    return fed


def _captured(node: onnx.NodeProto) -> Iterator[list[str]]:
    for attribute in node.attribute:
        for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            for graph in graphs(inner):
                yield [name for each in graph.node for name in each.input]


def label(node: onnx.NodeProto) -> str:
    """A node in words: its name and type, or the tensor it makes when it has no name."""
    if node.name:
        return f"node '{node.name}' ({node.op_type})"
    return f"the {node.op_type} that makes '{next(iter(node.output), '')}'"


def _some(names: Iterable[str]) -> str:
    known = [name or "without name" for name in names]
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return ", ".join(known[:_MOST_NAMED]) + more
