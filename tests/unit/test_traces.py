"""Arrivals: random streams and recorded ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.errors import ConfigError
from ascend_serve.simulating.traces import Arrival, bursts, mean_rate_per_ms, poisson, read_trace

pytestmark = pytest.mark.unit


def test_a_poisson_stream_has_exponential_gaps_and_its_rate():
    times = np.array([arrival.at for arrival in poisson(500, 40, seed=1)])
    gaps = np.diff(times)
    assert len(times) == pytest.approx(20_000, rel=0.03)
    assert gaps.mean() == pytest.approx(1 / 500, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)
    assert gaps.min() >= 0
    assert (times[0] >= 0, times[-1] < 40) == (True, True)


def test_the_same_seed_gives_the_same_stream():
    assert poisson(100, 5, seed=9) == poisson(100, 5, seed=9) != poisson(100, 5, seed=8)
    assert bursts(10, 90, 1, 5, seed=9) == bursts(10, 90, 1, 5, seed=9) != bursts(10, 90, 1, 5, seed=8)


def test_bursts_take_turns():
    times = np.array([arrival.at for arrival in bursts(100, 900, 0.5, 40, seed=2)])
    low = (times % 1.0) < 0.5
    assert low.sum() / 20 == pytest.approx(100, rel=0.1)
    assert (~low).sum() / 20 == pytest.approx(900, rel=0.05)
    assert (np.diff(times) >= 0).all()


def test_columns_are_seconds_and_rows():
    assert read_trace(["seconds,rows\n", "2.5,3\n", "\n", "2.0\n"]) == [Arrival(0.0, 1), Arrival(0.5, 3)]


def test_json_has_the_names_of_an_arrival():
    lines = [
        '{"at": 10, "rows": 2, "fits": [1, 0], "deadline": 10.5, "priority": 1}',
        '{"at": 11, "leaves": 12}',
    ]
    assert read_trace(lines) == [
        Arrival(0.0, 2, (1, 0), 0.5, 1),
        Arrival(1.0, leaves=2.0),
    ]


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 64)), min_size=1, max_size=30))
def test_a_trace_is_read_as_it_was_written(written):
    begin = min(at for at, _ in written)
    read = read_trace(f"{at},{rows}" for at, rows in written)
    assert [(one.at, one.rows) for one in read] == sorted((at - begin, rows) for at, rows in written)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "no arrival"),
        (["seconds"], "no arrival"),
        (["0.1", "rows"], "line 2 of the trace is 'rows'"),
        (["0.1,2,3"], "3 columns"),
        (["0.1,0"], "its rows: 0 is no whole number of at least 1"),
        (["0.1,1.5"], "line 1"),
        (["1", "inf"], "line 2 of the trace is 'inf': its at: inf is no finite number"),
        (['{"when": 1}'], "line 1"),
        (["{broken"], "line 1"),
        (['{"at": 1, "rows": true}'], "its rows: True"),
        (["0.5", '{"at": "soon"}'], "line 2 .*its at: 'soon'"),
        (["0.5", '{"at": 1, "rows": 0}'], "line 2 .*its rows: 0"),
        (["0.5", '{"at": 1, "rows": 1e3}'], "line 2 .*its rows: 1000.0"),
        (["0.5", '{"at": 1, "fits": 0}'], "line 2 .*its fits: 0 is no list"),
        (["0.5", '{"at": 1, "fits": "01"}'], "line 2 .*its fits: '01' is no list"),
        (["0.5", '{"at": 1, "fits": [0.5]}'], "line 2 .*its fits: 0.5"),
        (["0.5", '{"at": 1, "fits": [-1]}'], "line 2 .*its fits: -1"),
        (["0.5", '{"at": 1, "fits": []}'], "line 2 .*its fits: it names no bucket"),
        (["0.5", '{"at": 1, "deadline": "2"}'], "line 2 .*its deadline: '2'"),
        (["0.5", '{"at": 1, "priority": 0}'], "line 2 .*its priority: 0"),
        (["0.5", '{"at": 1, "priority": 1.5}'], "line 2 .*its priority: 1.5"),
        (["0.5", '{"at": 1, "leaves": [2]}'], "line 2 .*its leaves: "),
        (["0.5", '{"at": 1, "leaves": 0.9}'], "line 2 .*leaves at 0.9 s, before it comes"),
        (["0.5", f"1,{'9' * 30}"], "line 2 .*its rows: 999"),
        (["0.5", f"1,{'9' * 200_000}"], "line 2 "),
    ],
)
def test_what_is_no_trace_is_refused(lines, words):
    with pytest.raises(ConfigError, match=words):
        read_trace(lines)


@pytest.mark.parametrize(
    "call", [lambda: poisson(0, 1, 1), lambda: poisson(5, -1, 1), lambda: bursts(1, 2, 0, 5, 1)]
)
def test_rates_and_lengths_are_above_zero(call):
    with pytest.raises(ConfigError, match="above 0"):
        call()


def test_the_mean_rate_counts_rows():
    assert mean_rate_per_ms([Arrival(0.0, 3), Arrival(2.0, 5)]) == pytest.approx(8 / 2000)
    assert mean_rate_per_ms([]) == 1e-3
