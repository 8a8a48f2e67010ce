"""What the source gets where the compiled model preprocesses images itself (AIPP).

The compiled model takes uint8 images, the source takes what AIPP makes of them: `spec.aipp_reference` makes the same
in numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ascend_serve.errors import ConfigError
from ascend_serve.spec.aipp import Layout, source_shape
from ascend_serve.spec.aipp_reference import reference
from ascend_serve.spec.recipe import CompileRecipe

Array = np.ndarray[Any, np.dtype[Any]]

_IMAGE_AXES = {"": set[int](), "batch": {0}, "image": {1, 2}, "dims": set[int]()}
"""The axes of images in memory (NHWC) whose sizes gears decide."""


def check_preprocessing(recipe: CompileRecipe) -> None:
    """See that the images' way into the network is known here.

    Raises:
        ConfigError: it is not, or is set for each run.
    """
    if recipe.insert_op_conf:
        raise ConfigError(
            f"recipe '{recipe.name}': insert_op_conf is a file for ATC alone; to verify the model, say the same in "
            "`aipp`"
        )
    for section in recipe.aipp:
        if section.mode == "dynamic":
            raise ConfigError(
                f"recipe '{recipe.name}': the AIPP of input '{section.input}' is set for each run (mode dynamic), so "
                "there is nothing to verify it with; verify the model with static AIPP, or without"
            )
        if recipe.image_gears and section.pixels.rows != 1:
            raise ConfigError(
                f"recipe '{recipe.name}': input '{section.input}' takes {section.input_format}, whose rows in memory "
                "are not those of its image gears; verify the model with another input_format"
            )


def open_axes(recipe: CompileRecipe) -> dict[str, set[int]]:
    """The axes of inputs with AIPP, as the compiled model takes them, whose sizes gears decide."""
    return {section.input: _IMAGE_AXES[recipe.gear_kind] for section in recipe.aipp}


def for_source(
    recipe: CompileRecipe,
    arrays: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, np.dtype[Any]],
) -> dict[str, Array]:
    """What the source gets when the compiled model gets these arrays.

    Args:
        recipe: with static AIPP, or none.
        arrays: by input.
        shapes: of the network's inputs at the gear.
        dtypes: of the source's inputs.

    Raises:
        ConfigError: the compiled model takes images of another shape than the recipe's AIPP.
    """
    made = dict(arrays)
    layout = _layout(recipe)
    for section in recipe.aipp:
        name = section.input
        n, a, b, c = shapes[name]
        wanted = source_shape(section, (n, a, b, c), layout)
        if arrays[name].shape != wanted:
            raise ConfigError(
                f"input '{name}': the compiled model takes images of shape {list(arrays[name].shape)}, the recipe's "
                f"AIPP {list(wanted)}: it was compiled from another recipe"
            )
        made[name] = reference(section, arrays[name], (n, a, b, c), dtypes[name], layout)
    return made


def _layout(recipe: CompileRecipe) -> Layout:
    if recipe.input_format is not None:
        return "NHWC" if recipe.input_format == "NHWC" else "NCHW"
    # ATC's default for TensorFlow (facts: ATC §1.4); converting to ONNX keeps the order of axes.
    frozen = recipe.framework_of() == "saved_model" and recipe.saved_model == "freeze"
    return "NHWC" if frozen else "NCHW"
