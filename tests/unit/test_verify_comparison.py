import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ascend_serve.spec.verification import Tolerance
from ascend_serve.verifying.comparison import compare, departures

pytestmark = pytest.mark.unit

FLOATS = st.floats(-1e6, 1e6, width=32)
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=5)
PAIRS = SHAPES.flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.float32, shape, elements=FLOATS) for _ in range(2)])
)
NO_BOUNDS = Tolerance(min_cosine=None)


@given(PAIRS)
def test_the_numbers_are_those_of_the_formulas(pair):
    a, b = (array.astype(np.float64) for array in pair)
    report = compare("y", *pair)
    rms = math.sqrt((a**2).mean())
    assert report.max_abs_error == np.abs(a - b).max()
    relative = [
        0.0 if x == y else abs(x - y) / size if (size := max(abs(x), rms)) else math.inf
        for x, y in zip(a.flat, b.flat, strict=True)
    ]
    assert report.max_rel_error == pytest.approx(max(relative), rel=1e-9)
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    wanted = 1.0 if (a == b).all() else (a * b).sum() / lengths if lengths else 0.0
    assert report.cosine == pytest.approx(wanted, abs=1e-9)
    assert (report.shape, report.fault) == (a.shape, "")


@given(PAIRS)
def test_top_1_is_the_share_of_rows_whose_choice_is_one_of_the_best(pair):
    a, b = pair
    report = compare("y", a, b)
    if a.shape[-1] < 2:
        assert report.top1 is None
        return
    rows = list(zip(a.reshape(-1, a.shape[-1]), b.reshape(-1, a.shape[-1]), strict=True))
    agreeing = [wanted[list(found).index(max(found))] == max(wanted) for wanted, found in rows]
    assert report.top1 == pytest.approx(sum(agreeing) / len(rows))


@given(hnp.arrays(st.sampled_from([np.float32, np.int64, np.bool_, np.float16, np.uint8]), SHAPES))
def test_an_array_is_like_itself(array):
    report = compare("y", array, array.copy())
    assert (report.max_abs_error, report.max_rel_error, report.cosine, report.fault) == (0, 0, 1, "")
    assert report.top1 in (None, 1.0)
    assert not list(departures(report, Tolerance(max_abs_error=0, max_rel_error=0, min_cosine=1, min_top1=1)))


@given(hnp.arrays(np.int64, SHAPES), st.data())
def test_whole_numbers_are_subtracted_exactly(a, data):
    b = data.draw(hnp.arrays(np.int64, a.shape))
    exact = max(abs(x - y) for x, y in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    assert compare("y", a, b).max_abs_error == float(exact)


def test_an_element_near_zero_is_measured_by_the_outputs_size():
    a = np.array([3.0, -3.0, 3.0, 1e-6])
    report = compare("y", a, a + np.array([0, 0, 0, 0.003]))
    assert report.max_rel_error == pytest.approx(0.003 / math.sqrt(27 / 4))


def test_an_error_beside_nothing_but_zeros_is_infinite():
    report = compare("y", np.zeros(3), np.array([0, 0, 1e-9]))
    assert (report.max_abs_error, report.max_rel_error, report.cosine) == (1e-9, math.inf, 0.0)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.bool_])
def test_nothing_is_like_nothing(dtype):
    empty = np.zeros((0, 4), dtype)
    report = compare("y", empty, empty)
    assert (report.max_abs_error, report.max_rel_error, report.cosine, report.top1) == (0, 0, 1, None)


def test_a_scalar_is_compared_too():
    report = compare("y", np.float32(2).reshape(()), np.float32(3).reshape(()))
    assert (report.shape, report.max_abs_error, report.max_rel_error, report.top1) == ((), 1, 0.5, None)


def test_truth_values_count_as_zero_and_one():
    report = compare("y", np.array([True, True, False, False]), np.array([True, False, False, False]))
    assert report.max_abs_error == 1
    assert report.cosine == pytest.approx(1 / math.sqrt(2))


def test_other_types_are_compared_by_value():
    report = compare("y", np.float32([1, 2]), np.float16([1, 2]))
    assert (report.max_abs_error, report.cosine) == (0, 1)


def test_another_shape_is_a_fault_that_every_tolerance_stops():
    report = compare("y", np.zeros((2, 3)), np.zeros((3, 2)))
    assert (report.max_abs_error, report.cosine, report.top1) == (None, None, None)
    assert list(departures(report, NO_BOUNDS)) == ["its shape is [3, 2], the source's [2, 3]"]


def test_what_is_not_finite_in_both_alike_agrees():
    odd = np.array([[math.nan, math.inf, -math.inf, 1.0]])
    report = compare("y", odd, odd.copy())
    assert (report.max_abs_error, report.max_rel_error, report.cosine, report.fault) == (0, 0, 1, "")


@pytest.mark.parametrize(
    ("expected", "got", "words"),
    [
        ([1, 2, 3], [1, math.inf, math.nan], "2 of 3 elements are not finite where the source's are"),
        ([1, math.inf, 3], [1, 65504, 3], "1 of 3 elements is not finite in the source alone"),
        (
            [math.inf, 1, 2],
            [-math.inf, 1, 2],
            "1 of 3 elements is not finite where the source's are; 1 of 3 elements is not finite in the source alone",
        ),
    ],
)
def test_what_is_not_finite_in_one_alone_is_a_fault(expected, got, words):
    report = compare("y", np.float32(expected), np.float32(got))
    assert (report.max_abs_error, report.max_rel_error) == (math.inf, math.inf)
    assert report.cosine == 1.0
    assert list(departures(report, NO_BOUNDS)) == [words]


def test_without_a_finite_element_in_both_there_is_no_cosine():
    assert compare("y", np.float32([1, 2]), np.float32([math.inf, math.nan])).cosine is None


def test_numbers_whose_squares_overflow_are_compared():
    a = np.array([1e300, 2e300])
    report = compare("y", a, a * 1.5)
    assert report.cosine == pytest.approx(1)
    assert report.max_rel_error == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ({"max_abs_error": 0.4}, "absolute error 0.5 is above 0.4"),
        ({"max_rel_error": 0.1}, "relative error 0.256 is above 0.1"),
        ({"min_cosine": 0.999}, "cosine similarity 0.98366"),
        ({"min_top1": 1.0}, "top-1 agreement 0 is below 1"),
        ({"min_cosine": 0.99999999}, "is below 0.99999999"),
    ],
)
def test_a_bound_that_is_passed_is_told_with_the_value(bound, words):
    report = compare("y", np.array([2.0, 1.9]), np.array([1.75, 2.4]))
    found = list(departures(report, Tolerance(**{"min_cosine": None, **bound})))
    assert len(found) == 1
    assert words in found[0]


def test_a_bound_that_is_just_met_lets_pass():
    report = compare("y", np.array([2.0, 2.0]), np.array([2.5, 2.0]))
    assert not list(departures(report, Tolerance(min_cosine=None, max_abs_error=0.5, max_rel_error=0.25)))
