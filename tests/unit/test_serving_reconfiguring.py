"""A replica takes a `user_config` whole or not at all, and a wrong one ends it only while it starts."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from ascend_serve.errors import ConfigError
from ascend_serve.serving.config import ModelConfig, parse_app_config
from ascend_serve.serving.reconfiguring import Reconfiguring

pytestmark = pytest.mark.unit


class Model:
    """Notes what it takes; takes any policy but `fixed`."""

    def __init__(self, taken: list[str], name: str, gate: asyncio.Event | None = None) -> None:
        self._taken, self._name, self._gate = taken, name, gate

    def check(self, config: ModelConfig) -> None:
        if config.batching.policy == "fixed":
            raise ConfigError("policy 'fixed': gear 5 is not compiled; compiled: [1, 8]")

    async def take(self, config: ModelConfig) -> None:
        if self._gate is not None:
            await self._gate.wait()
        self._taken.append(f"{self._name} {config.batching.policy}")


class Replica:
    """Models `a` and `b`, and the limit on bodies."""

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.taken: list[str] = []
        self.limits: list[int] = []
        models: Any = [Model(self.taken, name, gate) for name in "ab"]
        config = parse_app_config({"models": [{"recipe": name} for name in "ab"]})
        self.reconfiguring = Reconfiguring(config, ["a", "b"], models, self.limits.append)


GOOD = {"models": {"b": {"batching": {"policy": "pad_up"}}}, "limits": {"max_body_bytes": 2048}}
WRONG = {
    "a policy that does not fit the model": {
        "models": {"a": {"batching": {"policy": "pad_up"}}, "b": {"batching": {"policy": "fixed"}}}
    },
    "a key that there is not": {"models": {"b": {"batchin": {}}}},
}


async def test_all_models_and_the_limit_are_set() -> None:
    replica = Replica()
    await replica.reconfiguring.take(GOOD)
    assert (replica.taken, replica.limits) == (["a optimal", "b pad_up"], [2048])


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_a_wrong_one_is_raised_while_the_replica_starts(wrong: Any) -> None:
    replica = Replica()
    with pytest.raises(ConfigError):
        await replica.reconfiguring.take(wrong)
    assert (replica.taken, replica.limits) == ([], [])


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_a_wrong_one_is_logged_in_one_line_once_it_serves(
    wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    replica = Replica()
    replica.reconfiguring.in_service = True
    with caplog.at_level(logging.ERROR, logger="ray.serve.ascend_serve"):
        await replica.reconfiguring.take(wrong)
    assert (replica.taken, replica.limits) == ([], [])
    (record,) = caplog.records
    assert record.message.startswith("the new user_config is not taken, and the settings stay as they were: ")
    assert "\n" not in record.message
    await replica.reconfiguring.take(GOOD)
    assert replica.limits == [2048]


async def test_two_calls_do_not_mix() -> None:
    gate = asyncio.Event()
    replica = Replica(gate)
    calls = [asyncio.create_task(replica.reconfiguring.take(config)) for config in (GOOD, {})]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*calls)
    assert replica.taken == ["a optimal", "b pad_up", "a optimal", "b optimal"]
    assert replica.limits == [2048, 64 << 20]
