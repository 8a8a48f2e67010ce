"""Cheap values: each row's outputs are a function of that row's input bytes alone."""

import numpy as np
import pytest
from ascend_emulator.card.cheap import fill_output, row_sums
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit


@given(st.lists(st.binary(min_size=13, max_size=13), min_size=1, max_size=12))
def test_equal_rows_have_equal_sums_and_no_others_do(rows: list[bytes]) -> None:
    array = np.array([list(row) for row in rows], np.uint8)
    sums = row_sums([array])
    alone = [int(row_sums([array[i : i + 1]])[0]) for i in range(len(rows))]
    assert sums.tolist() == alone
    assert len(set(alone)) == len(set(rows))


def test_every_input_and_every_position_counts() -> None:
    one, two = np.arange(16, dtype=np.uint8).reshape(1, 16), np.zeros((1, 16), np.uint8)
    seen = {
        int(row_sums(inputs)[0]) for inputs in ([one, two], [two, one], [one, one], [two, two], [one], [two])
    }
    assert len(seen) == 4  # an input of zeros adds nothing, so [one, two] is [one] and [two, two] is [two]
    eye = np.eye(64, dtype=np.float32).view(np.uint8)
    assert len(np.unique(row_sums([eye]))) == 64


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int32", "int64", "uint8", "bool"])
def test_outputs_of_every_type_are_in_range_and_follow_their_row(dtype: str) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (32, 40), np.uint8)
    sums = row_sums([rows])
    output = np.zeros((32, 50), dtype)
    fill_output(sums, output)
    reverse = np.zeros((32, 50), dtype)
    fill_output(sums[::-1], reverse)
    assert (reverse[::-1] == output).all()
    assert len(np.unique(output, axis=0)) == 32 or dtype == "bool"
    assert output.min() >= 0
    assert output.max() <= (1 if dtype.startswith(("float", "bool")) else 99)
