"""What the `args:` of an application mean where they leave something out."""

from typing import Any

import pytest

from ascend_serve.batching.policy import policy_named
from ascend_serve.errors import ConfigError
from ascend_serve.serving.config import MIB, BatchingConfig, LimitsConfig, parse_app_config
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit


def spec(row_in: int, row_out: int) -> ModelSpec:
    """A model with rows of that many bytes."""
    return ModelSpec(
        "m",
        (TensorSpec("x", DataType.UINT8, (-1, row_in)),),
        (TensorSpec("y", DataType.UINT8, (-1, row_out)),),
        Gears((1, 16)),
    )


def test_slots_may_be_set_alone() -> None:
    assert parse_app_config({"recipe": "r", "batching": {"slots": 1}}).batching.in_flight is None
    assert parse_app_config({"recipe": "r", "batching": {"in_flight": 3}}).batching.slots is None
    with pytest.raises(ConfigError, match=r"args\.batching: in_flight is 3 but slots is 2: at most one"):
        parse_app_config({"recipe": "r", "batching": {"slots": 2, "in_flight": 3}})


@pytest.mark.parametrize(
    ("settings", "slots"),
    [
        ({}, None),
        ({"slots": 1}, 1),
        ({"in_flight": 1}, None),
        ({"in_flight": 2}, None),
        ({"in_flight": 3}, 3),
        ({"in_flight": 3, "slots": 4}, 4),
    ],
)
def test_a_session_opens_with_a_slot_for_each_batch_in_flight(
    settings: dict[str, int], slots: int | None
) -> None:
    assert BatchingConfig.model_validate(settings).opening_slots == slots


@pytest.mark.parametrize(
    ("key", "value"),
    [("compile", "missing"), ("compile", "never"), ("retry_failed", True), ("store", "/store")],
)
def test_what_a_ready_made_file_makes_no_use_of_is_refused(key: str, value: Any) -> None:
    assert getattr(parse_app_config({"recipe": "r", key: value}), key) == value
    with pytest.raises(ConfigError, match=f"args: {key} belongs to a recipe; .* leave it out"):
        parse_app_config({"om": "a.om", key: value})


def test_what_was_left_out_is_not_refused_though_it_has_a_default() -> None:
    config = parse_app_config({"om": "a.om", "batching": {"slots": 3}})
    assert parse_app_config(config.model_dump(exclude_unset=True)) == config


def test_the_policy_is_made_of_its_settings() -> None:
    assert BatchingConfig().chosen_policy() == policy_named("optimal")
    for name, options in {
        "optimal": {"objective": "tail", "tail_weight": 4.0, "slo_ms": 20.0, "may_wait": True},
        "fixed_wait": {"wait_ms": 5.0, "max_batch_size": 8},
        "fixed": {"gear": 4},
        "pad_up": {},
        "step_down": {},
        "min_cost": {},
    }.items():
        config = BatchingConfig.model_validate({"policy": name, **options})
        assert config.chosen_policy() == policy_named(name, **options)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"gear": 4}, "gear belongs to the policy 'fixed'; 'optimal' does not take it"),
        ({"policy": "fixed", "slo_ms": 5}, "slo_ms belongs to the policy 'optimal'"),
        ({"policy": "pad_up", "wait_ms": 0}, "wait_ms belongs to the policy 'fixed_wait'"),
        ({"policy": "optimall"}, "policy: Input should be 'optimal'"),
        (
            {"tail_weight": 4},
            "tail_weight means nothing to objective 'mean': give objective 'tail'",
        ),
        ({"objective": "mean", "tail_weight": 4}, "tail_weight means nothing to objective 'mean'"),
        ({"policy": "fixed_wait", "deferred": True}, "deferred means nothing to the policy 'fixed_wait'"),
        ({"slots": 0}, "slots"),
        ({"priority_levels": 0}, "priority_levels"),
        ({"default_deadline_ms": 0}, "default_deadline_ms"),
        ({"padded": [{"inputs": {}}]}, r"padded\.0\.inputs"),
        ({"padded": [{"inputs": {"x": 1}, "value": {}}]}, r"padded\.0\.value: unknown key; did you mean"),
    ],
)
def test_wrong_settings_are_told(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        parse_app_config({"recipe": "r", "batching": settings})


def test_times_are_in_the_units_of_their_names() -> None:
    assert BatchingConfig(default_deadline_ms=250).default_deadline_s == 0.25
    assert BatchingConfig().default_deadline_s is None


@pytest.mark.parametrize(
    ("row_in", "row_out", "rows"),
    [(4, 4, 4 * MIB), (4, 4096, 4096), (4096, 4, 4096), (MIB, MIB, 256)],
    ids=["small rows", "rows that grow", "rows that shrink", "large rows"],
)
def test_the_default_bound_on_rows_bounds_what_goes_in_and_what_comes_out(
    row_in: int, row_out: int, rows: int
) -> None:
    assert LimitsConfig().rows_of(spec(row_in, row_out)) == rows
    assert LimitsConfig(max_rows=3).rows_of(spec(row_in, row_out)) == 3
