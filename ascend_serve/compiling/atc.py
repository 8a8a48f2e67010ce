"""ATC's command line for a recipe. Pure: the same recipe always gives the same list."""

from __future__ import annotations

import re

from ascend_serve.spec.atc_options import AtcOptions, writing_of
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.shapes import Dim

_FRAMEWORK = {"caffe": "0", "mindspore": "1", "tensorflow": "3", "onnx": "5"}
_PRECISION_MODE_V2 = {"fp16": "fp16", "fp32": "origin", "mixed": "mixed_float16"}


def arguments(recipe: CompileRecipe, soc: str, source: str, output_stem: str) -> list[str]:
    """ATC's arguments, without the program itself: `options`, each as `--name=value`, then `extra_args`."""
    pairs = options(recipe, soc, source, output_stem)
    return [f"--{name}={value}" for name, value in pairs] + list(recipe.extra_args)


def options(recipe: CompileRecipe, soc: str, source: str, output_stem: str) -> list[tuple[str, str]]:
    """ATC's options and their values (facts: ATC §1.3–1.9), in the order in which the recipe gives them.

    Only what the recipe says, and what ATC demands, becomes an option. A single gear becomes a static shape, since
    ATC refuses fewer than two (E10035).

    Args:
        recipe: what to compile.
        soc: the target's name.
        source: path of the model, as ATC shall see it.
        output_stem: path of the result without `.om`, which ATC appends.
    """
    values = {
        "mode": ("mode", "" if recipe.mode is None else str(recipe.mode)),
        "framework": ("framework", _framework(recipe)),
        "source": ("model", source),
        "weight": ("weight", recipe.weight or ""),
        "output": ("output", output_stem),
        "targets": ("soc_version", soc),
        "inputs": ("input_shape", input_shape(recipe)),
        **_gears(recipe),
        "precision": ("precision_mode_v2", _PRECISION_MODE_V2.get(recipe.precision or "", "")),
        **{
            name: (name, writing_of(field).text(getattr(recipe, name)))
            for name, field in AtcOptions.model_fields.items()
        },
    }
    order = dict.fromkeys([*(field for field in recipe.said if field in values), *values])
    spelt = [_spelt(recipe, *values[field]) for field in order]
    return [(name, text) for name, text in spelt if text or name in recipe.as_written]


def plain(text: str) -> str:
    """An option's text without what ATC overlooks: blanks around items, and a separator at the end."""
    return re.sub(r"\s*([,;:])\s*", r"\1", text.strip()).rstrip(";,")


def _spelt(recipe: CompileRecipe, name: str, value: str) -> tuple[str, str]:
    text = recipe.as_written.get(name, value)
    return name, text if plain(text) == value else value


def compiled_shapes(recipe: CompileRecipe) -> dict[str, tuple[Dim, ...]]:
    """Shape of each input as ATC compiles it: -1 stays where there are several gears, or none."""
    if len(recipe.gear_sizes) == 1:
        return dict(next(recipe.gear_shapes()))
    return dict(recipe.inputs)


def input_shape(recipe: CompileRecipe) -> str:
    """The value of `--input_shape`; empty when the recipe leaves the shapes to the model."""
    return ";".join(f"{name}:{','.join(map(str, shape))}" for name, shape in compiled_shapes(recipe).items())


def _framework(recipe: CompileRecipe) -> str:
    framework = recipe.framework_of()
    if framework == "saved_model":
        framework = "tensorflow" if recipe.saved_model == "freeze" else "onnx"
    return _FRAMEWORK[framework]


def _gears(recipe: CompileRecipe) -> dict[str, tuple[str, str]]:
    if len(recipe.gear_sizes) < 2:
        return {}
    return {
        "gears": ("dynamic_batch_size", ",".join(map(str, recipe.gears))),
        "image_gears": ("dynamic_image_size", _groups(recipe.image_gears)),
        "dims_gears": ("dynamic_dims", _groups(recipe.dims_gears)),
    }


def _groups(gears: tuple[tuple[int, ...], ...]) -> str:
    return ";".join(",".join(map(str, gear)) for gear in gears)
