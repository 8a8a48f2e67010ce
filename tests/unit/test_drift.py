"""How far costs have moved since warm-up, and what the engine tells its recorder of it."""

import pytest

from ascend_serve.batching.refining import CostBook
from ascend_serve.engine import engine
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages, Timing
from tests.unit.engine_bench import Bench, Notes, turns

pytestmark = pytest.mark.unit


def timing(ms: float) -> Timing:
    return Timing(Stages(0.5, ms, 0.5), 0.0, 7)


def test_what_was_never_measured_does_not_drift() -> None:
    assert CostBook([Gears((1, 4))], {}).drift() == {}


def test_drift_is_told_against_the_first_measurement_even_when_tables_were_handed_out_since() -> None:
    book = CostBook([Gears((1, 4))], {(0, 1): timing(1.0), (0, 4): timing(3.0)})
    assert book.drift() == {1: 1.0, 4: 1.0}
    for _ in range(200):
        book.update(0, 4, Stages(0.5, 5.0, 0.5))
        book.tables()
    assert book.drift() == {1: 1.0, 4: pytest.approx(1.5, abs=0.01)}


@pytest.mark.parametrize(("first", "second"), [(3.0, 1.0), (1.0, 3.0)])
def test_of_several_row_shapes_the_one_that_moved_most_counts(first: float, second: float) -> None:
    book = CostBook([Gears((4,)), Gears((4,))], {(0, 4): timing(1.0), (1, 4): timing(1.0)})
    for _ in range(300):
        book.update(0, 4, Stages(0.5, first, 0.5))
        book.update(1, 4, Stages(0.5, second, 0.5))
    assert book.drift() == {4: pytest.approx(2.0, abs=0.01)}


async def test_the_engine_tells_stages_with_each_batch_and_drift_with_each_flush(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "FLUSH_S", 0)
    told = []

    class Recorder(Notes):
        def batch_ended(self, gear, device_ms, stages):
            told.append(stages)

        def flush(self, queued_rows, drift):
            told.append(drift)

    bench = Bench(recorder=Recorder())
    bench.offer(1)
    await turns()
    bench.lane.run(Stages(0.0, 1.25, 0.0))
    await turns(6)
    assert told[0] == {1: 1.0, 4: 1.0, 8: 1.0}
    assert Stages(0.0, 1.25, 0.0) in told
    assert told[-1][1] > 1.0


async def test_a_refusal_is_told_with_its_rule() -> None:
    told = []

    class Recorder(Notes):
        def request_refused(self, rows, reason):
            told.append((rows, reason))

    bench = Bench(recorder=Recorder(), max_queued_rows=4)
    bench.offer(4).result.add_done_callback(lambda ended: ended.exception())
    with pytest.raises(Exception, match="rows"):
        bench.offer(3)
    assert told == [(3, "QueueFull")]
    bench.engine.pump()
    bench.lane.run()
    await turns()
