from __future__ import annotations

import pytest
from ascend_emulator.atc.errors import AtcError
from ascend_emulator.atc.options import OPTIONS, CommandLineError, HelpWanted, Use, parse, usage
from ascend_emulator.atc.shapes import check_batch_shapes, parse_gears, parse_input_shape
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "arguments",
    [
        ["--soc_version=Ascend310P3"],
        ["--soc_version", "Ascend310P3"],
        ["-soc_version", "Ascend310P3"],
        ["-soc_version=Ascend310P3"],
        ["--soc-version=Ascend310P3"],
        ["--soc", "Ascend310P3"],
        ["--soc=Ascend310B1", "--soc=Ascend310P3"],
    ],
)
def test_one_option_in_all_its_spellings(arguments: list[str]) -> None:
    assert parse(arguments)["soc_version"] == "Ascend310P3"


def test_only_the_name_loses_its_dashes() -> None:
    assert parse(["--out-nodes=a-b:0"])["out_nodes"] == "a-b:0"


def test_a_value_may_begin_with_dashes_when_it_stands_alone() -> None:
    assert parse(["--model", "--output"])["model"] == "--output"


def test_a_full_name_wins_over_longer_ones() -> None:
    assert parse(["--precision_mode=force_fp16"])["precision_mode"] == "force_fp16"
    assert parse(["--output=a"])["output"] == "a"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense=1"], "unknown command line flag 'nonsense'"),
        (["--mod=1"], "unknown command line flag 'mod'"),  # mode, model, modify_mixlist
        (["-x"], "unknown command line flag 'x'"),
        (["--model"], "flag '--model' is missing its argument; flag description: model file"),
        (["net.onnx"], "Non-option parameter: net.onnx"),
        (["a", "--log=error", "b"], "Non-option parameter: a\nERROR: Non-option parameter: b"),
        (["--", "--model=x"], "Non-option parameter: --model=x"),
    ],
)
def test_what_the_parser_complains_about(arguments: list[str], words: str) -> None:
    with pytest.raises(CommandLineError) as caught:
        parse(arguments)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["-help"], ["--hel"], ["--h"], ["--log=error", "-h"]]
)
def test_help_ends_the_parsing(arguments: list[str]) -> None:
    with pytest.raises(HelpWanted):
        parse([*arguments, "--nonsense"])


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("--log=loud", "E10010"),
        ("--framework=2", "E10007"),
        ("--mode=2", "E10001"),
        ("--precision_mode=fp16", "E10001"),
        ("--precision_mode_v2=force_fp16", "E10001"),
        ("--sparsity=2", "E10006"),
        ("--external_weight=yes", "E10006"),
        ("--enable_single_stream=1", "E10005"),
        ("--buffer_optimize=l3", "E10001"),
    ],
)
def test_values_outside_their_range(argument: str, code: str) -> None:
    with pytest.raises(AtcError) as caught:
        parse([argument])
    assert caught.value.code == code
    assert argument.partition("=")[2] in caught.value.message or code == "E10007"


def test_the_refused_are_told_from_their_defaults() -> None:
    given = parse(
        ["--insert_op_conf=a.cfg", "--external_weight=0", "--save_original_model=false", "--sparsity=1"]
    )
    assert given.refused() == ["insert_op_conf", "sparsity"]
    assert parse([]).refused() == []


def test_the_usage_names_the_version_first_and_every_option() -> None:
    text = usage("1.2.3")
    assert "ascend-emulator 1.2.3" in text.splitlines()[0]
    for name, option in OPTIONS.items():
        line = next(line for line in text.splitlines() if line.startswith(f"  --{name} "))
        assert line.endswith(f" ({option.use.value})") == (option.use is not Use.EMULATED)


