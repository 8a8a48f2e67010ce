"""Serve's side of autoscaling by capacity, and the benchmark's model of Ray's autoscaler; no cluster is needed."""

import logging
import math
from collections.abc import Iterator
from typing import Any

import pytest

from ascend_serve.errors import ConfigError
from ascend_serve.scaling.bearing import Service
from ascend_serve.scaling.told import Told
from benchmarks.scaling_cluster import Cluster, Nodes

pytestmark = pytest.mark.serve

BEARING = Told(0.0, 0.0, 0.0, 100.0, 120.0)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("ray.serve")
    level = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(level)


def context(*, rows_per_s: float, replicas: int, at: float) -> Any:
    """What Serve tells a policy when each replica has reported every half second for ten."""
    from ray.serve._private.common import DeploymentID, ReplicaID, TimeStampedValue
    from ray.serve.config import AutoscalingContext

    deployment = DeploymentID(name="AscendModel", app_name="app")
    ids = [ReplicaID(f"r{number}", deployment) for number in range(replicas)]
    raw: dict[str, dict[Any, list[Any]]] = {}
    for half in range(21):
        then = at - 10 + half / 2
        told = BEARING._replace(came=rows_per_s * half / 2 / replicas)
        for name, value in told.stats().items():
            for replica in ids:
                raw.setdefault(name, {}).setdefault(replica, []).append(TimeStampedValue(then, value))
    return AutoscalingContext(
        deployment_id=deployment,
        deployment_name="AscendModel",
        app_name="app",
        current_num_replicas=replicas,
        target_num_replicas=replicas,
        running_replicas=ids,
        total_num_requests=0.0,
        total_queued_requests=0.0,
        aggregated_metrics={},
        raw_metrics=raw,
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=8,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=at,
        config=None,
    )


def scaling_config(options: dict[str, Any]) -> Any:
    from ascend_serve.serving.serve_file import autoscaling_config

    return autoscaling_config({"policy": "capacity", **options}, 1)


def test_serve_makes_the_policy_from_its_name_and_it_decides_from_what_replicas_told() -> None:
    from ray.serve._private.autoscaling_state import _resolve_policy_callable

    config = scaling_config({"slo_ms": 50, "max_replicas": 8, "grow_cluster": True})
    assert (config.upscale_delay_s, config.downscale_delay_s, config.metrics_interval_s) == (0, 0, 1)
    policy = _resolve_policy_callable(config.policy)
    assert policy(context(rows_per_s=450.0, replicas=4, at=1e9)) == (5, {})


