"""Another replica, for requests that this one had accepted when its device was lost.

To infer twice does no harm, so a request whose batch a fault of the device ended is sent to another replica of the
deployment, once; and so is what comes until Serve has taken this one away. Whichever door the request came through, its
client sees nothing of the fault but the time it took.

It rests on handles: a replica may have one of its own deployment. Should Serve choose this very replica again, the
answer is `ReplicaLost`, and it is asked again.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from ascend_serve.batching.packing import Tensors
from ascend_serve.engine import Engine, Results
from ascend_serve.errors import AclDeviceFault, AscendServeError, LaneStalled
from ascend_serve.serving.fleet.lost import ReplicaLost
from ascend_serve.serving.log import logger
from ascend_serve.serving.served_model import Front, Submit

MOST_S = 10.0
"""How long the answer of another replica is waited for; less when the deadline comes earlier."""

PAUSES_S = (0.01, 0.25)
"""Between an answer of `ReplicaLost` and the next try, at first and at most: Serve may choose this very replica again
until its controller has told everybody that it is lost."""

KNOWN_S = 1.0
"""How long it is believed that there are, or are not, other replicas."""


class Elsewhere:
    """Sends what this replica cannot answer any more to another one.

    Args:
        model: the model's name.
        version: the model's version.
    """

    def __init__(self, model: str, version: str) -> None:
        self._model = model
        self._version = version
        self._handle: Any = None
        self._others: asyncio.Task[bool] | None = None
        self._known_until = 0.0
        self._quiet_until = 0.0

    async def __call__(
        self, fault: AscendServeError, tensors: Tensors, deadline: float | None, priority: int | None
    ) -> Results:
        """The outputs that another replica computes.

        Args:
            fault: what ended the request here.
            tensors: all inputs by name, checked.
            deadline: in seconds of the monotonic clock, or None.
            priority: as it was offered here.

        Raises:
            ReplicaLost: there is no other replica, or none that answers in time; the fault is its cause.
            AscendServeError: what the other replica answered instead of outputs.
        """
        give_up_at = time.monotonic() + MOST_S
        if deadline is not None:
            give_up_at = min(give_up_at, deadline)
        if await self._others_run(give_up_at):
            pause_s, longest_s = PAUSES_S
            while (left_s := give_up_at - time.monotonic()) > 0:
                try:
                    return await asyncio.wait_for(self._ask(tensors, left_s, priority), left_s)
                except RayTaskError as error:
                    cause = error.cause
                    if isinstance(cause, ReplicaLost):
                        await asyncio.sleep(min(pause_s, left_s))
                        pause_s = min(2 * pause_s, longest_s)
                        continue
                    if isinstance(cause, AscendServeError):
                        raise cause from fault
                    self._warn(f"another replica failed to answer in this one's stead: {error}")
                    break
                except (asyncio.TimeoutError, RayError, RayServeException) as error:
                    self._warn(f"no other replica answered in this one's stead: {error!r}")
                    break
        raise ReplicaLost(fault) from fault

    async def _ask(self, tensors: Tensors, deadline_s: float, priority: int | None) -> Results:
        if self._handle is None:
            context = serve.get_replica_context()
            self._handle = serve.get_deployment_handle(context.deployment, context.app_name)
        outputs: Results = await self._handle.infer_for_another.remote(
            dict(tensors), self._model, self._version, deadline_s, priority
        )
        return outputs

    def _warn(self, words: str) -> None:
        """Log it, unless there was something to be logged within the last `KNOWN_S`: all fail for the same reason."""
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + KNOWN_S
            logger.warning(words)

    async def _others_run(self, give_up_at: float) -> bool:
        """Whether the deployment has other replicas, as Serve's controller knows it; not if nobody can say."""
        now = time.monotonic()
        if self._others is None or (self._others.done() and now >= self._known_until):
            self._known_until = now + KNOWN_S
            self._others = asyncio.create_task(asyncio.to_thread(_others_are_known))
        try:
            return await asyncio.wait_for(asyncio.shield(self._others), give_up_at - now)
        except asyncio.TimeoutError:
            return False


def _others_are_known() -> bool:
    """As `_others_run`; False where the controller is gone, or knows the application no more since it is deleted."""
    try:
        return _others_run()
    except (KeyError, RayError, RayServeException) as error:
        logger.warning(f"whether other replicas could answer in this one's stead is not known: {error!r}")
        return False


def _others_run() -> bool:
    context = serve.get_replica_context()
    status = serve.status().applications[context.app_name].deployments[context.deployment]
    states: Any = status.replica_states  # by the names of states, whatever it is annotated as
    # Once Serve has seen that this replica is lost, it is not among those that run any more.
    known = "STOPPING" in states
    return bool(states.get("RUNNING", 0) > (0 if known else 1))


async def answer_here(engine: Engine, tensors: Tensors, deadline_s: float, priority: int | None) -> Results:
    """Answer a request of another replica, and send it nowhere else.

    Raises:
        ReplicaLost: this replica's device is lost too.
        AscendServeError: what ended the request.
    """
    try:
        request = engine.offer(tensors, deadline=time.monotonic() + deadline_s, priority=priority)
    except (AclDeviceFault, LaneStalled) as fault:
        raise ReplicaLost(fault) from None
    try:
        return await request.result
    except asyncio.CancelledError:
        request.cancel()
        raise
    except (AclDeviceFault, LaneStalled) as fault:
        raise ReplicaLost(fault) from None


def behind(front: Front, elsewhere: Elsewhere) -> Front:
    """A front with another replica behind it; `Engine.submit` has that itself."""

    def made(engine: Engine, max_batch_size: int) -> Submit:
        submit = front(engine, max_batch_size)

        async def run(
            tensors: Tensors, *, deadline: float | None = None, priority: int | None = None
        ) -> Results:
            try:
                return await submit(tensors, deadline=deadline, priority=priority)
            except (AclDeviceFault, LaneStalled) as error:
                fault = error
            return await elsewhere(fault, tensors, deadline, priority)

        return run

    return made
