"""From one of ATC's command lines to a recipe, with what is wrong with it.

The opposite of `atc.options`: for a command that ATC takes, the recipe gives the same options with the same values in
the same order. What the recipe has to write otherwise is a `Change`, and named (facts: ATC §1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ascend_serve.compiling.atc import options, plain
from ascend_serve.compiling.importing.command_line import Command, commands_in, is_program
from ascend_serve.compiling.importing.command_rules import (
    Problem,
    check_command,
    check_repeats,
    compiles_nothing,
)
from ascend_serve.compiling.importing.getopt import REMOVED, Pairs, read_options
from ascend_serve.compiling.importing.option_values import fit_name, read_value
from ascend_serve.compiling.parameters import KEY, bind
from ascend_serve.compiling.template import adopt, inline, map_strings, names_in
from ascend_serve.errors import ConfigError
from ascend_serve.spec.atc_options import AtcOptions, path_fields
from ascend_serve.spec.recipe import CompileRecipe, field_of

_LEFT_OUT = (REMOVED, "om", "json", "dump_mode")


@dataclass(frozen=True, slots=True)
class Change:
    """An option that the recipe's command line has otherwise than the one that was imported.

    Attributes:
        option: its full name.
        said: the value in the command.
        kept: the value that the recipe gives; None: the option is not given.
    """

    option: str
    said: str
    kept: str | None


@dataclass(frozen=True, slots=True)
class Imported:
    """A command line as a recipe.

    Attributes:
        settings: the recipe as plain values, `name` first and then in the command's order; where there are
            parameters, a template. Empty for a command that compiles nothing.
        recipe: the recipe; None where there is an error, or a parameter without value.
        parameters: shell variables in the command's values, and their values where the script has them.
        pairs: what the command says: each option's full name with its value, in order.
        changes: what the recipe gives otherwise; known where there is a recipe.
        problems: everything that is wrong, doubtful, or worth knowing.
        line: where the command begins in its script, from 1; 0 for one that came as words.
    """

    settings: dict[str, Any]
    recipe: CompileRecipe | None
    parameters: dict[str, str | None]
    pairs: Pairs
    changes: tuple[Change, ...]
    problems: tuple[Problem, ...]
    line: int = 0

    @property
    def well_formed(self) -> bool:
        """Whether the shell and ATC take the command as it is written, as far as it tells, and says nothing twice."""
        if len({option for option, _ in self.pairs}) < len(self.pairs):
            return False
        return not any(problem.severity == "error" or problem.mended for problem in self.problems)


def import_atc(argv: Sequence[str]) -> Imported:
    """Import a command line that a shell has already split.

    Args:
        argv: with or without the program; `$name` and `${name}` in a word are parameters.
    """
    # A shell has been here: what looks like `${name}` was quoted so that it stays.
    words = list(map(adopt, argv))
    if words and is_program(words[0]):
        words = words[1:]
    return _import(Command(words, dict.fromkeys(names_in(words)), 0))


def import_script(text: str) -> list[Imported]:
    """Import all of ATC's command lines in a shell script, or in a page of Markdown, in its order."""
    return [_import(command) for command in commands_in(text)]


def missing_files(imported: Imported, folder: Path) -> list[Problem]:
    """A note for each file that the recipe names and that is not there.

    Args:
        imported: its relative paths are seen from `folder`.
        folder: where the recipe will lie.
    """
    if imported.recipe is None:
        return []
    named = {"source": imported.recipe.source, "weight": imported.recipe.weight}
    named |= {field: getattr(imported.recipe, field) for field in path_fields()}
    return [
        Problem(
            "note", f"{field}: there is no {path} in {folder}; a recipe's paths start where its file lies"
        )
        for field, path in named.items()
        if path and not (folder / Path(path).expanduser()).exists()
    ]


