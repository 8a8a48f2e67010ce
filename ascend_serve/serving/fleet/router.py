"""Requests go to the replica that will finish them first: Serve's request router.

Replicas on different SoCs take different times for the same rows, so to have the fewest requests is not to be done
first. Each replica tells what its gears take (`AscendModel.record_routing_stats`); the router keeps in mind what it
sent, what came back, and what the replica said it has when it took a request (`batching/routing.py`).

Ray handles ask it, Serve's Python proxy does, and HAProxy by way of `route_desk.py`.

Handles get this module's class by value (`RequestRouterConfig` in ray/serve/config.py) and the rest of the package by
name: it must be importable where they are.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any

from ray.exceptions import ActorUnavailableError, RayActorError
from ray.serve._private.replica_result import ReplicaResult
from ray.serve.config import RequestRouterConfig
from ray.serve.request_router import (
    LocalityMixin,
    PendingRequest,
    ReplicaID,
    RequestRouter,
    RunningReplica,
)

from ascend_serve.batching.routing import PaceReport, Standing, ranked

LOOK_S = 0.25
"""Seconds after which a router that only points the way, and so never hears of an end, asks replicas what they have.
Between two looks it goes by what their gears take."""

LOOK_DEADLINE_S = 1.0
"""Seconds in which a replica has to say what it has; past them it is believed to have what was reckoned."""

STATS_PERIOD_S = 5.0
"""Seconds between two looks of the controller at what a replica's gears take, which changes seldom and little."""

POINTS = "only_points"
"""Keyword by which the desk says that the request itself goes another way."""

TELLS = "only_tells"
"""Keyword by which the desk asks for what replicas take, into a dict: seconds for a row by replica."""


def router_config() -> RequestRouterConfig:
    """What a deployment is given for `FinishFirst` to choose among its replicas."""
    settings: dict[str, Any] = {  # its constructor is annotated as if each value were a dict
        "request_router_class": f"{__name__}:{FinishFirst.__name__}",
        "request_routing_stats_period_s": STATS_PERIOD_S,
    }
    return RequestRouterConfig(**settings)


