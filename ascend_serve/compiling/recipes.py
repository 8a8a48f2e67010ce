"""Recipes on disk: YAML files whose paths are relative to the folder they lie in."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe


def load_recipe(path: Path) -> CompileRecipe:
    """Read a recipe's file.

    Args:
        path: a YAML file; `source`, and files that `extra_args` name, are relative to its folder.

    Returns:
        The recipe with absolute paths.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or is no recipe; the message names it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the recipe {path}: {reason}") from error
    return anchored(parse_recipe(text, where=str(path)), path.absolute().parent)


def parse_recipe(text: str, where: str = "recipe") -> CompileRecipe:
    """Make a recipe from YAML text, its paths as they stand.

    Raises:
        ConfigError: the text is no YAML, has a key twice, or is no recipe.
    """
    try:
        settings = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader, with one more check)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}:" if mark else ""
        raise ConfigError(f"{where}:{line} {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from error
    return CompileRecipe.parse(settings, where)


def anchored(recipe: CompileRecipe, folder: Path) -> CompileRecipe:
    """The recipe with its relative paths made absolute, as seen from `folder`.

    These are `source`, and each value in `extra_args` that names a file there. ATC runs in a folder of its
    own, where a relative path would mean another file.
    """
    arguments = []
    for argument in recipe.extra_args:
        option, _, value = argument.partition("=")
        file = folder / value
        arguments.append(f"{option}={file}" if value and _is_file(file) else argument)
    return recipe.model_copy(
        update={"source": str((folder / recipe.source).absolute()), "extra_args": tuple(arguments)}
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a value such as a long list of nodes makes no path at all (ENAMETOOLONG)
        return False


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which would otherwise keep the last of two equal keys in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key_node.value}' stands twice", key_node.start_mark
                )
            seen.add(key_node.value if isinstance(key_node.value, str) else id(key_node))
        return super().construct_mapping(node, deep)
