"""Recipes on disk: YAML files whose paths are relative to the folder they lie in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ascend_serve.compiling.parameters import bind, split
from ascend_serve.errors import ConfigError
from ascend_serve.spec.atc_options import path_fields
from ascend_serve.spec.recipe import CompileRecipe

_OWN_PATHS = ("weight", "output")


def load_recipe(path: Path, given: Mapping[str, str] | None = None) -> CompileRecipe:
    """Read a recipe's file.

    Args:
        path: a YAML file; every path in it is relative to its folder.
        given: values of the recipe's parameters, in place of those the file has.

    Returns:
        The recipe with absolute paths.

    Raises:
        ConfigError: the file cannot be read, is no YAML, is no recipe, or has a parameter without a value; the
            message names it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"cannot read the recipe {path}: {reason}: give the path of a YAML file, such as "
            "`ascend-serve init-recipe` writes"
        ) from error
    return anchored(parse_recipe(text, str(path), given), path.absolute().parent)


def parse_recipe(text: str, where: str = "recipe", given: Mapping[str, str] | None = None) -> CompileRecipe:
    """Make a recipe from YAML text, its paths as they stand.

    Raises:
        ConfigError: the text is no YAML, has a key twice, is no recipe, or has a parameter without a value.
    """
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader, with one more check)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}:" if mark else ""
        raise ConfigError(f"{where}:{line} {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or number that Python does not hold
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: its values are nested too deep for a recipe") from error
    if isinstance(document, Mapping):
        try:
            document = bind(*split(document), given or {})
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
    return CompileRecipe.parse(document, where)


def anchored(recipe: CompileRecipe, folder: Path) -> CompileRecipe:
    """The recipe with its relative paths made absolute, as seen from `folder`.

    These are `source`, the fields that are paths, and each value in `extra_args` that names a file there. ATC runs
    in a folder of its own, where a relative path would mean another file.
    """

    def absolute(path: str) -> str:
        return str((folder / Path(path).expanduser()).absolute())

    arguments = []
    for argument in recipe.extra_args:
        option, _, value = argument.partition("=")
        arguments.append(f"{option}={absolute(value)}" if value and _is_file(folder / value) else argument)
    named = {name: getattr(recipe, name) for name in (*_OWN_PATHS, *path_fields())}
    changes: dict[str, Any] = {name: absolute(path) for name, path in named.items() if path}
    if recipe.verify is not None and recipe.verify.inputs:
        changes["verify"] = recipe.verify.model_copy(update={"inputs": absolute(recipe.verify.inputs)})
    if recipe.tune is not None and recipe.tune.tune_ops_file:
        file = absolute(recipe.tune.tune_ops_file)
        changes["tune"] = recipe.tune.model_copy(update={"tune_ops_file": file})
    return recipe.model_copy(
        update={"source": absolute(recipe.source), "extra_args": tuple(arguments), **changes}
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a value such as a long list of nodes makes no path at all (ENAMETOOLONG)
        return False


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which would otherwise keep the last of two equal keys in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # a list or mapping, which makes no key: YAML says so itself
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key_node.value}' stands twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)
