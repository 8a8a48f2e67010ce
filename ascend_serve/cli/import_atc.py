"""`ascend-serve import-atc`: one of ATC's command lines as a recipe, and what is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import click

from ascend_serve.cli.output import is_folder, write_files
from ascend_serve.compiling.importing.command_line import is_program
from ascend_serve.compiling.importing.import_atc import Imported, import_atc, import_script, missing_files
from ascend_serve.compiling.importing.recipe_text import yaml_of
from ascend_serve.errors import ConfigError

_SUFFIX = ".yaml"


class _Command(click.Command):
    """A command whose options may stand behind a file's name, but not behind `atc`, where ATC's own stand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = next((place for place, word in enumerate(args) if _begins(word, args[:place])), len(args))
        atcs = args[end:] if args[end : end + 1] == ["--"] else ["--", *args[end:]]
        try:
            return super().parse_args(ctx, [*args[:end], *atcs])
        except click.NoSuchOption as error:
            words = f"{error.message} ATC's own options stand behind `--`, or behind `atc`."
            raise click.NoSuchOption(error.option_name, words, error.possibilities, ctx) from None


def _begins(word: str, before: list[str]) -> bool:
    """Whether ATC's command line begins with a word, given those before it."""
    return word == "--" or (is_program(word) and before[-1:] != ["--output"])


@click.command(name="import-atc", cls=_Command)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--output",
    type=click.Path(),
    help="File to write; NAME.yaml in it, where it is a folder or ends with a slash. [default: standard output]",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
def command(words: tuple[str, ...], output: str | None, force: bool) -> None:
    """Turn ATC command lines into recipes.

    WORDS is a command line behind `--`, such as `-- atc --model=net.onnx --framework=5 …`; or a file that holds
    some, such as a shell script or a README; `-` reads standard input. Shell variables become parameters.

    Recipes go to standard output, and what is wrong with the commands to standard error; the status is 1 if a
    command has an error.
    """
    imports = _imports(words)
    for imported in imports:
        _show_problems(imported, _folder(output))
    texts = [(imported, text) for imported in imports if (text := yaml_of(imported))]
    if output is None:
        click.echo("---\n".join(text for _, text in texts), nl=False)
    else:
        _write(texts, output, force)
    failed = any(problem.severity == "error" for imported in imports for problem in imported.problems)
    sys.exit(1 if failed else 0)


def _imports(words: Sequence[str]) -> list[Imported]:
    if len(words) > 1 or is_program(words[0]) or words[0].startswith("--"):
        return [import_atc(words)]
    if words[0].startswith("atc "):
        return import_script(words[0])
    try:
        with click.open_file(words[0], encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError as error:
        raise ConfigError(
            f"cannot read {words[0]}: {error.strerror}: give a file that holds ATC commands, or a command behind `--`"
        ) from error
    imports = import_script(text)
    if not imports:
        raise ConfigError(f"{words[0]}: no line of it runs atc with options")
    return imports


def _folder(output: str | None) -> Path:
    if output is None:
        return Path.cwd()
    return Path(output) if is_folder(output) else Path(output).absolute().parent


def _show_problems(imported: Imported, folder: Path) -> None:
    where = f"line {imported.line}: " if imported.line else ""
    for problem in [*imported.problems, *missing_files(imported, folder)]:
        click.echo(f"{where}{problem.severity}: {problem.text}", err=True)


def _write(texts: Sequence[tuple[Imported, str]], output: str, force: bool) -> None:
    if is_folder(output):
        files = _names(Path(output), [str(imported.settings["name"]) for imported, _ in texts])
    elif len(texts) > 1:
        raise ConfigError(
            f"{output}: there are {len(texts)} recipes and one file: give a folder, such as "
            f"{output.removesuffix(_SUFFIX)}/"
        )
    else:
        files = [Path(output)]
    write_files({file: text for file, (_, text) in zip(files, texts, strict=True)}, force=force)
    for file in files:
        click.echo(f"wrote {file}", err=True)


def _names(folder: Path, names: Sequence[str]) -> list[Path]:
    """A file for each name; the second of a name gets a number."""
    files: list[Path] = []
    for name in names:
        plain = name.replace("${", "").replace("}", "")
        numbered = (f"{plain}-{number}" if number > 1 else plain for number in count(1))
        files.append(next(file for each in numbered if (file := folder / f"{each}{_SUFFIX}") not in files))
    return files
