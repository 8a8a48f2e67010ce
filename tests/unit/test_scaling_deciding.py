"""How many replicas there are to be, for replicas that tell what they saw."""

from collections import namedtuple

import pytest

from ascend_serve.errors import ConfigError
from ascend_serve.scaling.deciding import HOLD_STARTS, Aims, Scaler
from ascend_serve.scaling.holding import Hold
from ascend_serve.scaling.startups import USUAL_S, Startups
from ascend_serve.scaling.told import Told, told_by

pytestmark = pytest.mark.unit

BEGIN = 1e9


class Deployment:
    """Replicas that bear 100 rows/s each and start in 5 s, under a rate that is set from outside."""

    def __init__(self, *, least=1, most=8, bears=(100.0,), aims=None, start_s=5.0):
        self.scaler = Scaler(aims)
        self.least, self.most, self.start_s = least, most, start_s
        self.bears = bears
        self.now = BEGIN
        self.running = {}
        self.starting = []
        self.made = 0
        self.queued = 0.0
        self._reports = {}
        self._served_at = {}
        self._became(least)
        for _ in range(least):
            self._serve()

    @property
    def target(self):
        return len(self.running) + len(self.starting)

    def go(self, seconds, rate, *, waiting=0.0):
        """Let time pass; what was decided last."""
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            while self.starting and self.starting[0] <= self.now:
                self._serve()
            for name, (came, bears) in self.running.items():
                came += rate * 0.5 / len(self.running)
                self.running[name] = (came, bears)
                age_s = self.now - self._served_at[name]
                told = Told(self.now, came, waiting / len(self.running), bears, 1.2 * bears, age_s)
                self._reports[name] = [*self._reports.get(name, [])[-3:], told]
            self._became(
                self.scaler.decide(
                    self.now,
                    {name: self._reports[name] for name in self.running},
                    running=list(self.running),
                    target=self.target,
                    queued=self.queued,
                    least=self.least,
                    most=self.most,
                )
            )
        return self.target

    def decide_anew(self):
        """Serve makes another policy where settings change, and where its controller starts again."""
        self.scaler = Scaler()
        self._reports = {}

    def _serve(self):
        self.starting.pop(0)
        self.running[f"r{self.made}"] = (0.0, self.bears[self.made % len(self.bears)])
        self._served_at[f"r{self.made}"] = self.now
        self.made += 1

    def _became(self, target):
        while self.target < target:
            self.starting.append(self.now + self.start_s)
        while self.target > target:
            if self.starting:
                self.starting.pop()
            else:
                del self.running[list(self.running)[-1]]


def test_a_load_that_one_bears_keeps_one():
    assert Deployment().go(60, 70.0) == 1


def test_a_steady_load_gets_as_many_as_bear_it():
    deployment = Deployment()
    assert deployment.go(60, 350.0) == 4
    assert deployment.go(60, 350.0) == 4


def test_a_step_is_answered_within_two_seconds():
    deployment = Deployment()
    deployment.go(30, 60.0)
    assert deployment.go(2, 480.0) >= 5


def test_a_ramp_is_answered_before_it_is_there():
    deployment = Deployment()
    deployment.go(60, 60.0)
    for second in range(40):
        deployment.go(1, 60.0 + 8.0 * second)
        if second >= 20:
            assert 110.0 * len(deployment.running) >= 60.0 + 8.0 * second


def test_what_was_needed_lately_is_kept_for_five_starts_and_then_given_up():
    deployment = Deployment()
    deployment.go(60, 380.0)
    hold_s = HOLD_STARTS * deployment.start_s
    assert deployment.go(hold_s - 4, 60.0) == 4
    assert deployment.go(8, 60.0) == 1


def test_the_hold_grows_to_bridge_a_gap_that_comes_back():
    deployment = Deployment()
    deployment.go(20, 60.0)
    for _ in range(3):
        deployment.go(10, 380.0)
        deployment.go(40, 60.0)
    assert deployment.target == 4
    assert deployment.go(10, 380.0) == 4


def test_no_more_than_there_may_be_and_no_fewer():
    deployment = Deployment(least=2, most=3)
    assert deployment.go(60, 900.0) == 3
    assert deployment.go(300, 0.0) == 2


def test_none_where_nothing_came_for_long_and_none_are_wanted():
    deployment = Deployment(aims=Aims(idle_s=30.0))
    deployment.least = 0
    deployment.go(20, 50.0)
    assert deployment.go(25, 0.0) == 1
    assert deployment.go(10, 0.0) == 0
    assert deployment.go(100, 0.0) == 0


def test_one_that_serves_again_is_not_given_up_before_it_has_told_of_anything():
    deployment = Deployment(aims=Aims(idle_s=30.0))
    deployment.least = 0
    deployment.go(20, 50.0)
    assert deployment.go(100, 0.0) == 0
    deployment._became(1)  # Serve wakes it by itself
    assert deployment.go(8, 50.0) == 1


def test_what_waits_outside_has_come_as_well():
    deployment = Deployment()
    deployment.go(30, 90.0)
    for _ in range(6):
        deployment.queued += 150.0
        deployment.go(0.5, 100.0)
    assert deployment.target >= 4