def test_a_users_delays_hold() -> None:
    assert scaling_config({"slo_ms": 50, "max_replicas": 8, "downscale_delay_s": 60}).downscale_delay_s == 60


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_replicas": 2}, "key 'slo_ms' is missing"),
        ({"slo_ms": 50, "max_replica": 2}, "did you mean 'max_replicas'"),
        ({"slo_ms": 0, "max_replicas": 2}, "slo_ms"),
        ({"slo_ms": 50, "max_replicas": 2, "target_ongoing_requests": 3}, "unknown key"),
        ({"slo_ms": 50, "max_replicas": 2, "good": 1}, "good"),
        ({"slo_ms": 50, "max_replicas": 2, "min_replicas": 3}, r"max_replicas \(2\) must be greater"),
    ],
)
def test_what_is_wrong_with_its_settings_is_told(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        scaling_config(options)


class Known:
    """Stands for the thread that looks for NPUs."""

    def __init__(self, total: float | None, free: float) -> None:
        self.looks, self.total, self.free = 10, total, free

    def keep_looking(self, owner: object) -> None:
        pass

    def read(self) -> tuple[int, float | None, float]:
        return self.looks, self.total, self.free


def npus(known: Known, each: float = 1.0) -> Any:
    from ascend_serve.serving.autoscaling import Npus

    return Npus(each, known)  # type: ignore[arg-type]  # it has what is used of one


def test_no_more_are_wanted_than_there_are_npus() -> None:
    from ascend_serve.serving.autoscaling import CapacityPolicy

    policy = CapacityPolicy()
    policy._npus = npus(Known(4.0, 3.0))
    assert policy(context(rows_per_s=700.0, replicas=1, at=1e9))[0] == 4


def test_npus_of_others_are_not_counted_and_those_that_start_are_not_mistaken_for_theirs() -> None:
    known = Known(None, 0.0)
    found = npus(known)
    assert found.room(1, 1) > 1000  # nothing is known yet
    known.total, known.free = 8.0, 5.0
    assert found.room(1, 1) == 6  # one is ours, five are free, two are another's
    known.free, known.looks = 1.0, 11
    assert found.room(1, 5) == 6  # four start, which hold theirs already
    known.looks = 12
    assert found.room(5, 5) == 6  # the last look may be of before they ran
    known.looks = 14
    assert found.room(5, 5) == 6
    known.free, known.looks = 0.0, 15
    assert found.room(5, 5) == 5  # another took one


def test_a_part_of_an_npu_holds_several() -> None:
    assert npus(Known(2.0, 1.7), 0.1).room(3, 3) == 20


def one_at_a_time(seconds: float) -> Service:
    return Service((1, 1), (seconds, seconds), (seconds, seconds))


def scaled(arrivals: list[float], seconds: float, **options: Any) -> list[tuple[float, int]]:
    """How many replicas held an NPU, under Ray's own policy; starts take a second."""
    from ray.serve.config import AutoscalingConfig

    from benchmarks.scaling_ray import Autoscaler

    nodes = Nodes(4, one_at_a_time(1.0), 10.0, (1.0, 1.0), drain_s=0.0)
    cluster = Cluster(nodes, arrivals, seconds)
    return Autoscaler(AutoscalingConfig(max_replicas=4, **options), cluster, BEARING).run(seconds).replicas


def test_rays_policy_sees_what_replicas_report_when_they_report_it() -> None:
    # 8 rows of a second each come at 0.25 s. Reports go out at 0, 2 and 4 s, each just before a sample is taken: so the
    # first that has any of them in it is that of 4 s, with the 7 that were left at 2 s.
    changes = scaled(
        [0.25] * 8,
        6.0,
        target_ongoing_requests=4,
        upscale_delay_s=0,
        downscale_delay_s=60,
        metrics_interval_s=2,
        look_back_period_s=60,
        aggregation_function="max",
    )
    at, replicas = next(change for change in changes if change[1] > 1)
    assert at == pytest.approx(4.0, abs=0.2)
    assert replicas == 2


def test_rays_delay_is_waited_for() -> None:
    changes = scaled(
        [0.05] * 30,
        9.0,
        target_ongoing_requests=4,
        upscale_delay_s=3,
        downscale_delay_s=60,
        metrics_interval_s=1,
        look_back_period_s=3,
    )
    at, _ = next(change for change in changes if change[1] > 1)
    assert at == pytest.approx(1.6 + 3.0, abs=1.1)


def test_a_request_wakes_a_deployment_that_has_no_replica() -> None:
    from ray.serve.config import AutoscalingConfig

    from benchmarks.scaling_ray import Autoscaler

    nodes = Nodes(4, one_at_a_time(0.1), 1.0, (2.0, 2.0), drain_s=0.0)
    cluster = Cluster(nodes, [5.0], 20.0, replicas=0)
    config = AutoscalingConfig(min_replicas=0, max_replicas=4)
    ran = Autoscaler(config, cluster, BEARING).run(20.0)
    assert next(at for at, replicas in ran.replicas if replicas) == pytest.approx(5.0, abs=0.2)
    assert (ran.rows, ran.late) == (1, 1)
    assert math.isclose(ran.npu_s, 15.0, abs_tol=0.3)


def test_the_grid_has_serves_defaults_in_it_and_our_own_default_is_what_is_judged() -> None:
    from benchmarks.scaling import GRID, OURS, settings

    found = list(settings())
    assert any("delays 30/600 s, push 10 s of 30 s" in one.words for one in found if one.side == GRID)
    assert next(one.words for one in found if one.side == OURS) == "as it is"


def test_the_best_is_the_cheapest_of_the_good_and_the_front_is_what_nothing_dominates() -> None:
    from benchmarks.scaling import Tried, best, front

    tried = [
        Tried("step", "serve", words, late, hours, 0)
        for words, late, hours in (("a", 0.05, 4.0), ("b", 0.055, 3.0), ("c", 0.3, 1.0), ("d", 0.3, 2.0))
    ]
    assert best(tried).setting == "b"
    assert [one.setting for one in front(tried)] == ["c", "b", "a"]
    assert tried[2].dominates(tried[3])
    assert not tried[2].dominates(tried[2])


def test_the_policy_is_known_by_the_name_in_serve_files() -> None:
    from ascend_serve.serving.autoscaling import CapacityPolicy, capacity_policy

    assert capacity_policy is CapacityPolicy