class FinishFirst(LocalityMixin, RequestRouter):
    """Ranks replicas by when they would be done with a request; ties at random, on this node first where asked for.

    Replicas that take no more (`max_ongoing_requests`) come last; Serve asks them again, with its back-off. One that
    has not told its times yet is taken to be like the slowest that has; as long as none has, the choice is Serve's
    own: the shorter queue of two at random.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._standings: dict[ReplicaID, Standing] = {}
        self._batched = True
        self._looked_at = 0.0
        self._looks: set[asyncio.Task[None]] = set()

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Take over the replicas that there are now, and what they tell of themselves."""
        super().update_replicas(replicas)
        reports = {
            replica.replica_id: PaceReport.parse(replica.routing_stats or replica.replica_metadata)
            for replica in replicas
        }
        slowest = max(filter(None, reports.values()), key=lambda report: report.pace.row_s, default=None)
        if slowest is None:
            self._standings = {}
            return
        self._batched = slowest.batched
        standings = {}
        for replica_id, report in reports.items():
            known = report or slowest
            standing = self._standings.get(replica_id) or Standing(known.pace)
            standing.pace, standing.mean_rows = known.pace, known.mean_rows
            standings[replica_id] = standing
        self._standings = standings

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Ranks of replicas, in the first those that would be done first."""
        if pending_request is not None:
            # All there are were considered: if none takes it, wait before the next try.
            pending_request.routing_context.should_backoff = True
        free, full = self._free_and_full(candidate_replicas)
        random.shuffle(free)
        if pending_request is not None and TELLS in pending_request.kwargs:
            told = {replica_id: standing.pace.row_s for replica_id, standing in self._standings.items()}
            pending_request.kwargs[TELLS].update(told)
            return [free, full]
        if not self._standings:
            return [free[:2], free[2:], full]
        now = time.monotonic()
        points = pending_request is not None and POINTS in pending_request.kwargs
        if points and now - self._looked_at > LOOK_S:
            self._looked_at = now
            self._look_at(candidate_replicas)
        ranks = self._ranks(free, now, None if pending_request is None else self._rows_of(pending_request))
        if points and ranks:
            # Serve takes the first of the first rank, and tells no more of it.
            chosen = self._standings[ranks[0][0].replica_id]
            chosen.forwarded(now, chosen.mean_rows)
        return [*ranks, full]

    def on_send_request(self, replica_id: ReplicaID) -> None:
        """Count a request that is on its way."""
        super().on_send_request(replica_id)
        if standing := self._standings.get(replica_id):
            standing.sent(time.monotonic())

    def on_new_queue_len_info(self, replica_id: ReplicaID, num_ongoing_requests: int) -> None:
        """Take over what a replica said it has."""
        super().on_new_queue_len_info(replica_id, num_ongoing_requests)
        if standing := self._standings.get(replica_id):
            standing.seen(time.monotonic(), num_ongoing_requests)

    def on_request_routed(
        self, pending_request: PendingRequest, replica_id: ReplicaID, result: ReplicaResult
    ) -> None:
        """Note the rows of a request that a replica took."""
        rows = self._rows_of(pending_request)
        if rows is not None and (standing := self._standings.get(replica_id)):
            standing.measured(pending_request.metadata.internal_request_id, rows)

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Note that a request came back, whatever became of it."""
        if standing := self._standings.get(replica_id):
            standing.ended(time.monotonic(), internal_request_id)

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """Forget a replica."""
        super().on_replica_actor_died(replica_id)
        self._standings.pop(replica_id, None)

    def _free_and_full(
        self, replicas: list[RunningReplica]
    ) -> tuple[list[RunningReplica], list[RunningReplica]]:
        free: list[RunningReplica] = []
        full: list[RunningReplica] = []
        for replica in replicas:
            ongoing = self.replica_queue_len_cache.get(replica.replica_id)
            taken = ongoing is not None and ongoing >= replica.max_ongoing_requests
            (full if taken else free).append(replica)
        return free, full

    def _ranks(
        self, replicas: list[RunningReplica], now: float, rows: int | None
    ) -> list[list[RunningReplica]]:
        """Replicas by when they would be done with so many rows, or with those of an average request."""
        known, finishes = [], []
        for replica in replicas:
            # One that died a moment ago may still be in the list that Serve goes through.
            if standing := self._standings.get(replica.replica_id):
                known.append(replica)
                finishes.append(standing.finish_s(now, standing.mean_rows if rows is None else rows))
        ranks = [[known[place] for place in rank] for rank in ranked(finishes)]
        if self._prefer_local_node_routing:
            return [part for rank in ranks for part in self.rank_replicas_via_locality(rank) if part]
        return ranks

    def _rows_of(self, request: PendingRequest) -> int | None:
        """Rows of a call of `infer`; None where they are not to be seen, as over HTTP and in an ObjectRef."""
        if not self._batched:
            return 1
        tensors = request.args[0] if request.args else request.kwargs.get("tensors")
        if isinstance(tensors, Mapping):
            tensors = next(iter(tensors.values()), None)
        shape = getattr(tensors, "shape", None)
        return int(shape[0]) if shape else None

    def _look_at(self, replicas: list[RunningReplica]) -> None:
        for replica in replicas:
            look = asyncio.get_running_loop().create_task(self._look(replica))
            self._looks.add(look)  # a loop holds its tasks weakly
            look.add_done_callback(self._looks.discard)

    async def _look(self, replica: RunningReplica) -> None:
        try:
            asked = replica.get_queue_len(deadline_s=LOOK_DEADLINE_S)
            ongoing = await asyncio.wait_for(asked, LOOK_DEADLINE_S)
        except ActorUnavailableError:
            self.on_replica_actor_unavailable(replica.replica_id)
        except RayActorError:
            self.on_replica_actor_died(replica.replica_id)
        except asyncio.TimeoutError:
            return  # what was reckoned stands
        else:
            self.on_new_queue_len_info(replica.replica_id, ongoing)
