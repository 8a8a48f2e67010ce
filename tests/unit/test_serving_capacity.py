"""What a replica tells of itself, for models that tell what they cost."""

import logging
from types import SimpleNamespace

import pytest

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.policy import PadUp, policy_named
from ascend_serve.errors import ConfigError
from ascend_serve.scaling.bearing import bears_per_s
from ascend_serve.serving.fleet.capacity import UNREACHABLE, Capacity
from ascend_serve.serving.fleet.scaling_settings import POLICY, CapacityScaling, capacity_scaling
from ascend_serve.spec.gears import Gears

pytestmark = pytest.mark.unit

MS = {1: 10.0, 4: 20.0}


class Model:
    """A model at rest."""

    def __init__(self, ms=MS, *, rows=0, waiting=0):
        self.ms = dict(ms)
        self.rows = rows
        self.policy = PadUp()
        self.engine = SimpleNamespace(state=lambda: SimpleNamespace(queued_rows=waiting))

    def cost_tables(self):
        return [CostTable.of(Gears.of(self.ms), self.ms)]

    def came(self):
        return 3, self.rows


def capacity(*models, slo_ms=100.0):
    settings = CapacityScaling(policy="capacity", slo_ms=slo_ms, max_replicas=4)
    return Capacity(models, settings)


async def test_it_tells_rows_that_came_and_wait_and_what_is_borne():
    told = capacity(Model(rows=7, waiting=2))
    await told.reckon()
    stats = told.stats()
    assert (stats["rows_came"], stats["rows_waiting"]) == (7, 2)
    assert stats["clears_rows_per_s"] == pytest.approx(200.0)
    table = CostTable.of(Gears.of(MS), MS)
    assert stats["bears_rows_per_s"] == bears_per_s([table], PadUp(), slo_ms=100.0)
    assert all(
        isinstance(value, int | float) for value in stats.values()
    )  # Serve drops all for good otherwise


async def test_it_tells_how_long_it_has_counted_rows(monkeypatch):
    now = 1000.0
    monkeypatch.setattr("ascend_serve.serving.fleet.capacity.time.monotonic", lambda: now)
    told = capacity(Model())
    now = 1012.5
    assert told.stats()["age_s"] == 12.5


async def test_models_share_the_device():
    alone, shared = capacity(Model()), capacity(Model(rows=1), Model(rows=2))
    await alone.reckon()
    await shared.reckon()
    assert shared.stats()["bears_rows_per_s"] == pytest.approx(alone.stats()["bears_rows_per_s"])
    assert shared.stats()["rows_came"] == 3


async def test_it_is_reckoned_again_when_a_gear_has_become_slower():
    model = Model()
    told = capacity(model)
    await told.reckon()
    before = told.stats()["bears_rows_per_s"]
    model.ms[4] = 20.5
    assert told.stats()["bears_rows_per_s"] == before
    assert told._again is None
    model.ms[4] = 40.0
    told.stats()
    await told._again
    assert told.stats()["bears_rows_per_s"] < 0.7 * before


async def test_it_is_reckoned_again_when_a_user_config_has_changed_the_policy():
    model = Model()
    told = capacity(model)
    await told.reckon()
    before = told.stats()["bears_rows_per_s"]
    model.policy = policy_named("pad_up")
    told.stats()
    assert told._again is None
    model.policy = policy_named("fixed", gear=1)
    told.stats()
    await told._again
    assert told.stats()["bears_rows_per_s"] < 0.7 * before


async def test_an_slo_that_no_row_meets_is_told_and_counts_for_a_share(caplog):
    told = capacity(Model(), slo_ms=9.0)
    with caplog.at_level(logging.WARNING):
        await told.reckon()
    assert told.stats()["bears_rows_per_s"] == pytest.approx(UNREACHABLE * 200.0)
    assert "slo_ms 9" in caplog.text


def test_serves_own_policies_are_not_ours():
    assert capacity_scaling(None) is None
    assert capacity_scaling({"max_replicas": 3}) is None
    assert capacity_scaling({"policy": {"policy_function": "mine:policy"}, "max_replicas": 3}) is None


@pytest.mark.parametrize(
    "function",
    [
        "ascend_serve.serving.autoscaling:capacity_policy",
        "ascend_serve.serving.autoscaling.capacity_policy",
        "ascend_serve.serving.autoscaling:CapacityPolicy",
    ],
)
def test_the_name_of_its_function_means_the_same_as_its_word(function):
    right = capacity_scaling({"policy": "capacity", "slo_ms": 50, "max_replicas": 3, "headroom": 0.2})
    named = {"policy_function": function}
    assert capacity_scaling({"policy": named, "slo_ms": 50, "max_replicas": 3, "headroom": 0.2}) == right
    named["policy_kwargs"] = {"headroom": 0.2, "slo_ms": 50}
    assert capacity_scaling({"policy": named, "max_replicas": 3}) == right


def test_what_its_function_is_given_wrongly_is_told():
    policy = {"policy_function": POLICY}
    with pytest.raises(ConfigError, match=r"^args\.autoscaling: key 'slo_ms' is missing$"):
        capacity_scaling({"policy": policy, "max_replicas": 3})
    policy["policy_kwargs"] = {"headroom": 0.2}
    with pytest.raises(
        ConfigError, match="headroom is given in policy_kwargs and beside policy: give it once"
    ):
        capacity_scaling({"policy": policy, "max_replicas": 3, "slo_ms": 50, "headroom": 0.1})
    policy["policy_kwargs"] = {"replica_npus": 0.5}
    with pytest.raises(ConfigError, match="unknown key 'replica_npus'"):
        capacity_scaling({"policy": policy, "max_replicas": 3, "slo_ms": 50})


def test_a_replica_that_is_half_an_npu_says_so():
    scaling = CapacityScaling(policy="capacity", slo_ms=50, max_replicas=4, headroom=0.2)
    options = scaling.for_serve(0.5)
    assert options["policy"]["policy_kwargs"] == {
        "idle_s": 300.0,
        "headroom": 0.2,
        "hold_s": 0.0,
        "grow_cluster": False,
        "replica_npus": 0.5,
    }
    assert set(options) == {
        "policy",
        "max_replicas",
        "min_replicas",
        "upscale_delay_s",
        "downscale_delay_s",
        "metrics_interval_s",
        "look_back_period_s",
    }
