"""ATC's commands in texts: words as a shell makes them, variables, pages, and what is mended."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.compiling.importing.command_line import commands_in
from ascend_serve.compiling.importing.shell import Word, lex

pytestmark = pytest.mark.unit

_DATA = Path(__file__).parent / "data" / "atc_commands"


def words(text, **known):
    return [token.text for token in lex(text, known).tokens if isinstance(token, Word)]


def only(text):
    (command,) = commands_in(text)
    return command


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("""--x="a;b" 'c d' e""", ["--x=a;b", "c d", "e"]),
        (r'"say \"hi\"" a\ b \$x', ['say "hi"', "a b", "$$x"]),
        ("""--a="x":y'z'""", ["--a=x:yz"]),
        ("'$x' \"$x\" $x_1 ${x}_1", ["$$x", "${x}", "${x_1}", "${x}_1"]),
        ("$1 ${12} $ a$", ["${1}", "${12}", "$$", "a$$"]),
        ("a # b", ["a"]),
        ("a#b", ["a#b"]),
        ("a>b 2>&1", ["a", "b", "2", "1"]),
        (r"a\b" + '"a\\b"', ["aba\\b"]),
    ],
)
def test_words_are_split_and_unquoted_as_a_shell_does(text, expected):
    assert words(text) == expected


@given(st.lists(st.text("ab=-;'\"\\ |&#~*", min_size=1)))
def test_what_the_standard_library_quotes_comes_back(parts):
    assert words(shlex.join(parts)) == parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${p##*/}", "net.v2.pb"),
        ("${p#*/}", "b/net.v2.pb"),
        ("${p%.*}", "a/b/net.v2"),
        ("${p%%.*}", "a/b/net"),
    ],
)
def test_known_variables_are_cut_as_a_shell_does(text, expected):
    assert words(text, p="a/b/net.v2.pb") == [expected]


@pytest.mark.parametrize("text", ["$(date)", "`date`", "$((1 + 2))", "${p##*/}", "${#p}", "$@", "${p[0]}"])
def test_what_only_a_running_shell_knows_is_refused_and_left(text):
    lexed = lex(f"--x={text}", {})
    assert [token.text for token in lexed.tokens] == ["--x=" + text.replace("$", "$$")]
    assert text in lexed.refused[0]


def test_variables_become_parameters_with_the_values_the_script_gives():
    static, looped, geared = commands_in((_DATA / "variables.sh").read_text(encoding="utf-8"))
    assert static.argv == [
        "--framework=0",
        "--model=models/gate.prototxt",
        "--weight=${weights}",
        "--output=${out_dir}/gate_${bs}_gate.caffemodel",
        "--input_shape=frame:${bs},3,64,64;scale:${bs},2",
        "--soc_version=Ascend${chip}",
        "--log=${level}",
    ]
    assert static.parameters == {
        "weights": "models/gate.caffemodel",
        "out_dir": "build",
        "bs": "4",
        "chip": None,
        "level": "error",
    }
    assert looped.parameters == {"size": None}
    assert geared.parameters == {"sizes": None}
    assert [command.line for command in (static, looped, geared)] == [10, 19, 21]


def test_a_page_gives_its_commands_and_no_prose():
    found = commands_in((_DATA / "page.md").read_text(encoding="utf-8"))
    outputs = [word for command in found for word in command.argv if "output" in word or word == "prompt"]
    assert outputs == ["--output=inline", "--output=fenced", "--output=bold", "--output", "prompt"]
    assert [command.argv[-1] for command in found] == [
        "--soc_version=Ascend310P3",
        "--input_shape=image:1,3,32,32",
        "--soc_version=Ascend310P3",
        "Ascend310P3",
    ]
    assert not [command for command in found if command.mended or command.refused]


def test_a_command_kept_in_a_variable_is_split_where_the_shell_does():
    command = only((_DATA / "kept_in_a_variable.sh").read_text(encoding="utf-8"))
    assert command.argv == [
        "--model=work/tram.pb",
        "--framework=3",
        "--input_shape=images:1,32,32,3",
        "--input_format=NHWC",
        "--output=${HOME}/tram",
        "--soc_version=Ascend310",
    ]
    assert not command.refused


@pytest.mark.parametrize(
    "text",
    [
        "atc --a=b",
        "sudo -E atc --a=b",
        "time nohup ./bin/atc.bin --a=b &",
        "cd x && atc --a=b || exit 1",
        "${INSTALL}/atc/bin/atc --a=b",
        "python3 -m ge.pyatc --a=b",
        "(atc --a=b)",
        "if ! atc --a=b; then exit 1; fi",
        "(base) me@host:~/x$ atc --a=b",
        "atc --a=b # with a comment",
        "atc --a=b 2>&1 | tee log",
        "atc \\\n  --a=b",
        "timeout 60 atc --a=b </dev/null",
    ],
)
def test_the_program_is_found_behind_what_may_stand_before_it(text):
    command = only(text)
    assert command.argv == ["--a=b"]
    assert not command.mended


@pytest.mark.parametrize(
    "text",
    ["echo atc --a=b", "# atc --a=b", "use atc --a=b", "atc", "latc --a=b", "atc is a tool", "cp atc -r x"],
)
def test_what_does_not_run_atc_is_no_command(text):
    assert commands_in(text) == []


def test_the_environment_of_one_command_is_named():
    assert "TE_PARALLEL_COMPILER=2" in only("TE_PARALLEL_COMPILER=2 atc --a=b").notes[0]


@pytest.mark.parametrize(
    ("text", "argv", "word"),
    [
        ("atc --a=b \\  \n --c=d", ["--a=b", "--c=d"], "backslash"),
        ("atc --a=b \\ # why\n --c=d", ["--a=b", "--c=d"], "backslash"),
        ("atc --a=b \\ --c=d", ["--a=b", "--c=d"], "backslash"),
        ("atc --a=b\n --c=d\n--e f", ["--a=b", "--c=d", "--e", "f"], "does not end in a backslash"),
        ("atc --a=b \\\n # --x=y \\\n --c=d", ["--a=b", "--c=d"], "does not end in a backslash"),
        ("atc --a=b\\\r\n --c=d\r\n", ["--a=b", "--c=d"], "CR LF"),
        ("atc --a=\u201cx;y\u201d", ["--a=x;y"], "curly"),
        ("atc \u2013a=b \u2014cc=d", ["--a=b", "--cc=d"], "dash"),
        ("atc\u00a0--a=b", ["--a=b"], "blanks"),
        ("atc --a=x:1,3;y:1,2 --c=d", ["--a=x:1,3;y:1,2", "--c=d"], "unquoted ;"),
        ("atc --a 8,8;16,16", ["--a", "8,8;16,16"], "unquoted ;"),
        ("atc --a=24|48", ["--a=24|48"], "unquoted |"),
    ],
)
def test_what_a_shell_would_not_take_is_mended_and_named(text, argv, word):
    command = only(text)
    assert command.argv == argv
    assert [fault for fault in command.mended if word in fault]


def test_the_place_of_a_value_is_no_redirection():
    assert only("atc --a=<soc_version> --c=d <in >out").argv == ["--a=<soc_version>", "--c=d"]


def test_a_quote_may_go_on_over_lines():
    command = only('atc --a="x:1;\n  y:2" --c=d\necho done')
    assert command.argv == ["--a=x:1;\n  y:2", "--c=d"]
    assert not command.refused


def test_a_quote_that_never_ends_is_refused():
    assert "not closed" in only('atc --a="x:1 --c=d\n\nNext paragraph.').refused[0]


@pytest.mark.parametrize("text", ["atc --a=b;echo x", "atc --a=b; echo x:1", "atc --a=b;cd ..;ls"])
def test_a_semicolon_before_a_command_separates(text):
    assert only(text).argv == ["--a=b"]
