"""The key of an artifact: a hash of everything that changes the compiled model, and of nothing else."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from ascend_serve.artifacts.manifest import SCHEMA
from ascend_serve.artifacts.store import sha256
from ascend_serve.compiling.atc import options
from ascend_serve.compiling.sources import source_digests
from ascend_serve.errors import ConfigError
from ascend_serve.spec.atc_options import path_fields
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.shapes import is_open
from ascend_serve.spec.soc import Soc

_SHAPES = {"input_shape", "dynamic_batch_size", "dynamic_image_size", "dynamic_dims"}
_LEFT_OUT = {
    *("mode", "log", "display_model_info", "check_report"),
    *("op_compiler_cache_mode", "op_compiler_cache_dir", "debug_dir"),
    "weight",
}
"""Options that change no model (what is told, where ATC keeps things), and one that `source_digests` covers."""


def artifact_key(
    recipe: CompileRecipe, soc: Soc, fingerprint: str, influences: Mapping[str, str], bank: str = ""
) -> str:
    """The key under which the store files what `recipe` compiles to for `soc`.

    It covers the model's bytes and those of its external data or weights, the shapes at each gear, ATC's other
    options in their normal form, the bytes of files that they name, whether axis 0 counts rows, the SoC, the
    toolchain, the environment variables that ATC heeds, the knowledge bank, for open shapes the host, and what
    `verify` demands, since an artifact found under the key is held to have passed it. It leaves out folders, the
    order of keys, how much is logged, limits of time and memory, and which other SoCs the recipe lists.

    Args:
        recipe: with absolute paths.
        soc: the target.
        fingerprint: of the toolchain (`toolchain.fingerprint`).
        influences: environment variables that change what ATC builds.
        bank: digest of the knowledge bank that the build uses; empty without one.

    Returns:
        64 hexadecimal digits.

    Raises:
        ConfigError: the source, or a file it or an option refers to, does not exist.
    """
    ingredients = {
        "schema": SCHEMA,
        "name": recipe.name,  # ATC writes it into the file
        "source": source_digests(recipe),
        "saved_model": [recipe.saved_model, recipe.signature]
        if recipe.framework_of() == "saved_model"
        else [],
        "soc": soc.name,
        "shapes": _shapes(recipe),
        # One gear is compiled as the same static shape that a recipe without gears may give, and served differently.
        "batched": recipe.counts_rows,
        "options": _options(recipe),
        "extra_args": [_normal(recipe, argument) for argument in recipe.extra_args],
        "aipp": {section.input: section.settings() for section in recipe.aipp},
        "toolchain": fingerprint,
        "environment": dict(influences),
        "bank": bank,
        "verify": _gate(recipe),
        "host": _host(recipe),
    }
    return hashlib.sha256(_json(ingredients)).hexdigest()


def _shapes(recipe: CompileRecipe) -> Any:
    """The shapes of all inputs, at each gear where there are any, in an order of their own."""
    if not recipe.gear_kind:
        return dict(recipe.inputs)
    return sorted(recipe.gear_shapes(), key=_json)


def _options(recipe: CompileRecipe) -> dict[str, str]:
    pairs = dict(options(recipe.model_copy(update={"as_written": {}}), "", "", ""))
    if not recipe.is_input_adjust_hw_layout:
        pairs["input_fp16_nodes"] = ";".join(sorted(recipe.input_fp16_nodes))
    paths = set(path_fields())
    return {
        name: _content(recipe, name, Path(value)) if name in paths else value
        for name, value in pairs.items()
        if value and name not in _SHAPES | _LEFT_OUT
    }


def _normal(recipe: CompileRecipe, argument: str) -> str:
    option, _, value = argument.partition("=")
    path = Path(value)
    try:
        named = path.is_absolute() and path.exists()
    except OSError:  # a value that makes no path, such as a long list (ENAMETOOLONG)
        named = False
    return f"{option}={_content(recipe, option, path)}" if named else argument


def _gate(recipe: CompileRecipe) -> dict[str, Any] | None:
    """What a model has to pass before it is published: what passed other bounds, or none, is not that artifact."""
    if recipe.verify is None:
        return None
    told: dict[str, Any] = recipe.verify.model_dump()
    if recipe.verify.inputs is not None:
        inputs = Path(recipe.verify.inputs)
        if not inputs.is_file():
            raise ConfigError(
                f"recipe '{recipe.name}': verify.inputs names {inputs}, which does not exist; relative paths start at "
                "the recipe's folder"
            )
        told["inputs"] = sha256(inputs)
    return told


def _content(recipe: CompileRecipe, option: str, path: Path) -> str:
    """Checksum of a file that an option names, or of all files in a folder."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return ",".join(f"{file.relative_to(path)}=sha256:{sha256(file)}" for file in files)
    if not path.is_file():
        raise ConfigError(
            f"recipe '{recipe.name}': {option} names {path}, which does not exist (E10410); relative paths start at "
            "the recipe's folder"
        )
    return f"sha256:{sha256(path)}"


def _host(recipe: CompileRecipe) -> list[str]:
    """System and processor that a model with open shapes is for; operator libraries are packed into it."""
    opened = any(is_open(dim) for shape in recipe.inputs.values() for dim in shape)
    if recipe.gear_kind or not (opened or recipe.input_shape_range):
        return []
    return [recipe.host_env_os or "linux", recipe.host_env_cpu or platform.machine()]


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
