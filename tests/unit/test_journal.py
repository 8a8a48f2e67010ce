"""The journal: lines that come back as the events they were made of."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.journal import (
    Cancelled,
    Drained,
    Expired,
    Failed,
    FailedAll,
    Header,
    Landed,
    Offered,
    Refused,
    Retuned,
    Sealed,
    Told,
    decode,
    decode_all,
    encode,
)
from ascend_serve.batching.optimal import Optimal, Solved
from ascend_serve.batching.policy import POLICIES, Fixed, PadUp, policy_named
from ascend_serve.errors import ConfigError
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages

pytestmark = pytest.mark.unit

counts = st.integers(0, 10**6)
times = st.floats(0, 1e9)
sizes = st.integers(1, 600)
ms = st.floats(0, 1e4)
maybe_times = st.none() | times
priorities = st.none() | st.integers(1, 9)
fits = st.lists(st.integers(0, 20), min_size=1, max_size=4).map(tuple)


@st.composite
def tables(draw):
    gears = Gears.of(draw(st.sets(st.integers(1, 512), min_size=1, max_size=5)))
    stage = st.lists(ms, min_size=len(gears), max_size=len(gears)).map(tuple)
    compute = st.lists(st.floats(1e-3, 1e4), min_size=len(gears), max_size=len(gears)).map(tuple)
    return CostTable(gears, draw(compute), draw(stage), draw(stage), draw(ms), draw(st.booleans()))


many_tables = st.lists(tables(), min_size=1, max_size=3).map(tuple)
told = st.sampled_from(
    [
        PadUp(),
        Fixed(4),
        Optimal(),
        Optimal("tail", 12.5),
        policy_named("fixed_wait", wait_ms=2.5),
        policy_named("min_cost"),
    ]
).map(Told.of)
pieces = st.lists(st.tuples(counts, counts, st.integers(1, 600)), max_size=5).map(tuple)
events = st.one_of(
    st.builds(
        Header, many_tables, told, st.integers(1, 4), sizes, priorities, st.integers(1, 9), st.booleans(), ms
    ),
    st.builds(Offered, times, counts, st.integers(1, 600), fits, maybe_times, priorities),
    st.builds(
        Refused,
        times,
        st.integers(1, 600),
        fits,
        maybe_times,
        priorities,
        st.sampled_from(["QueueFull", "Draining"]),
    ),
    st.builds(Cancelled, times, counts),
    st.builds(Expired, times, st.lists(counts, max_size=4).map(tuple)),
    st.builds(Sealed, times, counts, counts, sizes, sizes, pieces),
    st.builds(Landed, times, counts, st.none() | st.builds(Stages, ms, ms, ms)),
    st.builds(Failed, times, counts),
    st.builds(FailedAll, times),
    st.builds(Drained, times),
    st.builds(Retuned, times, many_tables, told),
)


@given(events)
def test_an_event_comes_back_from_its_line(event):
    line = encode(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    back = decode(line)
    assert (type(back), back) == (type(event), event)


def test_a_line_can_be_read_by_people():
    assert encode(Sealed(1.5, 0, 0, 8, 7, ((3, 0, 7),))) == (
        b'{"event":"sealed","at":1.5,"slot":0,"bucket":0,"gear":8,"rows":7,"pieces":[[3,0,7]]}\n'
    )
    assert encode(Landed(2.0, 1, Stages(0.1, 4.4, 0.2))) == (
        b'{"event":"landed","at":2.0,"slot":1,"stages":{"copy_in_ms":0.1,"compute_ms":4.4,"copy_out_ms":0.2}}\n'
    )


@given(st.lists(events, max_size=6))
def test_a_journal_of_lines_is_its_events(noted):
    assert list(decode_all(map(encode, noted))) == noted


def test_an_unfinished_last_line_is_left_out():
    lines = [encode(Drained(1.0)), encode(Cancelled(2.0, 7))[:-9]]
    assert list(decode_all(lines)) == [Drained(1.0)]


@pytest.mark.parametrize(
    "lines",
    [
        [encode(Drained(1.0)), b'{"event":"dra\n', encode(Drained(2.0))],
        [encode(Drained(1.0)), b'{"event":"dra', encode(Drained(2.0))],
        [encode(Drained(1.0)), b'{"event":"dra\n'],
    ],
)
def test_any_other_broken_line_is_told_with_its_number(lines):
    with pytest.raises(ConfigError, match=r"^line 2: not a line of a journal"):
        list(decode_all(lines))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("7", "its event is none of"),
        ('{"event": "melted"}', "its event is none of"),
        ('{"event": ["sealed"]}', "its event is none of"),
        ('{"event": "drained"}', "not a right line"),
        ('{"event": "drained", "at": "soon"}', "not a right line"),
        ('{"event": "drained", "at": 1, "by": "me"}', "not a right line"),
        (
            '{"event": "sealed", "at": 1, "slot": 0, "bucket": 0, "gear": 1, "rows": 1, "pieces": [[1]]}',
            "not a right",
        ),
        ('{"event": "header", "schema": 1}', "reads schema 2"),
        ('{"event": "header"}', "has schema None"),
        (
            '{"event": "retuned", "at": 1, "tables": [{"gears": [], "ms": [], "copy_in_ms": [], "copy_out_ms": [],'
            ' "host_ms": 0, "overlap": true}], "policy": {}}',
            "gears is empty",
        ),
    ],
)
def test_what_is_no_line_of_a_journal_is_refused(line, words):
    with pytest.raises(ConfigError, match=words):
        decode(line)


HEADER = encode(
    Header((CostTable.of(Gears((1, 4)), {1: 1.0, 4: 2.0}),), Told.of(PadUp()), slots=2, max_queued_rows=9)
)
LINES = {
    "header": orjson.loads(HEADER),
    "offered": orjson.loads(encode(Offered(1.0, 0, 1))),
    "sealed": orjson.loads(encode(Sealed(1.5, 0, 0, 8, 7, ((3, 0, 7),)))),
    "landed": orjson.loads(encode(Landed(2.0, 1, Stages(0.1, 4.4, 0.2)))),
    "expired": orjson.loads(encode(Expired(2.0, (1,)))),
    "refused": orjson.loads(encode(Refused(1.0, 1, (0,), None, None, "QueueFull"))),
}
TABLE = LINES["header"]["tables"][0]


@pytest.mark.parametrize(
    ("event", "field", "value"),
    [
        ("offered", "at", True),
        ("offered", "at", None),
        ("offered", "at", "1.0"),
        ("offered", "rows", 0),
        ("offered", "rows", 1.5),
        ("offered", "rows", "2"),
        ("offered", "rows", 10**19),
        ("offered", "fits", []),
        ("offered", "fits", 0),
        ("offered", "fits", "01"),
        ("offered", "fits", [-1]),
        ("offered", "fits", [0.0]),
        ("offered", "deadline", "soon"),
        ("offered", "priority", 0),
        ("offered", "priority", 1.0),
        ("offered", "ticket", -1),
        ("refused", "reason", None),
        ("expired", "tickets", 3),
        ("expired", "tickets", ["3"]),
        ("sealed", "slot", [0]),
        ("sealed", "gear", 0),
        ("sealed", "bucket", {}),
        ("sealed", "pieces", {"3": 1}),
        ("sealed", "pieces", [[3, 0, 0]]),
        ("sealed", "pieces", [["3", 0, 7]]),
        ("landed", "stages", [1, 2, 3]),
        ("landed", "stages", {"copy_in_ms": 0.1, "compute_ms": None, "copy_out_ms": 0.2}),
        ("header", "slots", 0),
        ("header", "in_flight", 0),
        ("header", "deferred", 1),
        ("header", "tables", TABLE),
        ("header", "tables", [TABLE | {"ms": [1.0]}]),
        ("header", "tables", [TABLE | {"ms": [0.0, 2.0]}]),
        ("header", "tables", [TABLE | {"ms": [-1.0, 2.0]}]),
        ("header", "tables", [TABLE | {"gears": ["1", "4"]}]),
        ("header", "tables", [{}]),
        ("header", "policy", "pad_up"),
        ("header", "policy", {"name": "pad_up", "options": [], "prepared": False}),
        ("header", "policy", {"name": "pad_up", "options": {"name": "fixed"}, "prepared": False}),
        ("header", "policy", {"name": "pad", "options": {}, "prepared": False}),
        ("header", "policy", {"name": ["pad_up"], "options": {}, "prepared": False}),
        ("header", "policy", {"name": "optimal", "options": {"objective": []}, "prepared": False}),
    ],
)
def test_every_field_is_checked_and_told_with_its_line(event, field, value):
    line = orjson.dumps(LINES[event] | {field: value}, option=orjson.OPT_APPEND_NEWLINE)
    with pytest.raises(ConfigError, match=f"^line 2: not a right line of a journal: .*: its {field}: "):
        list(decode_all([HEADER, line]))


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_can_be_told_and_made_again(name):
    policy = policy_named(name)
    told = Told.of(policy)
    assert told.name == name
    assert told.policy(()) == policy
    assert told.shown() == name


def test_a_solved_policy_is_told_with_its_options_and_solved_again():
    table = CostTable.of(Gears((1, 4)), {1: 1.0, 4: 2.0})
    solved = Optimal("tail", 8.0).prepared((table,))
    told = Told.of(solved)
    assert told.prepared
    assert told.shown() == "optimal:objective=tail,slo_ms=8.0"
    again = told.policy((table,))
    assert isinstance(again, Solved)
    assert again == solved


def test_a_policy_of_nobody_knows_what_cannot_be_kept():
    class Own(PadUp):
        pass

    with pytest.raises(ConfigError, match="has no name that a journal could keep"):
        Told.of(Own())
