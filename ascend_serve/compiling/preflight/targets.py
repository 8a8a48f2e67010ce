"""What a chip cannot do, as far as documents say (facts: ATC §1.2–1.4, §1.8, §1.9, §4)."""

from __future__ import annotations

from collections.abc import Iterator

from ascend_serve.compiling.preflight.findings import Finding, error, warning
from ascend_serve.compiling.preflight.inputs import is_left_open
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import Soc

_310P, _310B, _A2_A3, _950, _NANO = 2002, 3002, 2201, 3510, 3505
"""Architectures, by the chips that have them."""
_BFLOAT16 = (_310B, _A2_A3, _950)
_WITHOUT_CAFFE = (_A2_A3, _950)
_GEARS_ONLY = (_310B, _NANO)
_NARROW_OUTPUTS = ("HIF8", "HIF4", "FP8E5M2", "FP8E4M3FN")


def check_target(recipe: CompileRecipe, soc: Soc) -> Iterator[Finding]:
    """Look at what a recipe asks of one SoC."""
    yield from _names(recipe, soc)
    mode = recipe.precision_mode or recipe.precision_mode_v2 or ""
    if ("bf16" in mode or "bfloat16" in mode) and soc.arch not in _BFLOAT16:
        yield error(
            f"{soc.name} has no bfloat16, which {mode} needs (310B, A2, A3 and 950 have): use `precision: mixed`"
        )
    if "hif8" in mode and soc.arch != _950:
        yield error(
            f"{soc.name} has no hif8, which {mode} needs (the 950 family has): use `precision: mixed`"
        )
    narrow = [kind for kind in _NARROW_OUTPUTS if kind in (recipe.output_type or "")]
    if narrow and soc.arch != _950:
        yield error(
            f"output_type {narrow[0]} is for the 950 family alone, not {soc.name}: use FP32 or FP16", "E10001"
        )
    if recipe.core_type == "VectorCore" and soc.arch != _310P:
        yield error(
            f"core_type VectorCore is for the 310P family alone, not {soc.name}: leave it out", "E10001"
        )
    if soc.arch in _WITHOUT_CAFFE and recipe.framework_of() == "caffe":
        yield error(f"{soc.name} takes no Caffe models (nor do A2, A3 and 950): convert it to ONNX")
    if soc.arch in _GEARS_ONLY and is_left_open(recipe):
        yield error(f"{soc.name} takes no open shapes: give gears, image_gears or dims_gears in their place")


def _names(recipe: CompileRecipe, soc: Soc) -> Iterator[Finding]:
    if soc.arch == _NANO:
        yield error(
            f"{soc.name} runs another kind of file (mode 30, .exeom), which is not served: choose another target",
            "E10055",
        )
    if "Ascend910" in recipe.targets and soc.name == "Ascend910A":
        yield warning(
            "target Ascend910 is Ascend910A, the first generation, and does not load on Atlas A2 or A3: give the exact "
            "name, such as Ascend910B3, unless the card is a first one"
        )
    if soc.name == "Ascend910B":
        yield warning(
            "target Ascend910B is of the first generation; Atlas A2 cards have a digit, such as Ascend910B3"
        )
    if soc.arch is None:
        yield warning(
            f"{soc.name} is in no platform file of today's CANN: only an older toolchain, or a vendor's own, knows it",
            "E20101",
        )