# --- --input_shape --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("", {}),
        ("a:1,2", {"a": (1, 2)}),
        ("a:1,2;", {"a": (1, 2)}),
        ("a:0:3,4 ; b: 5, 6", {"a:0": (3, 4), "b": (5, 6)}),
        ("a:", {"a": ()}),
        ("a:1;a:2", {"a": (1,)}),
    ],
)
def test_shapes_are_read(text: str, shapes: dict[str, tuple[int, ...]]) -> None:
    assert parse_input_shape(text, geared=False) == shapes


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1,2", "E10002"),
        ("a:1;;b:2", "E10002"),
        ("a:1.5", "E10002"),
        ("a:1x", "E10002"),
        ("a:x", "E10014"),
        ("a:1,,2", "E10014"),
        ("a:0", "E10011"),
        ("a:-1", "E10011"),
        ("a:-7", "E10011"),
        ("a:99999999999999999999", "E10013"),
        ("a:" + "9" * 9999, "E10013"),
    ],
)
def test_shapes_are_refused(text: str, code: str) -> None:
    with pytest.raises(AtcError) as caught:
        parse_input_shape(text, geared=False)
    assert caught.value.code == code


def test_gears_allow_minus_one_and_no_other_negative() -> None:
    assert parse_input_shape("a:-1,3", geared=True) == {"a": (-1, 3)}
    with pytest.raises(AtcError, match="E10011"):
        parse_input_shape("a:-2,3", geared=True)


@given(
    st.dictionaries(
        st.text(st.characters(categories=["L", "N"], include_characters=":/._"), min_size=1),
        st.lists(st.integers(1, 2**62), min_size=1).map(tuple),
        min_size=1,
    )
)
def test_any_shapes_come_back(shapes: dict[str, tuple[int, ...]]) -> None:
    text = ";".join(f"{name}:{','.join(map(str, dims))}" for name, dims in shapes.items())
    assert parse_input_shape(text, geared=False) == shapes


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused_with_a_code(text: str) -> None:
    try:
        shapes = parse_input_shape(text, geared=True)
    except AtcError as error:
        assert error.code in {"E10002", "E10011", "E10013", "E10014"}  # noqa: PT017 - either outcome is right
    else:
        assert all(dim > 0 or dim == -1 for dims in shapes.values() for dim in dims)


# --- --dynamic_batch_size -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "gears", "code"),
    [
        ({"a": (1, 3)}, "1,2", "E10031"),
        ({"a": (1, -1)}, "1,2", "E10031"),
        ({"a": (-1, 3), "b": (1, -1)}, "1,2", "E10018"),
        ({"a": (-1, -1)}, "1,2", "E10018"),
        ({"a": (-1, 3), "b": (-1, -1)}, "1,2", "E10018"),
        ({"a": (-1, 3), "b": ()}, "1,2", "E10012"),
        ({"a": (-1, 3)}, "1, 2", "E10003"),
        ({"a": (-1, 3)}, "1;2", "E10003"),
        ({"a": (-1, 3)}, "-1,2", "E10003"),
        ({"a": (-1, 3)}, "1,²", "E10003"),
    ],
)
def test_gear_shapes_are_refused(shapes: dict[str, tuple[int, ...]], gears: str, code: str) -> None:
    with pytest.raises(AtcError) as caught:
        check_batch_shapes(shapes, gears)
    assert caught.value.code == code


def test_a_misplaced_batch_names_value_and_axis_and_what_follows() -> None:
    with pytest.raises(AtcError) as caught:
        check_batch_shapes({"a": (-1, 3, -1)}, "1,2")
    assert caught.value.message.startswith("Value -1 for shape 2 is invalid.")
    assert "none of the nodes" in caught.value.trace[0]


def test_a_fixed_input_beside_a_batched_one_is_fine() -> None:
    check_batch_shapes({"a": (-1, 3), "b": (7,)}, "1,2,")


@pytest.mark.parametrize(("text", "gears"), [("1,2", (1, 2)), ("8,1,4,", (8, 1, 4)), ("1,,2", (1, 2))])
def test_gears_keep_their_order(text: str, gears: tuple[int, ...]) -> None:
    assert parse_gears(text) == gears


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("4", "E10035"),
        (",", "E10035"),
        (",".join(map(str, range(1, 102))), "E10036"),
        ("0,1", "E10038"),
        ("4,4", "E10039"),
        ("1,99999999999999999999", "E10013"),
        ("1," + "9" * 9999, "E10013"),
    ],
)
def test_gears_are_refused(text: str, code: str) -> None:
    with pytest.raises(AtcError) as caught:
        parse_gears(text)
    assert caught.value.code == code


def test_a_hundred_gears_are_allowed() -> None:
    assert len(parse_gears(",".join(map(str, range(1, 101))))) == 100
