"""Whether AIPP can make a network's inputs of the images it is to take, and how large these are (facts: ATC §5.1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ascend_serve.compiling.onnx_model import OnnxModel
from ascend_serve.compiling.preflight.findings import Finding, error
from ascend_serve.spec.aipp import Layout, misfits, source_shape
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import Soc
from ascend_serve.spec.text import nearest


def check_images(model: OnnxModel, recipe: CompileRecipe) -> Iterator[Finding]:
    """Look at the network's inputs that have an `aipp` section."""
    names = [value.name for value in model.inputs]
    for section in recipe.aipp:
        if section.input not in names:
            yield error(
                f"aipp: '{section.input}' is no input of the graph{nearest(section.input, names)}", "E10052"
            )
    yield from _misfits(recipe, None)


def check_images_for(recipe: CompileRecipe, soc: Soc) -> list[Finding]:
    """What a chip refuses beside."""
    general = list(_misfits(recipe, None))
    return [finding for finding in _misfits(recipe, soc) if finding not in general]


def input_bytes(name: str, shape: Sequence[int], itemsize: int, recipe: CompileRecipe) -> int:
    """Bytes of an input as a caller sends it: of the images, where AIPP makes the input of them."""
    section = next((section for section in recipe.aipp if section.input == name), None)
    if section is None or len(shape) != 4:
        return math.prod(shape) * itemsize
    if section.max_src_image_size is not None:
        return section.max_src_image_size
    return math.prod(int(dim) for dim in source_shape(section, tuple(shape), _layout(recipe)))


def _misfits(recipe: CompileRecipe, soc: Soc | None) -> Iterator[Finding]:
    for section in recipe.aipp:
        if section.input in recipe.inputs:
            for text in misfits(section, recipe.inputs[section.input], _layout(recipe), soc):
                yield error(f"aipp: {text}", "E10052")


def _layout(recipe: CompileRecipe) -> Layout:
    return "NHWC" if recipe.input_format == "NHWC" else "NCHW"
