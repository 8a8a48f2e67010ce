from __future__ import annotations

import pytest
from ascend_emulator.om_attributes import Attribute, put_attributes, put_entry
from ascend_emulator.om_compression import (
    DICTIONARY,
    Compressor,
    Expander,
    decode_number,
    encode_number,
)
from ascend_emulator.protobuf import Message, fields
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("number", "key"),
    [(0, "\0\1"), (1, "\0\2"), (126, "\0\x7f"), (127, "\0\1\2"), (128, "\0\2\2"), (127**2, "\0\1\1\2")],
)
def test_numbers_are_digits_of_base_127_with_the_lowest_first(number: int, key: str) -> None:
    assert encode_number(number) == key
    assert decode_number(key) == number


@given(st.integers(0, 2**32))
def test_a_key_holds_one_zero_and_seven_bits_a_character(number: int) -> None:
    key = encode_number(number)
    assert decode_number(key) == number
    assert key.count("\0") == 1
    assert key.isascii()


@pytest.mark.parametrize("key", ["", "\0", "plain", "\0\0", "\0\x80"])
def test_other_keys_are_no_numbers(key: str) -> None:
    with pytest.raises(ValueError, match="coded name"):
        decode_number(key)


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
texts = st.text(max_size=6) | st.lists(st.text(max_size=6), max_size=3)
others = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(width=32, allow_nan=False)
    | st.binary(max_size=4)
    | st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=3)
    | st.lists(st.booleans(), min_size=1, max_size=3)
    | st.dictionaries(names, st.integers(-5, 5) | st.text(max_size=3), max_size=2)
)


@st.composite
def models(draw: st.DrawFn) -> list[dict[str, Attribute]]:
    """Attributes of some ops; a name holds text in all of them or in none."""
    known = draw(st.lists(st.tuples(names, st.sampled_from([texts, others])), unique_by=lambda pair: pair[0]))
    ops: list[dict[str, Attribute]] = []
    for _ in range(draw(st.integers(0, 4))):
        chosen = [pair for pair in known if draw(st.booleans())]
        ops.append({name: draw(values) for name, values in chosen})
    return ops


def through_the_file(attributes: dict[str, Attribute]) -> dict[str, Attribute]:
    message = Message()
    put_attributes(message, 1, attributes)
    found: dict[str, Attribute] = {}
    for _, entry in fields(memoryview(bytes(message))):
        assert isinstance(entry, memoryview)
        put_entry(found, entry)
    return found


@given(models())
def test_what_is_coded_and_written_comes_back(ops: list[dict[str, Attribute]]) -> None:
    compressor = Compressor()
    coded = [compressor.code(op) for op in ops]
    assert all(key.startswith("\0") for op in coded for key in op)
    assert not any(isinstance(value, str) for op in coded for value in op.values())
    dictionary = compressor.dictionary()
    assert set(dictionary) == (DICTIONARY if any(ops) else set())
    expander = Expander(through_the_file(dictionary))
    assert [expander.expand(through_the_file(op)) for op in coded] == ops


def test_each_name_and_text_is_listed_once_in_the_order_it_came_up() -> None:
    compressor = Compressor()
    compressor.code({"b": "y", "a": 1})
    assert compressor.code({"a": 2, "c": ["y", "x"]}) == {"\0\2": 2, "\0\3": [0, 1]}
    assert compressor.dictionary() == {
        "om_compress_version": 1,
        "attr_name_enum": ["b", "a", "c"],
        "attr_value_enum": ["y", "x"],
        "attrs_use_string_value": [True, False, True],
    }


def test_a_name_that_is_text_only_sometimes_cannot_be_coded() -> None:
    compressor = Compressor()
    compressor.code({"a": "text"})
    with pytest.raises(ValueError, match="'a' is text in one place"):
        compressor.code({"a": 1})


def test_plain_names_pass_whatever_the_lists_say() -> None:
    assert Expander({}).expand({"a": 1, "b": "x"}) == {"a": 1, "b": "x"}


LISTS: dict[str, Attribute] = {
    "om_compress_version": 1,
    "attr_name_enum": ["a"],
    "attr_value_enum": ["x"],
    "attrs_use_string_value": [True],
}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("\0\2", 0, "name 1 is not among the 1"),
        ("\0\1", 1, "value 1 is not among the 1"),
        ("\0\1", -1, "value -1 is not among"),
        ("\0\1", [0, 7], "value 7 is not among"),
        ("\0\1", "x", "is no number"),
        ("\0", 0, "no coded name"),
    ],
)
def test_what_the_lists_lack_is_refused(key: str, value: Attribute, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Expander(LISTS).expand({key: value})


@pytest.mark.parametrize(
    "change",
    [
        {"attrs_use_string_value": [True, False]},
        {"attr_name_enum": "a"},
        {"attrs_use_string_value": 1},
    ],
)
def test_lists_that_do_not_fit_each_other_are_refused(change: dict[str, Attribute]) -> None:
    with pytest.raises(ValueError, match="attr"):
        Expander({**LISTS, **change})
