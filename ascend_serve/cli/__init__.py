"""The command `ascend-serve`: one module a verb, imported when it is asked for."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from ascend_serve.errors import AscendServeError
from ascend_serve.spec.text import nearest

_VERBS = {
    "artifacts": "List, show, import, copy and clean the artifacts of a store.",
    "check": "Validate a whole Serve file; unknown keys anywhere are errors.",
    "compile": "Compile recipes for all their SoCs, as parallel Ray tasks.",
    "doctor": "Examine this machine: driver, CANN, devices, artifacts, Ray; each finding with its fix.",
    "import-atc": "Turn ATC command lines into recipes, and say what is wrong with them.",
    "init-recipe": "Propose a first recipe for a model.",
    "inspect": "Show what a compiled model is, or how two differ.",
    "plan": "Simulate a load: how many NPUs it needs, what each policy gives, which gears to compile.",
    "preflight": "See what would go wrong with a recipe, before ATC runs.",
    "profile": "Run CANN's profiler over a live application, and summarise what it found.",
    "replay": "Show what a planner's journal tells, beside what other policies would have done.",
    "run": "Serve a file on this machine, over Serve's fast data path, until Ctrl-C.",
    "trace": "Record a timeline of a live application, for Perfetto or chrome://tracing.",
    "verify": "Compare what an artifact computes with its source model, at each gear.",
}
"""Verb → its line in the help, so that the help needs none of their modules, some of which import Ray."""

_WRONG = 2


class _Verbs(click.Group):
    """A group whose commands are the `command` of `ascend_serve.cli.<verb>`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module = importlib.import_module(f"ascend_serve.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        verb = args[0]
        if verb not in _VERBS and not verb.startswith("-"):
            ctx.fail(f"there is no command '{verb}'{nearest(verb, _VERBS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (AscendServeError, OSError) as error:
            click.echo(f"ascend-serve: {_words(error)}", err=True)
            sys.exit(_WRONG)


def _words(error: AscendServeError | OSError) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="ascend-serve")
def main() -> None:
    """Compile models for Huawei Ascend NPUs and serve them with Ray Serve."""
