"""The check of the files that a Serve file's `args:` name: recipes and compiled models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from ascend_serve.artifacts.artifact import ready_made
from ascend_serve.compiling.recipes import load_recipe
from ascend_serve.errors import AscendServeError
from ascend_serve.serving.config import AppConfig
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.padding import padded_axes
from ascend_serve.spec.recipe import CompileRecipe

_MOST_TOLD = 8
"""Buckets that a note lists."""

Shapes = Mapping[str, tuple[int, ...]]


class Finding(NamedTuple):
    """Something about a file: an error stops a deployment, a note is worth a look."""

    kind: Literal["error", "note"]
    text: str


def check_named_files(config: AppConfig, base: Path, working_dir: object) -> Iterator[Finding]:
    """See that the files named are there, and right.

    Args:
        config: the `args:`.
        base: folder in which Serve will be started, and relative paths begin.
        working_dir: the application's, if it has one; what is in it Ray has yet to fetch.
    """
    paths = [config.recipe] if config.recipe else []
    paths += list(config.om.values()) if isinstance(config.om, dict) else [config.om] if config.om else []
    for path in paths:
        if working_dir and not path.is_absolute():
            yield Finding("note", f"{path} starts at runtime_env.working_dir {working_dir}; not looked up")
        elif not (base / path).is_file():
            yield Finding(
                "error", f"no file {base / path} (relative paths start at the folder Serve is started in)"
            )
        else:
            try:
                yield from (
                    _check_recipe(config, base / path) if config.recipe else _check_om(config, base / path)
                )
            except AscendServeError as error:
                yield Finding("error", str(error))


def _check_recipe(config: AppConfig, path: Path) -> Iterator[Finding]:
    recipe = load_recipe(path)
    if recipe.gear_kind in ("image", "dims"):
        yield from _check_buckets(config, _buckets(recipe))
    else:
        config.batching.chosen_policy().usable(Gears.of(recipe.gears or (1,)))


def _check_om(config: AppConfig, path: Path) -> Iterator[Finding]:
    spec = ready_made(path, config.name or path.stem, config.batched).spec
    padded_axes(spec, config.batching.padded)
    inputs = [tensor.name for tensor in spec.inputs]
    yield from _check_buckets(
        config, [(bucket.gears, {name: bucket.shapes[name] for name in inputs}) for bucket in spec.buckets]
    )


def _check_buckets(config: AppConfig, buckets: Iterable[tuple[Gears, Shapes]]) -> Iterator[Finding]:
    told = []
    for gears, shapes in buckets:
        config.batching.chosen_policy().usable(gears)
        sizes = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        told.append(f"{sizes} at gears {list(gears)}")
    if len(told) > 1:
        more = f"; and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
        yield Finding("note", f"requests run in {len(told)} buckets: {'; '.join(told[:_MOST_TOLD])}{more}")


def _buckets(recipe: CompileRecipe) -> list[tuple[Gears, Shapes]]:
    """Buckets by what the recipe tells of the inputs; an output may yet make a model take one request per run."""
    gears = list(recipe.gear_shapes())
    batched = recipe.batched is not False and all(
        len({shape[:1] for shape in shapes.values()} - {()}) == 1 for shapes in gears
    )
    found: dict[tuple[tuple[str, tuple[int, ...]], ...], set[int]] = {}
    for shapes in gears:
        row = tuple((name, shape[1:] if batched else shape) for name, shape in shapes.items())
        found.setdefault(row, set()).add(next(iter(shapes.values()))[0] if batched else 1)
    return [(Gears.of(sizes), dict(row)) for row, sizes in found.items()]
