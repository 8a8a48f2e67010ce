"""A first recipe for a model: its inputs, gears that fit it, and a few words on each line.

What a graph leaves open tells what gears are for: axis 0 is a batch, height and width of an image are image sizes,
other axes are lengths. A proposal is tried with `preflight` before it is made, and falls back to fixed shapes
(facts: ATC §1.4, §1.5).
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import yaml

from ascend_serve.compiling.onnx_model import Value, read_onnx
from ascend_serve.compiling.preflight import preflight
from ascend_serve.compiling.tensorflow_graph import (
    INTEGERS,
    GraphInput,
    caffe_inputs,
    frozen_graph_inputs,
    saved_model_inputs,
)
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.shapes import OPEN

BATCHES = (1, 4, 8, 16)
_FEW_BATCHES = (1, 8)
_LENGTHS = (64, 128, 256)
_IMAGES = ((224, 224), (448, 448))
_SIGNATURE = "serving_default"
_BATCH = "batch"
_SPACE_AXES = {"NCHW": (2, 3), "NHWC": (1, 2)}
_LINE = 108

_KINDS = (
    "an ONNX file (.onnx), a frozen TensorFlow graph (.pb), a SavedModel's folder, a Caffe network (.prototxt) or a "
    "MindSpore model (.air)"
)

_EXPLAINED = {
    "name": "Name of the model; it is written into the .om.",
    "source": "The model, relative to this file's folder.",
    "weight": "Caffe's weights, beside the network.",
    "saved_model": "A SavedModel is frozen before ATC reads it (needs the extra ascend-serve[tensorflow]).",
    "signature": "The signature that is compiled.",
    "targets": "SoCs to compile for, as `acl.get_soc_name()` answers there; empty: those of the cluster.",
    "precision": "What ATC does by default: half precision where there is a kernel. fp32 keeps the model's own types.",
}


@dataclass(frozen=True, slots=True)
class Proposal:
    """A recipe to start from.

    Attributes:
        settings: the recipe as plain values, in the order in which they are written.
        comments: what each of them is for.
        notes: what to know before using it.
    """

    settings: dict[str, Any]
    comments: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The recipe as commented YAML."""
        lines = [line for note in self.notes for line in _comment(note)]
        for key, value in self.settings.items():
            lines += _comment(self.comments[key])
            flow = None if isinstance(value, dict | list) else False
            lines.append(
                yaml.safe_dump({key: value}, default_flow_style=flow, sort_keys=False, width=1 << 20).rstrip()
            )
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Input:
    """An input whatever the framework: open axes have a symbol, the same where they are the same."""

    name: str
    dims: tuple[int | str, ...]

    @property
    def open_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis, dim in enumerate(self.dims) if isinstance(dim, str))


@dataclass(frozen=True, slots=True)
class _Shapes:
    """One way to give a model shapes: the recipe's keys for it, and what is said of them."""

    settings: dict[str, Any]
    comments: dict[str, str]
    notes: tuple[str, ...] = ()


