"""The check of the files that a Serve file's `args:` name: recipes, compiled models, labels and tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from ascend_serve.artifacts.artifact import ready_made
from ascend_serve.batching.policy import check_fits
from ascend_serve.compiling.recipes import load_recipe
from ascend_serve.errors import AscendServeError, ConfigError, ProcessorMissing
from ascend_serve.serving.config import AppConfig, ModelConfig, check_distinct
from ascend_serve.serving.doors.labels import check_outputs
from ascend_serve.serving.live import live_settings
from ascend_serve.serving.processors import check_settings
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.padding import padded_axes
from ascend_serve.spec.recipe import CompileRecipe

_MOST_TOLD = 8
"""Buckets that a note lists."""

Shapes = Mapping[str, tuple[int, ...]]


class Finding(NamedTuple):
    """Something about a file: an error stops a deployment, a note is worth a look; `at` is the key below `args`."""

    kind: Literal["error", "note"]
    text: str
    at: str = ""


def check_named_files(config: AppConfig, base: Path, working_dir: object) -> Iterator[Finding]:
    """See that the files named are there, and right, and that no two models have one name.

    Args:
        config: the `args:`.
        base: folder in which Serve will be started, and relative paths begin.
        working_dir: the application's, if it has one; what is in it Ray has yet to fetch.
    """
    names: list[tuple[str, str]] = []
    for number, model in enumerate(config.served):
        at = f".models.{number}" if config.models else ""
        yield from (finding._replace(at=at) for finding in _checked_processor(model, base, working_dir))
        for output, file in model.labels.items():
            if (absent := _absent(file, base, working_dir)) is not None:
                yield absent._replace(at=f"{at}.labels.{output}")
        findings, name = _looked_up(model, base, working_dir)
        yield from (finding._replace(at=at) for finding in findings)
        if name is not None:
            names.append((name, model.version))
    tokens = None if config.tokens is None else config.tokens.file
    if tokens is not None and not (base / tokens).is_file():
        text = f"no file {base / tokens} here; replicas read it on their own nodes"
        yield Finding("note", text, ".tokens.file")
    try:
        check_distinct(names)
    except ConfigError as error:
        yield Finding("error", str(error))


def check_user_config(
    user_config: object, config: AppConfig, base: Path, working_dir: object
) -> Iterator[str]:
    """What is wrong with a `user_config` beside these `args:`, as a running replica would find it.

    Args:
        user_config: as the Serve file has it.
        config: the `args:`.
        base: as for `check_named_files`.
        working_dir: as for `check_named_files`.
    """
    found = [_looked_up(model, base, working_dir) for model in config.served]
    try:
        settings = live_settings(user_config, config, [name for _, name in found])
    except ConfigError as error:
        yield str(error)
        return
    for model, (before, name) in zip(settings.models, found, strict=True):
        after, _ = _looked_up(model, base, working_dir)
        where = f"user_config.models.{name}" if config.models else "user_config"
        yield from (f"{where}: {finding.text}" for finding in after if finding not in before)


def _looked_up(model: ModelConfig, base: Path, working_dir: object) -> tuple[list[Finding], str | None]:
    """What is found in the files of a model, and its name; None where they cannot tell."""
    findings = []
    name = model.name
    for path in _named_by(model):
        if (absent := _absent(path, base, working_dir)) is not None:
            findings.append(absent)
        else:
            try:
                found, notes = _checked(model, base / path)
            except AscendServeError as error:
                findings.append(Finding("error", str(error)))
            else:
                name = name or found
                findings += [Finding("note", note) for note in notes]
    return findings, name


def _absent(path: Path, base: Path, working_dir: object) -> Finding | None:
    """What is to be said of a file that is not there, or not yet; None where it is."""
    if working_dir and not path.is_absolute():
        return Finding("note", f"{path} starts at runtime_env.working_dir {working_dir}; not looked up")
    if not (base / path).is_file():
        text = f"no file {base / path} (relative paths start at the folder Serve is started in)"
        return Finding("error", text)
    return None


def _checked_processor(model: ModelConfig, base: Path, working_dir: object) -> Iterator[Finding]:
    try:
        check_settings(model, base)
    except ProcessorMissing as error:
        yield Finding("note" if working_dir else "error", str(error))
    except ConfigError as error:
        yield Finding("error", str(error))


def _named_by(model: ModelConfig) -> list[Path]:
    if model.recipe is not None:
        return [model.recipe]
    return list(model.om.values()) if isinstance(model.om, dict) else [model.om] if model.om else []


def _checked(model: ModelConfig, path: Path) -> tuple[str, list[str]]:
    """The name of the model in a file, and what is worth a look."""
    if model.recipe is not None:
        recipe = load_recipe(path)
        notes = []
        if not Path(recipe.source).exists():
            notes.append(
                f"no source {Path(recipe.source).resolve()}, which {path.name} names and its build needs"
            )
        if recipe.gear_kind in ("image", "dims"):
            return recipe.name, notes + _check_buckets(model, _buckets(recipe))
        check_fits(model.batching.chosen_policy(), Gears.of(recipe.gears or (1,)))
        return recipe.name, notes
    spec = ready_made(path, model.name or path.stem, model.batched).spec
    padded_axes(spec, model.batching.padded)
    check_outputs(model.labels, spec)
    inputs = [tensor.name for tensor in spec.inputs]
    return spec.name, _check_buckets(
        model, [(bucket.gears, {name: bucket.shapes[name] for name in inputs}) for bucket in spec.buckets]
    )


def _check_buckets(model: ModelConfig, buckets: Iterable[tuple[Gears, Shapes]]) -> list[str]:
    told = []
    for gears, shapes in buckets:
        check_fits(model.batching.chosen_policy(), gears)
        sizes = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        told.append(f"{sizes} at gears {list(gears)}")
    if len(told) <= 1:
        return []
    more = f"; and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
    return [f"requests run in {len(told)} buckets: {'; '.join(told[:_MOST_TOLD])}{more}"]


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
