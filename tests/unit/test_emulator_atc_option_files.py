from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ascend_emulator.atc.compile_time import CompileTime, parse
from ascend_emulator.atc.errors import AtcError
from ascend_emulator.atc.option_files import (
    check_fusion_switch,
    check_op_precision_mode,
    check_raw_ge_options,
    keep_dtype,
    modify_mixlist,
)
from ascend_emulator.precision_lists import List

pytestmark = pytest.mark.unit


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "options"
        path.write_text(text)
        return str(path)

    return write


def test_nodes_and_types_that_keep_their_type(file: Callable[[str], str]) -> None:
    path = file("OpType::Relu\n\n conv1 \na/b:c\nOpType::MatMulV2\n")
    assert keep_dtype(path) == (frozenset({"conv1", "a/b:c"}), frozenset({"Relu", "MatMulV2"}))


def test_a_type_must_be_in_pascal_case(file: Callable[[str], str]) -> None:
    with pytest.raises(AtcError, match="E10003"):
        keep_dtype(file("OpType::relu\n"))


def test_a_mixlist_says_where_a_type_is_from_now_on(file: Callable[[str], str]) -> None:
    path = file(
        '{"black-list": {"to-remove": ["Exp"], "to-add": ["Gelu"]},'
        ' "white-list": {"to-remove": ["Conv2D"], "to-add": ["Exp"]}}'
    )
    assert modify_mixlist(path) == {"Exp": List.WHITE, "Conv2D": List.GRAY, "Gelu": List.BLACK}


@pytest.mark.parametrize(
    ("reader", "text", "code"),
    [
        (check_raw_ge_options, "{", "E10032"),
        (check_raw_ge_options, "[]", "E10032"),
        (check_raw_ge_options, '{"compile options": []}', "E10032"),
        (check_raw_ge_options, '{"compile options": {"device": {}}}', "E10032"),
        (check_raw_ge_options, '{"compile options": {"graph": []}}', "E10032"),
        (check_raw_ge_options, '{"compile options": {"graph": {"": "1"}}}', "E10032"),
        (check_raw_ge_options, '{"compile options": {"graph": {"ge.x": 1}}}', "E10032"),
        (modify_mixlist, "", "E21001"),
        (modify_mixlist, "{", "E21002"),
        (modify_mixlist, "[]", "E21002"),
        (modify_mixlist, '{"red-list": {}}', "E21002"),
        (modify_mixlist, '{"black-list": []}', "E21002"),
        (modify_mixlist, '{"black-list": {"add": []}}', "E21002"),
        (modify_mixlist, '{"black-list": {"to-add": "Exp"}}', "E21002"),
        (modify_mixlist, '{"black-list": {"to-add": [1]}}', "E21002"),
        (modify_mixlist, '{"black-list": {"to-add": ["E"]}, "white-list": {"to-add": ["E"]}}', "E20003"),
        (modify_mixlist, '{"black-list": {"to-add": ["E"], "to-remove": ["E"]}}', "E20003"),
        (check_op_precision_mode, "", "E21001"),
        (check_op_precision_mode, "[ByColour]\nA=b", "E21002"),
        (check_op_precision_mode, "no equals sign", "E21002"),
        (check_fusion_switch, "", "E21001"),
        (check_fusion_switch, "Pass", "E21002"),
        (check_fusion_switch, "Pass:maybe", "E20003"),
        (check_fusion_switch, "Pass:on\nPass:off", "E20003"),
        (check_fusion_switch, '{"Switch": 1}', "E21002"),
        (check_fusion_switch, '{"Switch": {"GraphFusion": {"ALL": true}}}', "E20003"),
    ],
)
def test_what_is_refused(
    file: Callable[[str], str], reader: Callable[[str], Any], text: str, code: str
) -> None:
    with pytest.raises(AtcError) as caught:
        reader(file(text))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("reader", "code"),
    [
        (keep_dtype, "E10410"),
        (modify_mixlist, "E21001"),
        (check_op_precision_mode, "E21001"),
        (check_fusion_switch, "E21001"),
    ],
)
def test_a_file_that_is_not_there(tmp_path: Path, reader: Callable[[str], Any], code: str) -> None:
    with pytest.raises(AtcError) as caught:
        reader(str(tmp_path / "none"))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "text",
    ["Gelu=high_precision\n", "[ByOpType]\nGelu=high_performance\n[ByNodeName]\na/b:0=high_precision\n"],
)
def test_precision_of_operators(file: Callable[[str], str], text: str) -> None:
    check_op_precision_mode(file(text))


@pytest.mark.parametrize("text", ["APass:off\nBPass : on\n", '{"Switch": {"GraphFusion": {"ALL": "off"}}}'])
def test_fusion_switches(file: Callable[[str], str], text: str) -> None:
    check_fusion_switch(file(text))


# --- the time of a compile ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "time", "seconds_of_ten"),
    [
        ("", CompileTime(), 0),
        ("30", CompileTime(30), 30),
        ("0.5,200", CompileTime(0.5, 200), 2.5),
    ],
)
def test_the_time_of_a_compile(text: str, time: CompileTime, seconds_of_ten: float) -> None:
    assert parse(text) == time
    assert time.seconds(10) == pytest.approx(seconds_of_ten)


@pytest.mark.parametrize("text", ["-1", "a", "1,", "1,2,3", "1e9", "nan"])
def test_a_time_that_is_none(text: str) -> None:
    with pytest.raises(AtcError, match="ASCEND_EMULATOR_COMPILE_TIME"):
        parse(text)
