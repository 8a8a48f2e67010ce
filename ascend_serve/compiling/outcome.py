"""What a run of ATC came to: the compiled model, once it was seen to be what its recipe asks for, or why there is none.

Rests on facts: ATC §2.1 (success is told in words), §1.10 (the file's name), §1.7 (files beside it).
"""

from __future__ import annotations

from pathlib import Path

from ascend_serve.artifacts.om.file import read_om_file
from ascend_serve.artifacts.om.reading import Om
from ascend_serve.compiling.atc import compiled_shapes
from ascend_serve.compiling.diagnosis.diagnose import NO_FILE_HINT, Diagnosis, diagnose, warnings
from ascend_serve.errors import ConfigError, NotAnOm
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.shapes import OPEN, is_open
from ascend_serve.spec.soc import Soc, resolve_soc

_SUCCESS = "ATC run success"


def outcome(
    recipe: CompileRecipe, soc: Soc, status: int | None, log: Path, stem: Path
) -> Diagnosis | tuple[Path, Om]:
    """What a run of ATC came to: the file and what it says, or why there is none.

    Args:
        recipe: what was compiled.
        soc: the target.
        status: how it ended (`process.run`).
        log: its whole output.
        stem: path of the model without `.om`, as ATC was told.
    """
    output = log.read_text(encoding="utf-8", errors="replace")
    if status != 0 or _SUCCESS not in output:
        return diagnose(output, status, recipe.timeout_s)
    path = _result(stem)
    if path is None:
        return Diagnosis(f"atc reported success and left no {stem.name}.om", hint=NO_FILE_HINT)
    try:
        om = read_om_file(path)
    except NotAnOm as error:
        return Diagnosis(f"atc reported success and left a file that is {error}")
    if difference := _difference(om, recipe, soc):
        return Diagnosis(f"atc reported success and compiled something else: {difference}")
    return path, om


def result_files(recipe: CompileRecipe, om: Path) -> dict[str, Path]:
    """The `.om` and what ATC wrote beside it (weights of `external_weight`), under the names they must keep."""
    folder = om.parent
    beside = sorted(file for file in folder.rglob("*") if file.is_file() and file != om)
    return {f"{recipe.name}.om": om} | {file.relative_to(folder).as_posix(): file for file in beside}


def warned(log: Path) -> list[str]:
    """What ATC warned of although it succeeded."""
    told = warnings(log.read_text(encoding="utf-8", errors="replace"))
    return [f"{warning.code}: {warning.cause}" if warning.code else warning.cause for warning in told]


def served_as(om: Om, recipe: CompileRecipe) -> tuple[ModelSpec | None, str]:
    """The signature under which a model is served, or None and why it cannot be."""
    try:
        return om.model_spec(recipe.name, recipe.counts_rows), ""
    except ConfigError as error:
        return None, str(error)


def _result(stem: Path) -> Path | None:
    """The file ATC wrote: `<stem>.om`, or `<stem>_<os>_<cpu>.om` for a model with open shapes."""
    plain = stem.with_name(f"{stem.name}.om")
    candidates = [plain, *sorted(stem.parent.glob(f"{stem.name}_*_*.om"))]
    return next((path for path in candidates if path.is_file()), None)


def _difference(om: Om, recipe: CompileRecipe, soc: Soc) -> str:
    """Where a compiled model departs from its recipe, or an empty string."""
    if om.soc and resolve_soc(om.soc) != soc:
        return f"it is for {om.soc}"
    gears = recipe.gear_sizes if len(recipe.gear_sizes) > 1 else ()
    if sorted(om.gear_groups) != sorted(gears):
        return f"it has the gears {_lists(om.gear_groups)}, asked for were {_lists(gears)}"
    if recipe.aipp or recipe.insert_op_conf or recipe.is_input_adjust_hw_layout:
        return ""  # its inputs have another layout than the network's
    shapes = {tensor.name: tensor.dims for tensor in om.inputs}
    asked = {
        name: tuple(OPEN if is_open(dim) else int(dim) for dim in shape)
        for name, shape in compiled_shapes(recipe).items()
    }
    if any(shapes.get(name) != shape for name, shape in asked.items()):
        return f"its inputs are {_shown(shapes)}, asked for were {_shown(asked)}"
    return ""


def _lists(gears: tuple[tuple[int, ...], ...]) -> str:
    return str([gear[0] if len(gear) == 1 else list(gear) for gear in sorted(gears)])


def _shown(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))
