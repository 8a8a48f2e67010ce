"""What a `user_config` changes of the `args`, and what it may not say."""

from __future__ import annotations

from typing import Any

import pytest

from ascend_serve.errors import ConfigError
from ascend_serve.serving.config import BatchingConfig, parse_app_config
from ascend_serve.serving.live import LiveSettings, live_settings

pytestmark = pytest.mark.unit

ONE = {
    "recipe": "r",
    "batching": {"policy": "fixed", "gear": 4, "slots": 2, "default_deadline_ms": 5, "max_queued_rows": 9},
    "limits": {"max_rows": 9},
}
TWO = {
    "models": [
        {"recipe": "r", "batching": {"slo_ms": 5, "objective": "tail"}},
        {"om": "b.om"},
        {"recipe": "s", "version": 2},
    ],
    "limits": {"max_body_bytes": 4096},
}
NAMES = ["a", "b", "a"]


def of_one(user_config: Any) -> LiveSettings:
    return live_settings(user_config, parse_app_config(ONE), ["r"])


def of_two(user_config: Any) -> LiveSettings:
    return live_settings(user_config, parse_app_config(TWO), NAMES)


def set_in(batching: BatchingConfig) -> dict[str, Any]:
    return batching.model_dump(exclude_unset=True)


def test_what_it_leaves_out_is_as_the_args_say() -> None:
    (model,) = of_one({}).models
    assert set_in(model.batching) == ONE["batching"]
    assert model.limits.max_rows == 9
    assert of_one({}).max_body_bytes == 64 << 20
    assert of_two({}).max_body_bytes == 4096
    assert of_two({}).models == parse_app_config(TWO).models


def test_what_it_names_takes_the_place_of_the_args() -> None:
    live = of_one(
        {
            "batching": {"gear": 8, "default_deadline_ms": None},
            "limits": {"max_rows": 3, "max_body_bytes": 2048},
        }
    )
    (model,) = live.models
    assert set_in(model.batching) == {**ONE["batching"], "gear": 8, "default_deadline_ms": None}  # type: ignore[dict-item]
    assert (model.limits.max_rows, live.max_body_bytes) == (3, 2048)


def test_a_policy_comes_with_its_own_options() -> None:
    (model,) = of_one({"batching": {"policy": "optimal", "may_wait": True}}).models
    kept = {"slots": 2, "default_deadline_ms": 5.0, "max_queued_rows": 9}
    assert set_in(model.batching) == {"policy": "optimal", "may_wait": True, **kept}


def test_of_several_models_those_that_are_named_change_in_all_versions() -> None:
    live = of_two({"models": {"a": {"batching": {"policy": "pad_up"}, "limits": {"max_rows": 2}}}})
    assert [model.batching.policy for model in live.models] == ["pad_up", "optimal", "pad_up"]
    assert [model.limits.max_rows for model in live.models] == [2, None, 2]
    assert [model.version for model in live.models] == ["1", "1", "2"]


@pytest.mark.parametrize(
    ("user_config", "fault"),
    [
        ("x", "user_config: Input should be a valid dictionary"),
        ({"batchin": {}}, "user_config.batchin: unknown key; did you mean 'batching'?"),
        (
            {"batching": {"max_queue_rows": 1}},
            "max_queue_rows: unknown key; did you mean 'max_queued_rows'?",
        ),
        (
            {"batching": {"slots": 3}},
            "user_config.batching: slots cannot change while a replica serves: set it in args",
        ),
        ({"batching": {"max_queued_rows": 0}}, "user_config.batching.max_queued_rows: "),
        ({"limits": {"max_body_bytes": 1}}, "user_config.limits.max_body_bytes: "),
        (
            {"batching": {"slo_ms": 8}},
            "user_config.batching: slo_ms belongs to the policy 'optimal'; 'fixed'",
        ),
        ({"models": {"r": {}}}, "user_config.models: this application has one model"),
    ],
)
def test_what_is_wrong_for_one_model_is_told(user_config: Any, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        of_one(user_config)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("user_config", "fault"),
    [
        ({"models": {"c": {}}}, "user_config.models.c: no such model; known: a, b"),
        ({"models": {"b": {"batching": {"gears": 1}}}}, "models.b.batching.gears: unknown key; did you mean 'gear'?"),
        ({"models": {"b": {"limits": {"max_body_bytes": 2048}}}}, "models.b.limits.max_body_bytes: unknown key"),
        (
            {"models": {"b": {"batching": {"gear": 1}}}},
            "user_config.models.b.batching: gear belongs to the policy 'fixed'",
        ),
        ({"batching": {"policy": "pad_up"}}, "user_config.batching: this application has several models"),
        ({"limits": {"max_rows": 5}}, "user_config.limits.max_rows: this application has several models"),
    ],
)  # fmt: skip
def test_what_is_wrong_for_several_models_is_told(user_config: Any, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        of_two(user_config)
    assert fault in str(caught.value)


def test_a_name_that_is_not_known_yet_is_not_missed() -> None:
    config = parse_app_config(TWO)
    live = live_settings({"models": {"c": {}, "b": {"limits": {"max_rows": 2}}}}, config, [None, "b", None])
    assert [model.limits.max_rows for model in live.models] == [None, 2, None]
