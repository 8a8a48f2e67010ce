"""ATC's command line for a recipe. Pure: the same recipe always gives the same list."""

from __future__ import annotations

from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import Soc
from ascend_serve.spec.tensors import BATCH_AXIS

_ONNX = 5
_PRECISION_MODE_V2 = {"fp16": "fp16", "origin": "origin", "mixed": "mixed_float16"}


def arguments(recipe: CompileRecipe, soc: Soc, source: str, output_stem: str) -> list[str]:
    """ATC's arguments, without the program itself (facts: ATC §1.3–1.8).

    Inputs stand in the order of their names, so that the order of keys in a recipe's file changes nothing. A
    single gear becomes a static shape, since ATC refuses fewer than two (E10035).

    Args:
        recipe: what to compile.
        soc: the target.
        source: path of the ONNX file.
        output_stem: path of the result without `.om`, which ATC appends.
    """
    options = {
        "framework": str(_ONNX),
        "model": source,
        "output": output_stem,
        "soc_version": soc.name,
        "input_format": recipe.input_format,
        "input_shape": ";".join(
            f"{name}:{','.join(map(str, shape))}" for name, shape in sorted(compiled_shapes(recipe).items())
        ),
        "dynamic_batch_size": ",".join(map(str, recipe.gears)) if len(recipe.gears) > 1 else "",
        "precision_mode_v2": _PRECISION_MODE_V2[recipe.precision],
        "output_type": recipe.output_type or "",
        "input_fp16_nodes": ";".join(sorted(recipe.input_fp16_nodes)),
        "log": recipe.log,
    }
    return [f"--{name}={value}" for name, value in options.items() if value] + list(recipe.extra_args)


def compiled_shapes(recipe: CompileRecipe) -> dict[str, tuple[int, ...]]:
    """Shape of each input as ATC compiles it: -1 stays at axis 0 when there are several gears."""
    if len(recipe.gears) != 1:
        return recipe.inputs
    return {
        name: tuple(recipe.gears[0] if dim == BATCH_AXIS else dim for dim in shape)
        for name, shape in recipe.inputs.items()
    }