def _import(command: Command) -> Imported:
    pairs, faults = read_options(command.argv)
    problems = [Problem("warning", text, mended=True) for text in dict.fromkeys(command.mended)]
    problems += [Problem("error", text) for text in dict.fromkeys([*command.refused, *faults])]
    problems += check_repeats(pairs)
    said: dict[str, str] = {}
    for option, value in pairs:
        said.pop(option, None)  # so that the last of two stands where it stands in the command
        said[option] = value
    said = {option: value for option, value in said.items() if value or option in AtcOptions.model_fields}
    settings: dict[str, Any] = {}
    unread: list[Problem] = []
    if reason := compiles_nothing(said):
        problems.append(Problem("error", reason))
    else:
        problems += check_command({option: value for option, value in said.items() if value})
        settings, unread = _settings(said)
        problems += unread
    problems += [Problem("note", text) for text in command.notes]
    parameters = {name: value for name, value in command.parameters.items() if name in names_in(settings)}
    if not parameters:
        settings = map_strings(settings, _without_escapes)
    recipe = None if unread else _recipe(settings, parameters, problems)
    changes: tuple[Change, ...] = ()
    if recipe is not None:
        changes = tuple(_changes(pairs, recipe, parameters))
        problems += [_note(change) for change in changes if change.said and change.kept is not None]
    if not command.parameters:
        pairs = [(option, _without_escapes(value)) for option, value in pairs]
    shown = tuple(replace(problem, text=_without_escapes(problem.text)) for problem in problems)
    return Imported(settings, recipe, parameters, pairs, changes, shown, command.line)


def _without_escapes(text: str) -> str:
    return text.replace("$$", "$")


def _settings(said: dict[str, str]) -> tuple[dict[str, Any], list[Problem]]:
    """Fields with their values, and what is wrong with those that cannot be read."""
    settings: dict[str, Any] = {"name": _name(said)}
    unread: list[Problem] = []
    spelt: dict[str, str] = {}
    for option, text in said.items():
        if option in _LEFT_OUT:
            continue
        if not text:
            # ATC takes it for not given; the key stands for its place in the command.
            default = AtcOptions.model_fields[option].get_default()
            settings[option], spelt[option] = list(default) if default == () else default, text
            continue
        try:
            settings[field_of(option)] = read_value(option, text)
        except ConfigError as error:
            unread.append(Problem("error", str(error)))
            continue
        if settings[field_of(option)] != text and plain(text) != text:
            spelt[option] = text
    return settings | ({"as_written": spelt} if spelt else {}), unread


def _name(said: dict[str, str]) -> str:
    """A name from `--output`'s stem, or the model's where that is all parameters; parameters stay in it."""
    for text, suffix in ((said.get("output", ""), ".om"), (said.get("model", ""), "")):
        stem = text.rpartition("/")[2].removesuffix(suffix)
        if not suffix:
            stem = stem.rpartition(".")[0] or stem
        names = names_in(stem)
        if not inline(stem, dict.fromkeys(names, "")).strip("._-"):
            continue
        if not names:
            return fit_name(stem)
        first = inline(stem, {name: f"${{{name}}}" for name in names})
        parts = first.replace("${", "\0${").replace("}", "}\0").split("\0")
        return "".join(part if part.startswith("${") else _fit_part(part) for part in parts)
    return "model"


def _fit_part(text: str) -> str:
    return fit_name(f"x{text}")[1:]


def _recipe(
    settings: dict[str, Any], parameters: dict[str, str | None], problems: list[Problem]
) -> CompileRecipe | None:
    """The recipe, where it can be one; what its rules find is added to the problems."""
    if open_names := [name for name, value in parameters.items() if value is None]:
        problems.append(
            Problem(
                "note",
                f"{', '.join(f'${name}' for name in open_names)}: kept as a parameter without value; give it with "
                f"--set {open_names[0]}=…, or under `{KEY}`",
            )
        )
        return None
    if not settings:
        return None
    # The rules are looked at even where an option is missing, so that all faults are known at once.
    stand_in = {"source": "model.onnx"} if "source" not in settings else {}
    known = {
        field: value for field, value in settings.items() if field != "targets" or not _unknown_soc(problems)
    }
    try:
        recipe = CompileRecipe.parse(bind(known | stand_in, parameters or None, {}), where="")
    except ConfigError as error:
        problems.append(Problem("error", str(error).removeprefix(": ")))
        return None
    return None if any(problem.severity == "error" for problem in problems) else recipe


def _unknown_soc(problems: list[Problem]) -> bool:
    return any(problem.severity == "error" and "--soc_version" in problem.text for problem in problems)


def _changes(pairs: Pairs, recipe: CompileRecipe, parameters: dict[str, str | None]) -> list[Change]:
    values = {name: value for name, value in parameters.items() if value is not None}
    said = [(option, _without_escapes(inline(value, values))) for option, value in pairs]
    given = dict(options(recipe, recipe.targets[0], recipe.source, recipe.output or ""))
    last = {option: position for position, (option, _) in enumerate(said)}
    return [
        Change(option, value, kept)
        for position, (option, value) in enumerate(said)
        if (kept := given.get(option) if position == last[option] else None) != value
    ]


def _note(change: Change) -> Problem:
    return Problem(
        "note", f"--{change.option}={change.said!r} is written {change.kept!r}, which means the same"
    )
