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


@pytest.mark.parametrize(
    ("tokens", "fault"),
    [
        ({}, "args.tokens: neither of 'file' and 'variable' given"),
        ({"file": "a", "variable": "B"}, "args.tokens: both of 'file' and 'variable' given"),
        ({"fil": "a"}, "args.tokens.fil: unknown key; did you mean 'file'"),
        ({"variable": ""}, "args.tokens.variable"),
    ],
)
def test_tokens_are_in_one_place(tokens: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        parse_app_config({"recipe": "r", "tokens": tokens})


def test_without_tokens_everybody_may_ask() -> None:
    assert parse_app_config({"recipe": "r"}).tokens is None
    given = parse_app_config({"recipe": "r", "tokens": {"variable": "TOKENS"}}).tokens
    assert given is not None
    assert (given.file, given.variable) == (None, "TOKENS")


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


# --- several models -------------------------------------------------------------------------------


def test_one_model_is_served_by_its_keys_alone() -> None:
    config = parse_app_config(
        {"recipe": "r", "name": "m", "batching": {"slots": 3}, "limits": {"max_rows": 5}}
    )
    (model,) = config.served
    assert (model.recipe, model.name, model.version, model.weight) == (config.recipe, "m", "1", 1.0)
    assert (model.batching, model.limits.max_rows) == (config.batching, 5)


def test_several_models_have_keys_of_their_own() -> None:
    config = parse_app_config(
        {
            "models": [
                {"recipe": "r", "weight": 2, "limits": {"max_rows": 5}},
                {"om": "m.om", "name": "m", "version": 2},
                {"om": "n.om", "name": "m", "version": "10"},
            ],
            "store": "/store",
        }
    )
    assert config.served == config.models
    assert [(model.name, model.version, model.weight) for model in config.models] == [
        (None, "1", 2.0),
        ("m", "2", 1.0),
        ("m", "10", 1.0),
    ]
    assert [model.limits.max_rows for model in config.models] == [5, None, None]


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        ({"models": []}, "args: models is empty: list at least one, or give the keys of one model directly"),
        ({"models": [{"recipe": "r"}], "recipe": "q"}, "args: recipe belongs to one model"),
        ({"models": [{"recipe": "r"}], "batching": {}}, "args: batching belongs to one model"),
        ({"models": [{"recipe": "r"}], "version": "1"}, "args: version belongs to one model"),
        ({"models": [{"recipe": "r"}], "limits": {"max_rows": 1}}, "args: limits.max_rows is a limit of one"),
        ({"models": [{}]}, "args.models.0: neither of 'recipe' and 'om' given"),
        (
            {"models": [{"recipe": "r"}, {"recipe": "q", "batching": {"slot": 1}}]},
            "args.models.1.batching.slot: unknown key; did you mean 'slots'?",
        ),
        ({"models": [{"recipe": "r", "front": "batch"}]}, "args.models.0.front: unknown key"),
        ({"models": [{"recipe": "r", "weight": 0}]}, "args.models.0.weight: "),
        (
            {"models": [{"om": "a.om", "name": "m"}, {"om": "b.om", "name": "m"}]},
            "args: two of 'models' are 'm' in version 1: give one another name, or another version",
        ),
        (
            {"models": [{"recipe": name, "batching": {"journal": "j.jsonl"}} for name in "ab"]},
            "args: two of 'models' write the journal j.jsonl",
        ),
        ({"models": [{"om": "a.om"}, {"om": "b.om"}], "store": "s"}, "args: store belongs to a recipe"),
        ({"recipe": "r", "weight": 2}, "args.weight: unknown key"),
        ({"recipe": "r", "version": "two"}, "args.version: is 'two'; a version is a whole number"),
        ({"recipe": "r", "version": 0}, "args.version: is 0; a version is a whole number"),
        ({"recipe": "r", "version": True}, "args.version: is True; "),
    ],
)
def test_what_is_wrong_with_several_models_is_told(args: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_app_config(args)
    assert str(caught.value).startswith(fault)


def test_a_store_may_stand_beside_a_ready_made_model_and_a_recipe() -> None:
    config = parse_app_config({"models": [{"om": "a.om"}, {"recipe": "r"}], "store": "s"})
    assert parse_app_config(config.model_dump(exclude_unset=True)) == config


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({}, None),
        ({"replica_npus": 0.5}, 500),
        ({"replica_npus": 0.5, "memory_share": 0.25}, 250),
        ({"replica_npus": 0.5, "memory_share": 1}, None),
        ({"memory_share": 0.9}, 900),
        ({"memory_bytes": 77}, 77),
    ],
)
def test_a_part_of_an_npu_comes_with_as_much_of_its_memory(
    settings: dict[str, Any], allowed: int | None
) -> None:
    assert parse_app_config({"recipe": "r", **settings}).memory_of(1000) == allowed


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"replica_npus": 2}, "args.replica_npus: "),
        ({"replica_npus": 0}, "args.replica_npus: "),
        ({"memory_share": 1.5}, "args.memory_share: "),
        ({"memory_share": 0.5, "memory_bytes": 5}, "args: memory_share and memory_bytes both say"),
    ],
)
def test_a_part_that_is_none_is_refused(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_app_config({"recipe": "r", **settings})
    assert str(caught.value).startswith(fault)
