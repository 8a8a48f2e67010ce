"""Any command line, however it is written, means to the importer what it means to ATC's parser and to its recipe."""

import shlex
import string

import pytest
from ascend_emulator.atc.errors import AtcError
from ascend_emulator.atc.options import OPTIONS, CommandLineError, HelpWanted, parse
from hypothesis import example, given
from hypothesis import strategies as st

from ascend_serve.compiling.importing.getopt import read_options
from ascend_serve.compiling.importing.import_atc import import_atc, import_script
from tests.unit.imported_commands import made, said

pytestmark = pytest.mark.unit

_NAME = st.text(string.ascii_letters + string.digits + "_./", min_size=1, max_size=8)
_FILE = st.text(string.ascii_letters + string.digits + "_./ ", min_size=1, max_size=8).map(
    lambda text: f"a{text}b"
)
_DIGIT = st.sampled_from(["0", "1"])
_WORD = st.sampled_from(["true", "false"])
_DIM = st.integers(1, 4096)
_REQUIRED = {
    "framework": st.just("5"),
    "model": _FILE.map(lambda text: f"{text}.onnx"),
    "output": _FILE,
    "soc_version": st.sampled_from(["Ascend310P3", "Ascend910B3", "Ascend910"]),
}
_FREE = {
    "input_format": st.just("NCHW"),
    "insert_op_conf": _FILE,
    "op_select_implmode": st.sampled_from(["high_precision", "high_performance_for_all"]),
    "precision_mode": st.sampled_from(["force_fp16", "allow_mix_precision"]),
    "out_nodes": st.lists(_NAME.map(lambda name: f"{name}:0"), min_size=1, max_size=3).map(";".join),
    "optimization_switch": st.just("First:on;Second:off"),
    "log": st.sampled_from(["debug", "error", "null"]),
    "sparsity": _DIGIT,
    "virtual_type": _DIGIT,
    "enable_single_stream": _WORD,
    "jit_compile": st.sampled_from(["0", "1", "2"]),
    "aicore_num": st.sampled_from(["8", "24|48"]),
    "static_model_ops_lower_limit": st.integers(-1, 99).map(str),
    "output_type": st.sampled_from(["FP32", "FP16"]),
    "fusion_switch_file": _FILE,
    "mode": st.just("0"),
    "is_weight_clip": _DIGIT,
}


@st.composite
def _shapes(draw):
    """Shapes alone, or with gears of one kind."""
    batches = sorted(draw(st.sets(st.integers(1, 64), min_size=2, max_size=5)), key=hash)
    sizes = [f"{batch},{draw(_DIM)}" for batch in batches]
    return draw(
        st.sampled_from(
            [
                {},
                {"input_shape": f"a:{batches[0]},3;b:0:{batches[1]},1~4;c:"},
                {"input_shape": "a:-1,3;b:2,5", "dynamic_batch_size": ",".join(map(str, batches))},
                {"input_shape": "a:1,3,-1,-1", "dynamic_image_size": ";".join(sizes), "input_format": "NCHW"},
                {"dynamic_dims": ";".join(sizes), "input_shape": "a:-1,3;b:5,-1", "insert_op_conf": ""},
            ]
        )
    )


@st.composite
def _commands(draw):
    """Options that go together, and their values, in any order."""
    names = draw(st.lists(st.sampled_from(sorted(_FREE)), unique=True))
    values = {
        name: draw(strategy) for name, strategy in [*_REQUIRED.items(), *((n, _FREE[n]) for n in names)]
    }
    values |= draw(_shapes())
    return draw(st.permutations([(name, value) for name, value in values.items() if value]))


def _shortest(name):
    """The shortest beginning of an option's name that no other has."""
    lengths = range(3, len(name) + 1)
    return next(
        name[:length] for length in lengths if sum(other.startswith(name[:length]) for other in [*OPTIONS, "help"]) == 1
        or name[:length] == name
    )  # fmt: skip


@st.composite
def _written(draw, pairs):
    """A command line for some options, each written in one of the ways that ATC's parser takes."""
    words = []
    for name, value in pairs:
        shown = draw(st.sampled_from([name, name.replace("_", "-"), _shortest(name)]))
        dashes = draw(st.sampled_from(["--", "-"]))
        words += draw(st.sampled_from([[f"{dashes}{shown}={value}"], [f"{dashes}{shown}", value]]))
    return words


@st.composite
def _quoted(draw, words):
    """Words for a shell, each quoted in some way, over one line or several."""
    gap = draw(st.sampled_from([" ", "  ", " \\\n", "\t\\\n  "]))
    quotes = (
        shlex.quote,
        lambda word: f'"{word}"',
        lambda word: "".join(f"\\{char}" if not char.isalnum() else char for char in word),
        lambda word: "=".join(shlex.quote(part) for part in word.split("=")),
    )
    return gap.join(["atc", *(draw(st.sampled_from(quotes))(word) for word in words)])


@given(st.data())
def test_a_recipe_gives_the_pairs_of_its_command_however_that_was_written(data):
    pairs = data.draw(_commands())
    words = data.draw(_written(pairs))
    found = import_atc(["atc", *words])
    assert found.pairs == pairs
    assert found.recipe is not None, found.problems
    assert made(found) == pairs
    assert found.changes == ()
    (from_text,) = import_script(data.draw(_quoted(words)))
    assert (from_text.pairs, from_text.settings) == (found.pairs, found.settings)


@given(st.data())
def test_a_script_with_variables_gives_the_pairs_with_their_values_put_in(data):
    pairs = data.draw(_commands())
    names = [f"v{position}" for position, _ in enumerate(pairs)]
    cut = data.draw(st.sets(st.sampled_from(names)))
    values = {name: value for name, (_, value) in zip(names, pairs, strict=True) if name in cut}
    words = [
        f'--{option}="${{{name}}}"' if name in cut else f"--{option}={shlex.quote(value)}"
        for name, (option, value) in zip(names, pairs, strict=True)
    ]
    (found,) = import_script(f"atc {' '.join(words)}")
    assert found.parameters == dict.fromkeys(sorted(cut, key=names.index))
    assert said(found, values) == pairs
    assert made(found, values) == pairs


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["--", "-"]),
            st.one_of(st.sampled_from(sorted(OPTIONS)), st.sampled_from(["help", "h", "weigh", "nothing"])),
            st.integers(2, 40),
            st.sampled_from(["=", " "]),
            st.text("abc01;:,", min_size=1, max_size=5),
        ),
        max_size=4,
    ),
    st.sampled_from([[], ["stray"], ["--log"], ["--", "x"]]),
)
@example([("-", "h2d_overlapped_with_compute", 2, " ", "0")], [])
@example([("-", "h2d_overlapped_with_compute", 2, "=", "0")], [])
def test_names_mean_what_they_mean_to_another_parser(options, behind):
    argv = []
    for dashes, name, length, between, value in options:
        argv += (
            [f"{dashes}{name[:length]}={value}"] if between == "=" else [f"{dashes}{name[:length]}", value]
        )
    argv += behind
    pairs, faults = read_options(argv)
    try:
        parsed = parse(argv)
    except HelpWanted:
        assert "help" in dict(pairs)
    except CommandLineError:
        assert faults
    except AtcError:
        pass  # a value, which the other parser looks at on its way
    else:
        assert not faults
        assert {name: parsed[name] for name, _ in pairs} == dict(pairs)
        assert all(name in parsed for name, _ in pairs)
