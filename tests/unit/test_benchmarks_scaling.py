"""The simulated cluster of the benchmark of autoscaling, and its loads."""

import numpy as np
import pytest

from ascend_serve.scaling.bearing import Service
from benchmarks.scaling_cluster import Cluster, Nodes
from benchmarks.scaling_traces import GRID_S, NAMES, load

pytestmark = pytest.mark.unit


def service(seconds):
    return Service((1, 1), (seconds, seconds), (seconds, seconds))


def cluster(
    arrivals, seconds=100.0, *, replicas=1, npus=4, takes_s=1.0, slo_s=1.5, drain_s=0.0, most_waiting=256
):
    nodes = Nodes(npus, service(takes_s), slo_s, (5.0, 5.0), drain_s, most_waiting)
    return Cluster(nodes, arrivals, seconds, replicas)


def test_rows_are_late_that_wait_for_more_than_the_slo():
    ran = cluster([0.0, 0.0, 0.0, 50.0]).finish()
    assert (ran.rows, ran.late) == (4, 2)
    assert ran.npu_s == 100.0


def test_they_go_to_who_has_the_fewest_under_way():
    ran = cluster([0.0, 0.0, 0.1, 0.1, 2.5], replicas=2, slo_s=2.0).finish()
    assert ran.late == 0
    assert cluster([0.0, 0.0, 0.1, 0.1], replicas=1, slo_s=2.0).finish().late == 2


def test_more_than_may_wait_is_refused():
    ran = cluster([0.0] * 10, slo_s=100.0, most_waiting=3).finish()
    assert ran.late == 6


def test_a_replica_serves_once_it_has_started_and_holds_its_npu_from_when_it_was_asked_for():
    one = cluster([12.0, 12.0], slo_s=1.2)
    one.advance(10.0)
    one.scale(10.0, 2)
    assert (len(one.running), len(one.starting)) == (1, 1)
    ran = one.finish()
    assert ran.late == 1  # the second replica serves from 15 s on
    assert ran.npu_s == pytest.approx(190.0)
    assert ran.starts == 1


def test_what_is_given_up_finishes_its_work_and_then_drains():
    one = cluster([0.0, 0.0], replicas=2, drain_s=3.0)
    one.advance(0.5)
    one.scale(0.5, 1)
    ran = one.finish()
    assert ran.late == 0
    assert ran.npu_s == pytest.approx(103.5)


def test_a_start_waits_for_an_npu_that_drains():
    one = cluster([], replicas=2, npus=2, drain_s=10.0)
    one.scale(0.0, 1)
    one.scale(1.0, 2)
    for second in range(1, 30):
        one.advance(float(second))
    assert one.running[-1].since == pytest.approx(10.0)
    assert one.running[-1].ready_at == pytest.approx(15.0)


def test_rows_are_held_while_nobody_serves():
    one = cluster([1.0, 2.0], replicas=0, slo_s=10.0)
    one.advance(3.0)
    assert one.held == [1.0, 2.0]
    one.scale(3.0, 1)
    assert one.finish().late == 0
    assert cluster([1.0, 2.0], replicas=0).finish().late == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_load_is_the_same_for_the_same_seed_and_comes_at_its_rate(name):
    first, again, other = load(name, 1), load(name, 1), load(name, 2)
    assert first.arrivals == again.arrivals
    assert first.arrivals != other.arrivals
    assert len(first.arrivals) == pytest.approx(first.rates_per_s.sum() * GRID_S, rel=0.02)
    assert first.arrivals == sorted(first.arrivals)
    assert first.arrivals[0] >= 0
    assert first.arrivals[-1] < first.seconds


def test_a_step_is_where_it_is_said_to_be():
    coming = np.array(load("step", 1).arrivals)
    assert ((coming >= 58) & (coming < 60)).sum() == pytest.approx(120, abs=50)
    assert ((coming >= 60) & (coming < 62)).sum() == pytest.approx(1200, abs=150)


def test_a_load_can_be_scaled_and_sped_up():
    slow, quick = load("step", 1), load("step", 1, scale=0.5, speed=6.0)
    assert quick.seconds == pytest.approx(slow.seconds / 6)
    assert len(quick.arrivals) == pytest.approx(len(slow.arrivals) / 12, rel=0.05)
