from __future__ import annotations

import pytest
from ascend_emulator.atc.errors import AtcError
from ascend_emulator.atc.gear_options import check, parse
from ascend_emulator.atc.shape_ranges import (
    Ranges,
    given_in,
    parse_bracketed_ranges,
    parse_input_shape_ranges,
)
from ascend_emulator.atc.shapes import check_hint_shape, parse_input_shape
from ascend_emulator.gears import GearKind, Gears
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

BATCH, IMAGE_SIZE, DIMS = GearKind


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
        check(GearKind.BATCH, gears, shapes, "NCHW")
    assert caught.value.code == code


def test_a_misplaced_batch_names_value_and_axis_and_what_follows() -> None:
    with pytest.raises(AtcError) as caught:
        check(GearKind.BATCH, "1,2", {"a": (-1, 3, -1)}, "NCHW")
    assert caught.value.message.startswith("Value -1 for shape 2 is invalid.")
    assert "none of the nodes" in caught.value.trace[0]


def test_a_fixed_input_beside_a_batched_one_is_fine() -> None:
    check(GearKind.BATCH, "1,2,", {"a": (-1, 3), "b": (7,)}, "NCHW")


# --- --dynamic_image_size -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "text", "layout", "code"),
    [
        ({"a": (1, 3, -1, -1)}, "4,4;8,8", "ND", "E10003"),
        ({"a": (1, -1, -1)}, "4,4;8,8", "NCHW", "E10019"),
        ({"a": (-1, 3, -1, -1)}, "4,4;8,8", "NCHW", "E10019"),
        ({"a": (1, 3, 4, -1)}, "4,4;8,8", "NCHW", "E10019"),
        ({"a": (1, -1, -1, 3)}, "4,4;8,8", "NCHW", "E10019"),
        ({"a": (1, 3, 4, 4)}, "4,4;8,8", "NCHW", "E10019"),
        ({"a": (1, 3, -1, -1)}, "4,4:8,8", "NCHW", "E10003"),
        ({"a": (1, 3, -1, -1)}, "4,4;8", "NCHW", "E10020"),
        ({"a": (1, 3, -1, -1)}, "4,4;8,8,1", "NCHW", "E10020"),
    ],
)
def test_image_sizes_are_refused(
    shapes: dict[str, tuple[int, ...]], text: str, layout: str, code: str
) -> None:
    with pytest.raises(AtcError) as caught:
        check(IMAGE_SIZE, text, shapes, layout)
    assert caught.value.code == code


def test_image_sizes_beside_fixed_inputs_and_in_either_layout() -> None:
    check(IMAGE_SIZE, "4,4; 8,8;", {"a": (1, 3, -1, -1), "b": (), "c": (1, 3, 2, 2)}, "NCHW")
    check(IMAGE_SIZE, "4,4;8,8", {"a": (1, -1, -1, 3)}, "NHWC")


# --- --dynamic_dims -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "text", "code"),
    [
        ({"a": (1, 3)}, "1;2", "E10001"),
        ({"a": (-1, 3)}, ";", "E10058"),
        ({"a": (-1, 3), "b": (-1,)}, "1;2", "E10003"),
        ({"a": (-1, 3)}, "1,2;3,4", "E10003"),
        ({"a": (-1, 3)}, "1;-2", "E10001"),
        ({"a": (-1, 3)}, "1;x", "E10001"),
    ],
)
def test_dims_are_refused(shapes: dict[str, tuple[int, ...]], text: str, code: str) -> None:
    with pytest.raises(AtcError) as caught:
        check(DIMS, text, shapes, "ND")
    assert caught.value.code == code


def test_dims_count_over_all_inputs() -> None:
    check(DIMS, "1,2,3;4,5,6;", {"a": (-1, 3, -1), "b": (7,), "c": (-1,)}, "ND")


# --- the gears themselves -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "values"),
    [
        (BATCH, "1,2", ((1,), (2,))),
        (BATCH, "8,1,4,", ((8,), (1,), (4,))),
        (BATCH, "1,,2", ((1,), (2,))),
        (IMAGE_SIZE, "8,4; 4,8;", ((8, 4), (4, 8))),
        (DIMS, "1,2,3;4,5,6", ((1, 2, 3), (4, 5, 6))),
    ],
)
def test_gears_keep_their_order(kind: GearKind, text: str, values: tuple[tuple[int, ...], ...]) -> None:
    assert parse(kind, text) == Gears(kind, values)