def propose(
    model: Path, targets: Sequence[str] = (), *, folder: Path | None = None, name: str | None = None
) -> Proposal:
    """Propose a recipe.

    Args:
        model: ONNX, a frozen TensorFlow graph, a SavedModel's folder, a Caffe net or a MindSpore model.
        targets: SoCs to compile for.
        folder: where the recipe will lie; None for the working directory.
        name: of the model; None takes the file's.

    Raises:
        ConfigError: the model is not there or is none, an input has no rank, or a target is unknown.
        OSError: the file cannot be read.
    """
    if not model.exists():
        raise ConfigError(f"there is no model {model}: give {_KINDS}")
    place = (folder or Path.cwd()).absolute()
    head: dict[str, Any] = {
        "name": name or model_name(model),
        "source": os.path.relpath(model.absolute(), place),
    }
    if model.suffix.lower() == ".prototxt":
        head["weight"] = os.path.relpath(model.absolute().with_suffix(".caffemodel"), place)
    tail: dict[str, Any] = {"precision": "fp16", "targets": list(targets)}
    framework = CompileRecipe.parse(head).framework_of()
    if framework == "saved_model" and not (model / "saved_model.pb").is_file():
        raise ConfigError(
            f"{model} is no SavedModel, being no folder with saved_model.pb in it: give {_KINDS}"
        )
    layout = "NHWC" if framework in ("tensorflow", "saved_model") else "NCHW"
    if framework == "onnx":
        inputs = [_of_onnx(value) for value in read_onnx(model).inputs]
    elif framework == "mindspore":
        notes = ("The inputs of a MindSpore model are not read here: it is compiled at the shapes it has.",)
        return _assembled(head, _Shapes({}, {}, notes), tail)
    else:
        inputs = [_of_graph(each) for each in _foreign_inputs(model, framework)]
        if framework == "saved_model":
            head |= {"saved_model": "freeze", "signature": _SIGNATURE}
    candidates = list(_candidates(inputs, layout))
    tried: tuple[str, ...] = ()
    for shapes in candidates if framework == "onnx" else ():
        errors = _errors(_assembled(head, shapes, tail).settings, model)
        if not errors:
            return _assembled(head, shapes, tail, tuple(f"Gears were tried: {text}." for text in tried))
        tried = tried or errors
    shapes = candidates[-1] if framework == "onnx" else candidates[0]
    return _assembled(head, shapes, tail, tuple(f"To be solved first: {text}" for text in tried))


def _errors(settings: dict[str, Any], model: Path) -> tuple[str, ...]:
    # Not by way of the recipe's folder, which may have to be made yet.
    recipe = CompileRecipe.parse(settings | {"source": str(model.absolute())})
    return tuple(finding.text for finding in preflight(recipe).errors)


def _assembled(
    head: dict[str, Any], shapes: _Shapes, tail: dict[str, Any], notes: tuple[str, ...] = ()
) -> Proposal:
    settings = {**head, **shapes.settings, **tail}
    CompileRecipe.parse(settings)
    return Proposal(settings, _EXPLAINED | shapes.comments, (*notes, *shapes.notes))


def model_name(model: Path) -> str:
    """A name for a model, made from that of its file so that a recipe may have it."""
    fit = re.sub(r"[^A-Za-z0-9_-]+", "_", model.absolute().stem).lstrip("_-")[:64]
    return fit or "model"


