"""Ray Serve's own autoscaler under a clock of ours: what replicas record, report, and what the controller makes of it.

It is Ray's code that decides: `DeploymentAutoscalingState` merges and aggregates the reports, and its policy is wrapped
in Ray's delays, factors and bounds (ray/serve/_private/autoscaling_state.py, ray/serve/autoscaling_policy.py). What is
rebuilt here is when that happens: `ReplicaMetricsManager.start_metrics_pusher` (ray/serve/_private/replica.py) has a
replica sample its requests every `min(look_back_period_s x 0.2, metrics_interval_s)` and report every
`metrics_interval_s`, from when it serves; the controller decides every 0.1 s (`CONTROL_LOOP_INTERVAL_S`). Requests that
no replica takes are reported by the handle that holds them (`RouterMetricsManager`), the first of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock

from ray.serve import autoscaling_policy
from ray.serve._private import autoscaling_state
from ray.serve._private.autoscaling_state import DeploymentAutoscalingState, _resolve_policy_callable
from ray.serve._private.common import (
    RUNNING_REQUESTS_KEY,
    DeploymentHandleSource,
    DeploymentID,
    HandleMetricReport,
    ReplicaID,
    ReplicaMetricReport,
    TimeStampedValue,
)
from ray.serve._private.constants import RAY_SERVE_AUTOSCALING_METRIC_RECORD_INTERVAL_FACTOR
from ray.serve._private.metrics_utils import InMemoryMetricsStore
from ray.serve.config import AutoscalingConfig

from ascend_serve.scaling.told import Told
from benchmarks.scaling_cluster import Cluster, Ran, Replica

LOOP_S = 0.1
"""Between two decisions of the controller."""

EPOCH = 1e9
"""What the clock says at the beginning; Ray takes times near 0 for none."""

_DEPLOYMENT = DeploymentID(name="model", app_name="simulated")


@dataclass(slots=True)
class _Reporter:
    """What one replica has sampled, and when it samples and reports next."""

    id: ReplicaID
    record_at: float
    push_at: float
    store: InMemoryMetricsStore = field(default_factory=InMemoryMetricsStore)


class _Gauge:
    """Stands for the metrics that the controller exports."""

    def set(self, value: float, tags: dict[str, str] | None = None) -> None:
        """Drop it."""


@contextmanager
def _clock(now: Callable[[], float]) -> Iterator[None]:
    """Have Ray's autoscaler read this clock."""
    clock = SimpleNamespace(time=now, monotonic=now)
    gauges = SimpleNamespace(Gauge=lambda *_, **__: _Gauge())
    with (
        mock.patch.object(autoscaling_state, "time", clock),
        mock.patch.object(autoscaling_policy, "time", clock),
        mock.patch.object(autoscaling_state, "metrics", gauges),
    ):
        yield


class Autoscaler:
    """Ray's autoscaler of one deployment, fed by a simulated cluster.

    Args:
        config: Serve's settings, with whatever policy.
        cluster: what it scales.
        bearing: what each replica says that it bears, for a policy that asks for it.
    """

    def __init__(self, config: AutoscalingConfig, cluster: Cluster, bearing: Told) -> None:
        self.now = 0.0
        self._config = config
        self._cluster = cluster
        self._bearing = bearing
        self._record_s = min(
            config.look_back_period_s * RAY_SERVE_AUTOSCALING_METRIC_RECORD_INTERVAL_FACTOR,
            config.metrics_interval_s,
        )
        self._reporters: dict[Replica, _Reporter] = {}
        self._handle_at = 0.0
        self._target = cluster.target
        with _clock(self._wall):
            self._state = DeploymentAutoscalingState(_DEPLOYMENT)
            # As `register` does it, without the record of how Ray is used that it leaves with the cluster.
            policy = _resolve_policy_callable(config.policy)
            self._state._config = config
            self._state._policy = autoscaling_policy._apply_autoscaling_config(policy)
            self._state._policy_state = {}

    def run(self, seconds: float) -> Ran:
        """Decide until then, and see all through that came."""
        with _clock(self._wall):
            for step in range(1, round(seconds / LOOP_S) + 1):
                self.now = step * LOOP_S
                self._cluster.advance(self.now)
                self.step()
        return self._cluster.finish()

    def step(self) -> None:
        """One turn of the controller's loop."""
        self._report()
        decided = self._state.get_decision_num_replicas(self._target)
        if decided != self._target:
            self._target = decided
            self._cluster.scale(self.now, decided)

    def _wall(self) -> float:
        return EPOCH + self.now

    def _report(self) -> None:
        running = self._cluster.running
        for replica in [one for one in self._reporters if one.retired_at <= self.now]:
            self._state.on_replica_stopped(self._reporters.pop(replica).id)
        for replica in running:
            reporter = self._reporters.get(replica)
            if reporter is None:
                begin = replica.ready_at
                reporter = _Reporter(ReplicaID(f"{replica.number}", _DEPLOYMENT), begin, begin)
                self._reporters[replica] = reporter
            # The task that reports is made before the one that samples, and so goes first.
            if reporter.push_at <= self.now:
                reporter.push_at += self._config.metrics_interval_s
                reporter.store.prune_keys_and_compact_data(self._wall() - self._config.look_back_period_s)
                metrics = {str(name): list(series) for name, series in reporter.store.data.items()}
                self._state.record_request_metrics_for_replica(
                    ReplicaMetricReport(replica_id=reporter.id, timestamp=self._wall(), metrics=metrics)
                )
            if reporter.record_at <= self.now:
                reporter.record_at += self._record_s
                told = self._bearing._replace(came=replica.came, waiting=len(replica.queue))
                points: dict[Any, float] = {RUNNING_REQUESTS_KEY: replica.under_way, **told.stats()}
                reporter.store.add_metrics_point(points, self._wall())
        self._state.update_running_replica_ids([self._reporters[replica].id for replica in running])
        self._report_held()

    def _report_held(self) -> None:
        """What is held while no replica runs; it is told at once, and then with every interval."""
        held = len(self._cluster.held)
        if held or self._handle_at <= self.now:
            self._handle_at = self.now + self._config.metrics_interval_s
            self._state.record_request_metrics_for_handle(
                HandleMetricReport(
                    deployment_id=_DEPLOYMENT,
                    handle_id="door",
                    actor_id="door",
                    handle_source=DeploymentHandleSource.UNKNOWN,
                    queued_requests=[TimeStampedValue(self._wall(), float(held))],
                    metrics={RUNNING_REQUESTS_KEY: {}},
                    timestamp=self._wall(),
                )
            )