@pytest.mark.parametrize(
    ("kind", "text", "code"),
    [
        (BATCH, "4", "E10035"),
        (BATCH, ",", "E10035"),
        (BATCH, ",".join(map(str, range(1, 102))), "E10036"),
        (BATCH, "0,1", "E10038"),
        (BATCH, "4,4", "E10039"),
        (BATCH, "1,99999999999999999999", "E10013"),
        (BATCH, "1," + "9" * 9999, "E10013"),
        (IMAGE_SIZE, "4,4", "E10035"),
        (IMAGE_SIZE, "4,4;4,4", "E10039"),
        (IMAGE_SIZE, "4,4;8,", "E10037"),
        (IMAGE_SIZE, "4,4;8,0", "E10038"),
        (IMAGE_SIZE, "4,4;8 8,8", "E10003"),
        (DIMS, "1,2;3,", "E10037"),
    ],
)
def test_gears_are_refused(kind: GearKind, text: str, code: str) -> None:
    with pytest.raises(AtcError) as caught:
        parse(kind, text)
    assert caught.value.code == code


def test_a_hundred_gears_are_allowed() -> None:
    assert len(parse(BATCH, ",".join(map(str, range(1, 101)))).values) == 100


# --- ranges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a:1,2", False), ("a:-1", True), ("a:1~2", True), ("in-1~2:1,2", False), ("", False), ("1,-1;2", True)],
)
def test_ranges_are_told_from_shapes(text: str, expected: bool) -> None:
    assert given_in(text) is expected


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("a:1~4,3,-1", Ranges({"a": ((1, 4), (3, 3), (1, -1))})),
        ("a:0: 2 ~ 4 ; b:7;c:", Ranges({"a:0": ((2, 4),), "b": ((7, 7),)})),
        ("-1,3;4~5", Ranges({}, (((1, -1), (3, 3)), ((4, 5),)))),
        ("-1;", Ranges({}, (((1, -1),),))),
    ],
)
def test_ranges_are_read(text: str, ranges: Ranges) -> None:
    assert parse_input_shape_ranges(text) == ranges


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("a:[1~4,3,-1]", Ranges({"a": ((1, 4), (3, 3), (1, -1))})),
        ("a:0:[2~4];b:[7];c:[]", Ranges({"a:0": ((2, 4),), "b": ((7, 7),), "c": ()})),
        ("[-1,3],[4~5], []", Ranges({}, (((1, -1), (3, 3)), ((4, 5),), ()))),
    ],
)
def test_ranges_of_the_older_option_are_read(text: str, ranges: Ranges) -> None:
    assert parse_bracketed_ranges(text) == ranges


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a:-1;b", "E10002"),
        (":-1", "E10002"),
        ("a:-1,x", "E10002"),
        ("x,-1", "E10002"),
        ("a:-1,", "E10048"),
        ("a:1~2~3", "E10048"),
        ("a:4~2", "E10048"),
        ("a:-1~2", "E10048"),
        ("a:-2", "E10048"),
        ("a:-1,0", "E10048"),
        ("a:1-2", "E10048"),
        ("a:1~99999999999999999999", "E10048"),
    ],
)
def test_ranges_are_refused(text: str, code: str) -> None:
    with pytest.raises(AtcError) as caught:
        parse_input_shape_ranges(text)
    assert caught.value.code == code


@pytest.mark.parametrize("text", ["a:1~4", "a:[1~4", "a:", "[1];[2]", "1~4", "a:[1],b", "a:[x]", "a:[[1]]"])
def test_ranges_of_the_older_option_are_refused(text: str) -> None:
    with pytest.raises(AtcError) as caught:
        parse_bracketed_ranges(text)
    assert caught.value.code == "E10048"


@given(st.text("0123456789-~,:;ab. []", max_size=24))
def test_any_text_of_ranges_is_read_or_refused_with_a_code(text: str) -> None:
    for parser in (parse_input_shape_ranges, parse_bracketed_ranges):
        try:
            ranges = parser(text)
        except AtcError as error:
            assert error.code in {"E10002", "E10048"}  # noqa: PT017 - either outcome is right
        else:
            for spans in (*ranges.by_name.values(), *ranges.by_place):
                assert all(low > 0 and (high == -1 or low <= high) for low, high in spans)


# --- hints ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "0:[1,3]", "0:[1, 3]; 2 : []", "1:[7,];"])
def test_hints_are_taken(text: str) -> None:
    check_hint_shape(text)


@pytest.mark.parametrize(
    "text", ["0", "x:[1]", "0:1", "0:[-1]", "0:[1];0:[2]", "0:[a]", "0:[1]:[2]", "0:[1 2]"]
)
def test_hints_are_refused(text: str) -> None:
    with pytest.raises(AtcError, match="E10014"):
        check_hint_shape(text)
