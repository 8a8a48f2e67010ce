"""The command itself: what is no verb, and what goes wrong in one."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ascend_serve import cli
from ascend_serve.cli import main

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("typed", "meant"), [("complie", "compile"), ("init_recipe", "init-recipe")])
def test_a_mistyped_verb_names_the_nearest(typed, meant):
    result = CliRunner().invoke(main, [typed])
    assert result.exit_code == 2
    assert f"there is no command '{typed}'; did you mean '{meant}'?" in result.stderr


def test_a_word_near_no_verb_gets_them_all():
    stderr = CliRunner().invoke(main, ["xyz"]).stderr
    assert "there is no command 'xyz'; known: artifacts, " in stderr


def test_a_mistyped_option_names_the_nearest():
    result = CliRunner().invoke(main, ["inspect", "a.om", "--sco", "Ascend310P3"])
    assert result.exit_code == 2
    assert "'--soc'" in result.stderr


def test_an_error_of_the_system_is_told_with_its_file_first(monkeypatch):
    @click.command()
    def fails() -> None:
        Path("/no/such/file").read_text()

    monkeypatch.setattr(cli._Verbs, "get_command", lambda self, ctx, name: fails)
    result = CliRunner().invoke(main, ["inspect"])
    assert result.exit_code == 2
    assert result.stderr == "ascend-serve: /no/such/file: No such file or directory\n"


def test_help_keeps_an_examples_line_whole():
    shown = CliRunner().invoke(main, ["plan", "--help"]).stdout
    assert "\n  ascend-serve plan --costs 1:1.3,4:2.6,8:4.4,16:8.0 --rate 3000 --slo-ms 20\n" in shown


def options(command, path):
    """Every option below a command, as its verb and it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            # The unit tests may not import Ray, which these do; tests/serve looks at them.
            if name not in ("compile", "check", "run"):
                yield from options(command.get_command(context, name), [*path, name])
    yield from ((path, option) for option in command.params if isinstance(option, click.Option))


def test_every_value_of_an_option_has_a_name_that_says_what_it_is():
    shown = {
        (*path, option.opts[0]): option.make_metavar(click.Context(main))
        for path, option in options(main, [])
        if not option.is_flag
    }
    assert ("artifacts", "gc", "--max-size") in shown
    assert not {
        place: name for place, name in shown.items() if name in ("TEXT", "FLOAT", "INTEGER", "FUNCTION")
    }
