"""What the `args:` of an application mean where they leave something out."""

import pytest

from ascend_serve.batching.policy import Fixed, PadUp
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
    with pytest.raises(ConfigError, match=r"args\.batching: in_flight is 3 but slots is 2: at most one"):
        parse_app_config({"recipe": "r", "batching": {"in_flight": 3}})


def test_the_policy_is_made_of_its_settings() -> None:
    assert BatchingConfig().chosen_policy() == PadUp()
    assert BatchingConfig(policy="fixed").chosen_policy() == Fixed()
    assert BatchingConfig(policy="fixed", gear=4).chosen_policy() == Fixed(4)


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
