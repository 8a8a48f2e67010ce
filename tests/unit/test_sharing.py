"""Who goes next among the models of one lane, played with batches that take as long as the test says."""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.sharing import Member, Share
from ascend_serve.errors import ConfigError

pytestmark = pytest.mark.unit


@dataclass(eq=False)
class Model:
    """A model that has `waiting` batches of `batch_ms`; without end when it is None."""

    name: str
    batch_ms: float
    weight: float = 1.0
    waiting: int | None = None
    used_ms: float = 0.0
    member: Member = field(init=False)


class Device:
    """A device that runs one batch at a time, in the order of their starts."""

    def __init__(self, in_flight: int = 2) -> None:
        self.share = Share(in_flight)
        self.now = 0.0
        self.started: list[str] = []
        self.free_at = 0.0
        self.ends: list[tuple[float, int, Model]] = []
        self.numbers = count()
        self.models: list[Model] = []

    def join(self, model: Model) -> Model:
        def turn() -> float | None:
            if model.waiting == 0:
                return None
            if model.waiting is not None:
                model.waiting -= 1
            self.started.append(model.name)
            self.free_at = max(self.free_at, self.now) + model.batch_ms
            heappush(self.ends, (self.free_at, next(self.numbers), model))
            return model.batch_ms

        model.member = self.share.join(turn, model.weight)
        self.models.append(model)
        return model

    def land(self, measured_ms: float | None = None) -> None:
        """Let the oldest batch come back, and the next ones start."""
        self.now, _, model = heappop(self.ends)
        model.used_ms += model.batch_ms if measured_ms is None else measured_ms
        self.share.landed(model.member, model.batch_ms, measured_ms)
        self.share.dispatch()


batch_ms = st.floats(0.5, 20.0)
weight = st.floats(0.25, 8.0)


@given(
    st.lists(st.tuples(batch_ms, weight), min_size=2, max_size=4),
    st.integers(1, 3),
    st.integers(1, 200),
)
def test_models_that_always_want_the_device_get_it_by_weight_within_one_batch(
    settings: list[tuple[float, float]], in_flight: int, batches: int
) -> None:
    device = Device(in_flight)
    models = [device.join(Model(str(n), *setting)) for n, setting in enumerate(settings)]
    device.share.dispatch()
    for _ in range(batches):
        device.land()
    # What is at the lane was granted too.
    granted = {model.name: model.used_ms for model in models}
    for _, _, model in device.ends:
        granted[model.name] += model.batch_ms
    for one in models:
        for other in models:
            apart = granted[one.name] / one.weight - granted[other.name] / other.weight
            assert apart <= one.batch_ms / one.weight + other.batch_ms / other.weight + 1e-6


@given(batch_ms, batch_ms, weight, st.integers(1, 100), st.integers(1, 3))
def test_one_that_comes_back_from_a_pause_goes_next_and_has_saved_up_nothing(
    busy_ms: float, back_ms: float, busy_weight: float, before: int, in_flight: int
) -> None:
    device = Device(in_flight)
    busy = device.join(Model("busy", busy_ms, busy_weight))
    back = device.join(Model("back", back_ms, waiting=0))
    device.share.dispatch()
    for _ in range(before):
        device.land()
    back.waiting = None
    started = len(device.started)
    device.share.dispatch()
    device.land()
    assert device.started[started] == "back"
    at_return = busy.used_ms
    back.used_ms = 0.0
    for _ in range(200):
        device.land()
    most = back.member.weight * (busy.used_ms - at_return) / busy_weight
    # In flight when it came back, one batch of each, and one of each at the end.
    slack = back_ms * 2 + back.member.weight * busy_ms * (in_flight + 2) / busy_weight
    assert back.used_ms <= most + slack


def test_equal_models_take_turns() -> None:
    device = Device(1)
    device.join(Model("a", 2.0))
    device.join(Model("b", 2.0))
    device.share.dispatch()
    for _ in range(5):
        device.land()
    assert device.started == ["a", "b", "a", "b", "a", "b"]


def test_two_to_one_is_two_to_one() -> None:
    device = Device(1)
    device.join(Model("a", 1.0, weight=2.0))
    device.join(Model("b", 1.0))
    device.share.dispatch()
    for _ in range(29):
        device.land()
    assert (device.started.count("a"), device.started.count("b")) == (20, 10)


def test_what_one_does_not_want_the_other_gets() -> None:
    device = Device()
    device.join(Model("idle", 1.0, waiting=0))
    device.join(Model("busy", 1.0, waiting=7))
    device.share.dispatch()
    while device.ends:
        device.land()
    assert device.started == ["busy"] * 7
    assert device.share.running_batches == 0


def test_no_more_batches_are_at_the_lane_than_may() -> None:
    device = Device(in_flight=2)
    for name in "abc":
        device.join(Model(name, 1.0))
    device.share.dispatch()
    for _ in range(20):
        assert device.share.running_batches == len(device.ends) == 2
        device.land()


def test_what_a_batch_took_in_truth_counts_in_the_end() -> None:
    device = Device(1)
    device.join(Model("slow", 1.0))
    device.join(Model("right", 1.0))
    device.share.dispatch()
    for _ in range(40):
        slow = device.ends[0][2].name == "slow"
        device.land(4.0 if slow else 1.0)
    slow_ms = 4.0 * device.started.count("slow")
    assert slow_ms == pytest.approx(device.started.count("right"), abs=5.0)


def test_a_quiet_moment_forgets_what_was_used() -> None:
    device = Device(1)
    device.join(Model("early", 1.0, waiting=100))
    late = device.join(Model("late", 1.0, waiting=0))
    device.share.dispatch()
    while device.ends:
        device.land()
    device.models[0].waiting = late.waiting = 3
    started = len(device.started)
    device.share.dispatch()
    while device.ends:
        device.land()
    assert sorted(device.started[started : started + 2]) == ["early", "late"]


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_is_above_nothing(weight: float) -> None:
    with pytest.raises(ConfigError, match="the weight of a model is"):
        Share(1).join(lambda: None, weight)


def test_at_least_one_batch_may_be_in_flight() -> None:
    with pytest.raises(ConfigError, match="in_flight is 0"):
        Share(0)