def test_a_replica_with_more_than_it_can_work_off_does_not_count():
    calm, swamped = Deployment(), Deployment()
    assert calm.go(40, 350.0) == 4
    swamped.go(40, 350.0)
    # Each clears 120 rows/s, and has work for longer than a start takes.
    assert swamped.go(1, 350.0, waiting=4 * 1000.0) > 4


def test_the_weakest_count_where_replicas_differ():
    # Two of 200 and 50 rows/s bear 250; a third one may be of either kind.
    deployment = Deployment(least=2, bears=(200.0, 50.0))
    assert deployment.go(40, 220.0) == 2
    assert deployment.go(40, 270.0) == 3


def test_headroom_is_kept():
    assert Deployment(aims=Aims(headroom=0.5)).go(60, 350.0) == 6


def test_who_begins_anew_counts_nothing_that_came_before():
    deployment = Deployment(least=4, most=4)
    deployment.go(1200, 3000.0)
    deployment.go(60, 300.0)
    deployment.decide_anew()
    deployment.most = 64
    assert {deployment.go(0.5, 300.0) for _ in range(300)} == {4}


def test_who_begins_anew_counts_what_replicas_saw_that_are_young():
    deployment = Deployment(least=4)
    deployment.go(20, 600.0)
    deployment.decide_anew()
    assert deployment.go(2, 600.0) >= 6


def test_who_begins_anew_keeps_those_there_are_until_it_knows_better():
    deployment = Deployment()
    assert deployment.go(60, 350.0) == 4
    deployment.decide_anew()
    assert deployment.go(HOLD_STARTS * USUAL_S - 1, 60.0) == 4
    assert deployment.go(3, 60.0) == 1


def test_replicas_that_serve_again_one_by_one_count_nothing_that_came_before():
    # Serve leaves those out that take a `user_config`, or are found again by a new controller.
    deployment = Deployment(most=64)
    assert deployment.go(600, 300.0) == 4
    deployment.decide_anew()
    all_of_them, deployment.running = deployment.running, {}
    for name, state in all_of_them.items():
        deployment.starting = [deployment.now + 60.0] * (4 - len(deployment.running))
        deployment.go(0.5, 300.0)
        deployment.running[name] = state
    deployment.starting.clear()
    deployment.go(1, 300.0)
    assert deployment.scaler._startups.expected_s == USUAL_S
    assert {deployment.go(0.5, 300.0) for _ in range(300)} <= {4, 5}


def test_a_replica_that_ran_before_it_was_asked_for_says_nothing_of_starts():
    startups = Startups()
    startups.look(100.0, 2, [])
    startups.look(101.0, 2, ["old", "new"])
    startups.began("old", 40.0)
    startups.began("new", 100.9)
    startups.look(102.0, 3, ["old", "new"])
    startups.look(109.0, 3, ["old", "new", "third"])
    assert startups.expected_s == 7.0
    startups.began("third", 90.0)
    assert startups.expected_s == 1.0


@pytest.mark.parametrize("name", ["idle_s", "headroom", "hold_s", "sure"])
@pytest.mark.parametrize("value", [-1.0, float("inf")])
def test_aims_are_finite_and_not_negative(name, value):
    with pytest.raises(ConfigError, match=f"{name} is"):
        Aims(**{name: value})


def test_starts_are_measured_from_asking_to_serving():
    startups = Startups()
    startups.look(0.0, 1, ["a"])
    assert startups.expected_s == USUAL_S
    startups.look(10.0, 3, ["a"])
    startups.look(17.0, 3, ["a", "b"])
    assert startups.expected_s == 7.0
    assert startups.serve_within_s(14.0) == [3.0]
    startups.look(22.0, 3, ["a", "b", "c"])
    assert startups.expected_s == 12.0
    assert startups.serve_within_s(22.0) == []


def test_a_replica_that_takes_the_place_of_a_dead_one_is_no_start_that_was_asked_for():
    startups = Startups()
    startups.look(0.0, 2, ["a", "b"])
    startups.look(50.0, 2, ["b"])
    startups.look(56.0, 2, ["b", "c"])
    assert startups.expected_s == 6.0


def test_the_most_of_the_last_seconds_is_held():
    hold = Hold()
    seen = [
        hold.keep(float(at), needed, least_s=5, most_s=100)
        for at, needed in enumerate([1, 3, 2, 1, 1, 1, 1, 1, 1])
    ]
    assert seen == [1, 3, 3, 3, 3, 3, 3, 2, 1]


def test_a_long_hold_shrinks_while_nobody_is_wanted_back():
    hold = Hold()
    hold.keep(0.0, 3, least_s=5, most_s=100)
    hold.keep(6.0, 1, least_s=5, most_s=100)
    hold.keep(30.0, 3, least_s=5, most_s=100)
    grown = hold.hold_s
    assert grown > 5
    for at in range(31, 700):
        hold.keep(float(at), 1, least_s=5, most_s=100)
    assert hold.hold_s == 5


def test_reports_are_put_together_by_their_time():
    point = namedtuple("point", "timestamp value")
    told = Told(1.0, 10.0, 2.0, 100.0, 120.0, 3.0)
    series = {name: {"a": [point(1.0, value), point(2.0, value + 1)]} for name, value in told.stats().items()}
    series["rows_waiting"]["a"].pop()
    series["running"] = {"a": [point(1.0, 5.0)], "b": [point(1.0, 5.0)]}
    assert told_by(series) == {"a": [told]}
