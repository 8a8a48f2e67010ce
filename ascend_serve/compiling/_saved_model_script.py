"""Run by `saved_model.convert` as a program, in a Python that has TensorFlow: freezes one signature of a SavedModel.

Arguments: the SavedModel, `freeze` or `onnx`, the signature, the file to write, the file for the report. The report
is JSON: `inputs` and `outputs` of what was written; or `missing`, a module that is not there; or `signatures`, those
that the SavedModel has instead. Any other failure is a traceback and exit status 1.

It imports nothing of this package, which that Python need not have.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

_Names = dict[str, str]
"""Names of tensors by those of the signature."""
_OPSET = 15
"""Of the ONNX model; within the 11 to 18 that ATC documents (facts: ATC §1.3)."""


def main(folder: str, how: str, signature: str, result: str, report: str) -> None:
    """Convert, and report."""
    found: dict[str, Any]
    try:
        found = _convert(folder, how, signature, result)
    except ModuleNotFoundError as error:
        if error.name not in ("tensorflow", "tf2onnx"):
            raise
        found = {"missing": error.name}
    with open(report, "w", encoding="utf-8") as file:  # noqa: PTH123 (no pathlib needed for a plain write)
        json.dump(found, file)


def _convert(folder: str, how: str, signature: str, result: str) -> dict[str, Any]:
    # Both before the work, so that a missing one is told at once.
    tensorflow = import_module("tensorflow")
    tf2onnx = import_module("tf2onnx") if how == "onnx" else None
    # Held while it is used: it owns the variables that its signatures read.
    loaded = tensorflow.saved_model.load(folder)
    if signature not in loaded.signatures:
        return {"signatures": sorted(loaded.signatures)}
    # TensorFlow loads what its first version saved as an object that can be pruned.
    freeze = _frozen_by_session if hasattr(loaded, "prune") else _frozen
    graph_def, inputs, outputs = _named(tensorflow, *freeze(tensorflow, folder, loaded, signature))
    model = graph_def if tf2onnx is None else _onnx(tf2onnx, graph_def, inputs, outputs)
    with open(result, "wb") as file:  # noqa: PTH123
        file.write(model.SerializeToString(deterministic=True))
    return {"inputs": inputs, "outputs": outputs}


def _frozen(tensorflow: Any, _folder: str, loaded: Any, signature: str) -> tuple[Any, _Names, _Names]:
    """A signature as a graph without variables; the tensors that are its inputs and outputs, by its names."""
    constants = import_module("tensorflow.python.framework.convert_to_constants")
    function = loaded.signatures[signature]
    specs = function.structured_input_signature[1]
    inputs, outputs = sorted(specs), sorted(function.structured_outputs)

    def in_order(*tensors: Any) -> list[Any]:
        found = function(**dict(zip(inputs, tensors)))  # noqa: B905 (strict= came with Python 3.10)
        return [found[name] for name in outputs]

    # A function of positions, so that its inputs and outputs stand in an order that is known.
    concrete = tensorflow.function(in_order).get_concrete_function(
        *(tensorflow.TensorSpec(specs[name].shape, specs[name].dtype) for name in inputs)
    )
    frozen = constants.convert_variables_to_constants_v2(concrete)
    return (
        frozen.graph.as_graph_def(),
        {name: tensor.name for name, tensor in zip(inputs, frozen.inputs)},  # noqa: B905
        {name: tensor.name for name, tensor in zip(outputs, frozen.outputs)},  # noqa: B905
    )


def _frozen_by_session(
    tensorflow: Any, folder: str, _loaded: Any, signature: str
) -> tuple[Any, _Names, _Names]:
    """As `_frozen`, for what TensorFlow 1 saved: its variables are of a kind that only a session can read."""
    v1 = tensorflow.compat.v1
    with v1.Session(graph=tensorflow.Graph()) as session:
        found = v1.saved_model.load(session, [tensorflow.saved_model.SERVING], folder).signature_def[
            signature
        ]
        inputs = {name: tensor.name for name, tensor in sorted(found.inputs.items())}
        outputs = {name: tensor.name for name, tensor in sorted(found.outputs.items())}
        nodes = sorted({name.partition(":")[0] for name in outputs.values()})
        graph_def = v1.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), nodes)
    present = {node.name for node in graph_def.node}
    used = {name: tensor for name, tensor in inputs.items() if tensor.partition(":")[0] in present}
    return graph_def, used, outputs


def _named(
    tensorflow: Any, graph_def: Any, inputs: _Names, outputs: _Names
) -> tuple[Any, list[str], list[str]]:
    """The same graph whose inputs and outputs have the signature's names; those names."""
    graph, source = tensorflow.Graph(), tensorflow.Graph()
    with source.as_default():
        tensorflow.import_graph_def(graph_def, name="")
    tensors = {name: source.get_tensor_by_name(tensor) for name, tensor in inputs.items()}
    with graph.as_default():
        fed = {
            tensor.name: tensorflow.compat.v1.placeholder(tensor.dtype, tensor.shape, name)
            for name, tensor in tensors.items()
        }
        found = tensorflow.import_graph_def(
            graph_def, input_map=fed, return_elements=list(outputs.values()), name="model"
        )
        for name, tensor in zip(outputs, found):  # noqa: B905
            tensorflow.identity(tensor, name)
    made = {node.name for node in graph.as_graph_def().node}
    if set(inputs) & set(outputs) or not made.issuperset([*inputs, *outputs]):
        raise ValueError(
            f"a graph cannot have nodes of the names {list(inputs)} and {list(outputs)}: save the model with a "
            "signature whose inputs and outputs differ and have names of letters, digits and _"
        )
    pruned = tensorflow.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), list(outputs))
    left = {node.name for node in pruned.node}
    return pruned, [name for name in inputs if name in left], list(outputs)


def _onnx(tf2onnx: Any, graph_def: Any, inputs: list[str], outputs: list[str]) -> Any:
    model, _ = tf2onnx.convert.from_graph_def(
        graph_def,
        input_names=[f"{name}:0" for name in inputs],
        output_names=[f"{name}:0" for name in outputs],
        opset=_OPSET,
    )
    _rename(model.graph, {f"{name}:0": name for name in (*inputs, *outputs)})
    return model


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Rename tensors in a graph and in those inside its nodes, which see its tensors too."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner, names)


if __name__ == "__main__":
    # This file's folder comes first in a script's path, and its neighbours have names that others use too.
    del sys.path[0]
    main(*sys.argv[1:])
