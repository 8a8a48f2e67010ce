"""What a replica tells the routers that choose among replicas; `FinishFirst` is the one that listens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ascend_serve.batching.routing import PaceReport
from ascend_serve.serving.served_model import ServedModel

ENOUGH = 20
"""Requests from which a new average of their rows is taken; fewer say little of those to come."""


class Pacing:
    """Reports of one replica, of the time its gears take and the rows that its requests have.

    Args:
        models: those of the replica, with times.
    """

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models = models
        self._mean_rows = 1.0
        self._counted = (0, 0)

    def stats(self) -> dict[str, Any]:
        """The report as it is by now, for `record_routing_stats` and `record_replica_metadata`."""
        came = [model.came() for model in self._models]
        requests, rows = (sum(part) for part in zip(*came, strict=True))
        new = requests - self._counted[0]
        if new >= ENOUGH:
            self._mean_rows = (rows - self._counted[1]) / new
            self._counted = (requests, rows)
        tables = [table for model in self._models for table in model.cost_tables()]
        batched = all(model.plane.spec.batched for model in self._models)
        return PaceReport.of(tables, mean_rows=self._mean_rows, batched=batched).stats()
