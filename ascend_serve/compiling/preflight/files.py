"""Whether the files that a recipe names are there, and are what they claim to be (facts: ATC §1.3, §2.4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ascend_serve.compiling.onnx_model import OnnxModel, is_inside
from ascend_serve.compiling.preflight.findings import Finding, error
from ascend_serve.spec.atc_options import path_fields
from ascend_serve.spec.recipe import CompileRecipe

LARGEST_FILE = (1 << 31) - 1
"""Bytes: a protobuf message cannot be larger."""

_HEAD = 256
_STRANGERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself: fetch it with `git lfs pull`",
    b"<!doctype html": "a web page, most likely of a failed download: download it again",
    b"<html": "a web page, most likely of a failed download: download it again",
    b"pk\x03\x04": "a zip archive, such as PyTorch saves: unpack it, or export the network to ONNX",
}


def check_source(recipe: CompileRecipe) -> Iterator[Finding]:
    """Look at `source`, and at `weight` for Caffe."""
    framework = recipe.framework_of()
    source = Path(recipe.source)
    if framework == "saved_model":
        if not (source / "saved_model.pb").is_file():
            yield error(
                f"source {source} is no SavedModel: such a folder holds a file saved_model.pb; correct the path, or "
                "give `framework`",
                "E13000",
            )
        return
    yield from _check_file(source, "source")
    if framework == "caffe" and recipe.weight:
        yield from _check_file(Path(recipe.weight), "weight")


def _check_file(path: Path, field: str) -> Iterator[Finding]:
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD).lstrip().lower()
        size = path.stat().st_size
    except FileNotFoundError:
        yield error(f"{field} {path} does not exist: correct the path, which starts at the recipe", "E13000")
        return
    except OSError as reason:
        yield error(f"{field} {path} cannot be read: {reason.strerror}", "E13001")
        return
    if not size:
        yield error(f"{field} {path} is empty: export it, or fetch it, again", "E13015")
    elif size > LARGEST_FILE:
        yield error(
            f"{field} {path} has {size} bytes, more than the {LARGEST_FILE} of a protobuf message: save the weights as "
            "external data",
            "E13015",
        )
    for start, what in _STRANGERS.items():
        if head.startswith(start):
            yield error(f"{field} {path} is {what}", "E13005")


def check_option_files(recipe: CompileRecipe) -> Iterator[Finding]:
    """Look at the files and folders that options name."""
    for field in path_fields():
        value = getattr(recipe, field)
        if value is not None and not Path(value).exists():
            yield error(
                f"{field} {value} does not exist: correct the path, which starts at the recipe", "E10410"
            )


def check_external_data(model: OnnxModel) -> Iterator[Finding]:
    """Look at the files that hold a model's weights: there, within its folder, and long enough; once for each."""
    folder = model.path.parent
    ends: dict[str, int] = {}
    for place in model.external:
        ends[place.location] = max(ends.get(place.location, 0), place.offset + place.size)
    for location, end in ends.items():
        of = next(place.tensor for place in model.external if place.location == location)
        what = f"external data '{location}' (of tensor '{of}')"
        if not is_inside(folder, location):
            yield error(f"{what} is outside the model's folder {folder}: save it beside the model", "E13001")
        elif not (folder / location).is_file():
            yield error(f"{what} is not in the model's folder {folder}: copy it beside the model", "E13001")
        elif (found := (folder / location).stat().st_size) < end:
            yield error(
                f"{what} has {found} bytes where the model wants at least {end}: it is not whole, or of another "
                "export; copy both again",
                "E13001",
            )
