"""What a replica tells the autoscaling policy `capacity` of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.policy import Policy
from ascend_serve.engine import Engine
from ascend_serve.scaling.bearing import bears_per_s, clears_per_s
from ascend_serve.scaling.told import Told
from ascend_serve.serving.fleet.scaling_settings import CapacityScaling
from ascend_serve.serving.log import logger

MOVED = 0.05
"""By which share what a gear takes must have moved before it is reckoned anew what the replica bears."""

UNREACHABLE = 0.7
"""Where no row is answered within the SLO, a replica counts for this share of what it clears."""


class Model(Protocol):
    """A model of the replica; `ServedModel` is one.

    Attributes:
        engine: runs it.
        policy: how it chooses gears by now.
    """

    engine: Engine
    policy: Policy

    def cost_tables(self) -> list[CostTable]:
        """What the gears of each bucket take by now."""
        ...

    def came(self) -> tuple[int, int]:
        """Requests that were offered since it started, and their rows."""
        ...


class Capacity:
    """Rows that came and wait, and what the replica bears. Used on the event loop.

    Several models share the device; what is borne then is that of a load with as many rows for each.

    Args:
        models: of the replica.
        settings: the SLO.
    """

    def __init__(self, models: Sequence[Model], settings: CapacityScaling) -> None:
        self._models = models
        self._settings = settings
        self._tables: list[list[CostTable]] = []
        self._policies: list[Policy] = []
        self._bears = self._clears = 0.0
        self._again: asyncio.Task[None] | None = None
        self._began = time.monotonic()

    async def reckon(self) -> None:
        """Find out what the replica bears by now; half a second of another thread's CPU at the most."""
        tables = [model.cost_tables() for model in self._models]
        policies = [model.policy for model in self._models]
        self._bears, self._clears = await asyncio.to_thread(self._reckoned, tables, policies)
        self._tables, self._policies = tables, policies
        logger.info(
            f"this replica bears {self._bears:.0f} rows/s of {self._clears:.0f} within {self._settings.slo_ms:g} ms"
        )

    def stats(self) -> dict[str, float]:
        """For Serve's `record_autoscaling_stats`; see `ascend_serve.scaling.told`."""
        if (self._again is None or self._again.done()) and self._has_moved():
            self._again = asyncio.create_task(self.reckon())
        return Told(
            at=0.0,  # Serve notes the time itself
            came=sum(model.came()[1] for model in self._models),
            waiting=sum(model.engine.state().queued_rows for model in self._models),
            bears_per_s=self._bears,
            clears_per_s=self._clears,
            age_s=time.monotonic() - self._began,
        ).stats()

    def _reckoned(
        self, tables: Sequence[Sequence[CostTable]], policies: Sequence[Policy]
    ) -> tuple[float, float]:
        settings = self._settings
        borne = [
            bears_per_s(of_model, policy, slo_ms=settings.slo_ms, good=settings.good)
            for of_model, policy in zip(tables, policies, strict=True)
        ]
        clears = clears_per_s([table for of_model in tables for table in of_model])
        if not all(borne):
            logger.warning(
                f"no row is answered within slo_ms {settings.slo_ms:g}: this replica counts for {UNREACHABLE:g} of the "
                f"{clears:.0f} rows/s that it clears; give a larger slo_ms, or compile a smaller gear"
            )
            return UNREACHABLE * clears, clears
        return len(borne) / sum(1.0 / rate for rate in borne), clears

    def _has_moved(self) -> bool:
        if [model.policy for model in self._models] != self._policies:
            return True
        for model, before in zip(self._models, self._tables, strict=True):
            for now, then in zip(model.cost_tables(), before, strict=True):
                if any(abs(a - b) > MOVED * b for a, b in zip(now.ms, then.ms, strict=True)):
                    return True
        return False
