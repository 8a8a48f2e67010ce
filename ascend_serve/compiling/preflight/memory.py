"""How much memory of the card a model takes: an estimate, made before anything is compiled.

ATC fuses operators and reuses memory by rules of its own, so that the activations are a bound from a plain walk:
each tensor lives from the node that makes it to its last reader (facts: ATC §1.5, weights are shared by all gears and
the memory at run time is that of the largest).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import onnx

from ascend_serve.compiling.onnx_model import OnnxModel, itemsize
from ascend_serve.compiling.preflight.constants import Tried, output_names
from ascend_serve.compiling.preflight.findings import SLOTS, Finding, GearShapes, error, warning
from ascend_serve.compiling.preflight.images import input_bytes
from ascend_serve.compiling.preflight.inputs import element_type
from ascend_serve.compiling.preflight.shapes import Skeleton
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import Soc

_MIB = 1 << 20
_NEAR = 0.8
"""Part of a card's memory past which an estimate is worth a word: drivers and other processes take some."""
_HALF_MODES = {None, "fp16", "force_fp16"}
_OUTPUT_TYPES = {
    "FP32": onnx.TensorProto.FLOAT,
    "FP16": onnx.TensorProto.FLOAT16,
    "UINT8": onnx.TensorProto.UINT8,
    "INT8": onnx.TensorProto.INT8,
}


def is_half(recipe: CompileRecipe) -> bool:
    """Whether ATC computes float32 operators in half precision, which is what it does when nothing is said."""
    return {recipe.precision, recipe.precision_mode, recipe.precision_mode_v2} <= _HALF_MODES


def weight_bytes(model: OnnxModel, recipe: CompileRecipe) -> int:
    """Bytes of all weights as the card holds them."""
    return sum(_stored(kind, elements, is_half(recipe)) for kind, elements in model.weights)


def gear_shapes(model: OnnxModel, ready: Skeleton, recipe: CompileRecipe, tried: Tried) -> GearShapes:
    """Shapes and bytes at one gear."""
    inferred, shapes = tried.inferred, tried.trial.shapes
    kinds = {value.name: element_type(value.name, value.elem_type, recipe) for value in model.inputs}
    outputs = {name: inferred.shapes[name] for name in output_names(model, recipe) if name in inferred.shapes}
    sizes = [
        None if None in shape else _output_bytes(inferred.types.get(name, 0), _elements(shape), recipe)
        for name, shape in outputs.items()
    ]
    known = len(sizes) == len(output_names(model, recipe))
    return GearShapes(
        tried.trial.gear,
        shapes,
        outputs,
        sum(input_bytes(name, shape, itemsize(kinds[name], 1), recipe) for name, shape in shapes.items()),
        sum(size or 0 for size in sizes) if known and None not in sizes else None,
        _activation_bytes(ready, tried, half=is_half(recipe)),
    )


def device_bytes(weights: int, gears: tuple[GearShapes, ...]) -> int | None:
    """An estimate of the device memory that serving takes: see `Preflight.device_bytes`."""
    working, buffers = _largest(gear.activation_bytes for gear in gears), _largest(map(_row_bytes, gears))
    return None if working is None or buffers is None else weights + working + SLOTS * buffers


def check_memory(weights: int, gears: tuple[GearShapes, ...], soc: Soc) -> list[Finding]:
    """Compare with a SoC's memory, where its platform file states one."""
    if soc.memory_bytes is None:
        return []
    has = f"{soc.name} has {_mib(soc.memory_bytes)}"
    least = weights + max((gear.input_bytes + (gear.output_bytes or 0) for gear in gears), default=0)
    estimate = device_bytes(weights, gears)
    if least > soc.memory_bytes:
        return [
            error(
                f"weights, inputs and outputs alone take {_mib(least)} and {has}: use smaller gears, precision fp16, "
                "or another target"
            )
        ]
    if estimate is not None and estimate > _NEAR * soc.memory_bytes:
        return [
            warning(
                f"serving takes about {_mib(estimate)} (weights, activations and buffers of the largest gear; an "
                f"estimate) and {has}: if it does not load, use smaller gears"
            )
        ]
    return []


def _mib(size: int) -> str:
    return f"{size / _MIB:,.0f} MiB"


def _largest(sizes: Iterable[int | None]) -> int | None:
    """The largest size; None when there is none, or one is not known."""
    every = list(sizes)
    known = [size for size in every if size is not None]
    return max(known) if known and len(known) == len(every) else None


def _row_bytes(gear: GearShapes) -> int | None:
    return None if gear.output_bytes is None else gear.input_bytes + gear.output_bytes


def _stored(elem_type: int, elements: int, half: bool) -> int:
    narrowed = half and elem_type == onnx.TensorProto.FLOAT
    return itemsize(onnx.TensorProto.FLOAT16 if narrowed else elem_type, elements)


def _elements(shape: tuple[int | None, ...]) -> int:
    return math.prod(dim or 0 for dim in shape)


def _output_bytes(elem_type: int, elements: int, recipe: CompileRecipe) -> int:
    return itemsize(_OUTPUT_TYPES.get(recipe.output_type or "", elem_type), elements)


def _activation_bytes(ready: Skeleton, tried: Tried, *, half: bool) -> int | None:
    inferred = tried.inferred
    sizes = {
        name: _stored(inferred.types.get(name, 0), _elements(shape), half)
        for name, shape in inferred.shapes.items()
        if None not in shape
    }
    made = [name for node in ready.graph.node for name in node.output if name]
    if not any(name in sizes for name in made):
        return None
    last = {name: place for place, node in enumerate(ready.graph.node) for name in node.input}
    live = peak = 0
    alive: set[str] = set()
    for place, node in enumerate(ready.graph.node):
        alive.update(filter(None, node.output))
        live += sum(sizes.get(name, 0) for name in node.output)
        peak = max(peak, live)
        ending = {
            name for name in (*node.input, *node.output) if name in alive and last.get(name, place) == place
        }
        live -= sum(sizes.get(name, 0) for name in ending)
        alive -= ending
    return peak
