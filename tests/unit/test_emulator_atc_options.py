from __future__ import annotations

import pytest
from ascend_emulator.atc.errors import AtcError
from ascend_emulator.atc.options import OPTIONS, CommandLineError, HelpWanted, Use, parse, usage

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
        ["--customize_dtypes=a.cfg", "--external_weight=0", "--save_original_model=false", "--cal_conf=b.cfg"]
    )
    assert given.refused() == ["customize_dtypes", "cal_conf"]
    assert parse([]).refused() == []


def test_the_harmless_are_recorded_with_what_was_given() -> None:
    given = parse(["--log=error", "--op_debug_level=0", "--mdl_bank_path=a;b", "--output_type=FP16"])
    assert given.harmless() == (("mdl_bank_path", "a;b"), ("log", "error"))
    assert parse([]).harmless() == ()


def test_given_is_told_from_default() -> None:
    given = parse(["--deterministic_level=0"])
    assert "deterministic_level" in given
    assert "deterministic" not in given


def test_the_usage_names_the_version_first_and_every_option() -> None:
    text = usage("1.2.3")
    assert "ascend-emulator 1.2.3" in text.splitlines()[0]
    for name, option in OPTIONS.items():
        line = next(line for line in text.splitlines() if line.startswith(f"  --{name} "))
        assert line.endswith(f" ({option.use.value})") == (option.use is not Use.EMULATED)