def _of_onnx(value: Value) -> _Input:
    if value.dims is None:
        raise ConfigError(
            f"input '{value.name}' has no rank in the graph, so that no shape can be proposed: write the recipe "
            "by hand, with the input's shape under `inputs`"
        )
    integer = value.elem_type in (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
    return _Input(value.name, _named(value.dims, integer=integer))


def _of_graph(value: GraphInput) -> _Input:
    if value.dims is None:
        raise ConfigError(
            f"input '{value.name}' has no rank in the graph, so that no shape can be proposed: write the recipe "
            "by hand, with the input's shape under `inputs`"
        )
    return _Input(value.name, _named(value.dims, integer=value.dtype in INTEGERS))


def _named(dims: Sequence[int | str | None], *, integer: bool) -> tuple[int | str, ...]:
    """Open axes with names: those they have, `batch` for axis 0, `length` for the second of token ids."""
    length = integer and len(dims) in (2, 3)
    return tuple(
        _BATCH if isinstance(dim, str | None) and axis == 0 else
        dim if dim is not None else
        "length" if length and axis == 1 else f"axis_{axis}"
        for axis, dim in enumerate(dims)
    )  # fmt: skip


def _foreign_inputs(model: Path, framework: str) -> tuple[GraphInput, ...]:
    if framework == "saved_model":
        return saved_model_inputs(model, _SIGNATURE)
    return frozen_graph_inputs(model) if framework == "tensorflow" else caffe_inputs(model)


def _candidates(inputs: Sequence[_Input], layout: str) -> Iterator[_Shapes]:
    """Ways to give shapes, the one most worth having first; the last has no gears."""
    layout = layout if inputs and all(len(each.dims) == 4 for each in inputs) else "ND"
    opened = {axis for each in inputs for axis in each.open_axes}
    batched = all(each.dims for each in inputs)
    space = _SPACE_AXES.get(layout, ())
    if not opened and batched and len({each.dims[0] for each in inputs}) == 1:
        yield _batch_gears(inputs, layout, frozen=True)
    elif opened == {0} and batched:
        yield _batch_gears(inputs, layout, frozen=False)
    elif opened and all(
        each.open_axes in ((), (0,), space, (0, *space)) for each in inputs
    ) and opened.issuperset(space) and space:  # fmt: skip
        yield _image_gears(inputs, layout, space)
    elif opened:
        yield _dims_gears(inputs, layout)
    yield _fixed(inputs, layout)


def _format(layout: str) -> tuple[dict[str, str], dict[str, str]]:
    what = "axes have no meaning as images" if layout == "ND" else "what the axes of the inputs are"
    return {"input_format": layout}, {"input_format": f"Layout of the inputs: {what}."}


def _batch_gears(inputs: Sequence[_Input], layout: str, *, frozen: bool) -> _Shapes:
    settings, comments = _format(layout)
    shapes = {each.name: [OPEN, *_closed(each.dims[1:])] for each in inputs}
    note = (
        "The graph was exported with a fixed batch. Nothing inside it was found to depend on that, so that gears work; "
        "an export with a dynamic batch axis would be sure."
    )
    return _Shapes(
        settings | {"inputs": shapes, "gears": list(BATCHES)},
        comments
        | {
            "inputs": "Shape of each input; -1 is the batch, which a gear decides.",
            "gears": "Batch sizes to compile for: 1 for lone requests, the largest for throughput; each one costs "
            "compile time and file size, and the largest decides the memory.",
        },
        (note,) if frozen else (),
    )


def _image_gears(inputs: Sequence[_Input], layout: str, space: tuple[int, ...]) -> _Shapes:
    settings, comments = _format(layout)
    shapes = {
        each.name: [
            OPEN if isinstance(dim, str) and axis in space else 1 if isinstance(dim, str) else dim
            for axis, dim in enumerate(each.dims)
        ]
        for each in inputs
    }
    note = (
        "Batch and image size cannot both be gears of these kinds: the batch is 1 here. For both, open the batch too "
        "and write dims_gears."
    )
    return _Shapes(
        settings | {"inputs": shapes, "image_gears": [list(size) for size in _IMAGES]},
        comments
        | {
            "inputs": "Shape of each input; -1 is height and width, which a gear decides.",
            "image_gears": "Heights and widths to compile for. These are guesses: give those that your images have.",
        },
        (note,) if any(0 in each.open_axes for each in inputs) else (),
    )


def _dims_gears(inputs: Sequence[_Input], layout: str) -> _Shapes:
    settings, comments = _format(layout)
    symbols = [dim for each in inputs for dim in each.dims if isinstance(dim, str)]
    batches = _FEW_BATCHES if _BATCH in symbols else (1,)
    lengths = _LENGTHS if set(symbols) - {_BATCH} else (1,)
    gears = [
        [rows if symbol == _BATCH else length for symbol in symbols]
        for rows, length in itertools.product(batches, lengths)
    ]
    shapes = {each.name: [OPEN if isinstance(dim, str) else dim for dim in each.dims] for each in inputs}
    return _Shapes(
        settings | {"inputs": shapes, "dims_gears": gears},
        comments
        | {
            "inputs": "Shape of each input; -1 where a gear decides.",
            "dims_gears": f"Sizes to compile for: in each, one number for each -1 in order ({', '.join(symbols)}). The "
            "lengths are guesses: give those that your requests have.",
        },
    )


def _fixed(inputs: Sequence[_Input], layout: str) -> _Shapes:
    settings, comments = _format(layout)
    shapes = {each.name: _closed(each.dims) for each in inputs}
    return _Shapes(
        settings | {"inputs": shapes},
        comments | {"inputs": "Shape of each input; one request per run, at exactly these shapes."},
        (
            "No gears: they need a graph whose axes are dynamic (torch.onnx.export: dynamic_shapes or dynamic_axes), "
            "and nothing inside it that was computed from a fixed size.",
        ),
    )


def _closed(dims: Sequence[int | str]) -> list[int]:
    """Dims with a size for each open one: a single row, and the middle one of the lengths."""
    return [dim if isinstance(dim, int) else 1 if dim == _BATCH else _LENGTHS[1] for dim in dims]


def _comment(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > _LINE:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}"
    return [f"#{line}" for line in lines]
