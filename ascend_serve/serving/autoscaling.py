"""Serve's side of `ascend_serve.scaling`: the autoscaling policy `capacity`.

Serve calls a policy on its controller's loop every 0.1 s, with what replicas reported, and wraps it in its own delays,
factors and bounds (ray/serve/_private/autoscaling_state.py: `DeploymentAutoscalingState.get_decision_num_replicas`;
ray/serve/autoscaling_policy.py: `_apply_autoscaling_config`). From none, the wrapper asks for one replica when a
request waits, without asking the policy. The policy must not block there, so a thread looks for NPUs.

This module is pickled by value with the deployment's settings, and what it imports must be on the head node.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import Any

import ray
from ray.exceptions import RayError
from ray.serve.config import AutoscalingContext

from ascend_serve.scaling.deciding import Aims, Scaler
from ascend_serve.scaling.told import told_by

logger = logging.getLogger("ray.serve")

LOOK_S = 2.0
"""Seconds between two looks at the cluster's NPUs."""


class CapacityPolicy:
    """As many replicas as bear the load within the SLO; see `ascend_serve.scaling.deciding`.

    Serve makes one for a deployment, and a new one whenever its settings change, which then learns anew.

    Args:
        idle_s: seconds without a request after which there are to be none, where `min_replicas` is 0.
        headroom: by which share more capacity is kept than the load needs.
        hold_s: the least seconds for which what was needed is kept.
        grow_cluster: whether more may be asked for than there are NPUs.
        replica_npus: NPUs of a replica.
    """

    def __init__(
        self,
        *,
        idle_s: float = 300.0,
        headroom: float = 0.0,
        hold_s: float = 0.0,
        grow_cluster: bool = False,
        replica_npus: float = 1.0,
    ) -> None:
        self._scaler = Scaler(Aims(idle_s=idle_s, headroom=headroom, hold_s=hold_s))
        self._npus = None if grow_cluster else Npus(replica_npus)

    def __call__(self, ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """How many replicas there are to be; it keeps no state in Serve.

        Args:
            ctx: what Serve knows of the deployment.
        """
        running = [str(replica) for replica in ctx.running_replicas]
        most = ctx.capacity_adjusted_max_replicas
        if self._npus is not None:
            most = min(most, self._npus.room(len(running), ctx.target_num_replicas))
        wanted = self._scaler.decide(
            ctx.current_time or time.time(),
            told_by(ctx.raw_metrics or {}),
            running=running,
            target=ctx.target_num_replicas,
            queued=ctx.total_queued_requests,
            least=ctx.capacity_adjusted_min_replicas,
            most=most,
        )
        return wanted, {}


capacity_policy = CapacityPolicy
"""The name by which a Serve file calls it."""


class Npus:
    """How many replicas there are NPUs for.

    What others hold is what is neither free nor a running replica's. That is so while none of ours is starting or
    stopping; in between, what was so before holds.

    Args:
        each: NPUs of a replica.
        found: looks for them; None makes one.
    """

    def __init__(self, each: float, found: Found | None = None) -> None:
        self._each = each
        self._found = found or Found()
        self._others = 0.0
        self._looks = 0

    def room(self, running: int, target: int) -> int:
        """The most replicas that fit; without a limit until the cluster has been looked at.

        Args:
            running: replicas that run.
            target: how many there are to be.
        """
        self._found.keep_looking(self)
        looks, total, free = self._found.read()
        if total is None:
            return _NO_LIMIT
        if running != target:
            self._looks = looks
        elif looks > self._looks + 1:  # a look may have begun before the last replica started
            self._others = max(0.0, total - free - running * self._each)
        return int((total - self._others) / self._each + _ROUNDING)


_NO_LIMIT = 1 << 30
_ROUNDING = 1e-6
"""Ten tenths of an NPU are one."""


class Found:
    """NPUs of the cluster, all and free, looked up on a thread that ends with the policy."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._looks = 0
        self._total: float | None = None
        self._free = 0.0

    def keep_looking(self, owner: object) -> None:
        """Start the thread, once; it ends when `owner` is gone."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="ascend-npus", daemon=True)
            weakref.finalize(owner, self._stop.set)
            self._thread.start()

    def read(self) -> tuple[int, float | None, float]:
        """How often was looked, and NPUs in total and free then; None before the first look."""
        with self._lock:
            return self._looks, self._total, self._free

    def _look(self) -> None:
        while not self._stop.is_set():
            try:
                free = ray.available_resources().get("NPU", 0.0)  # type: ignore[no-untyped-call]  # Ray's own is untyped
                total = ray.cluster_resources().get("NPU", 0.0)  # type: ignore[no-untyped-call]  # likewise
            except RayError as error:
                logger.warning(
                    f"the cluster's NPUs cannot be looked up; what was known of them holds: {error}"
                )
            else:
                with self._lock:
                    self._looks += 1
                    self._total, self._free = total, free
            self._stop.wait(LOOK_S)
