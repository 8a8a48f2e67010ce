"""What Serve is told of a replica whose device is lost.

Serve replaces a replica after three failed health checks in a row, but at once when its actor has died; and routers
stop sending to an actor that has. So an error of a lost device is also Ray's `ActorDiedError`, with this actor's id: it
is what both look for.

Rests on ray/serve/_private: `deployment_state.py` (`_check_active_health_check`: a `RayActorError` of the check is
`ACTOR_CRASHED`) and `router.py` (`_handle_actor_died_error`), Ray 2.60. Where a later Ray does otherwise, three checks
have to fail.
"""

from __future__ import annotations

import ray
from ray.exceptions import ActorDiedError

from ascend_serve.errors import DeviceError


class ReplicaLost(ActorDiedError, DeviceError):  # noqa: N818  # the house names errors by what happened
    """The replica's device is lost, and the replica with it; to be raised in a replica.

    Args:
        fault: what happened to the device.
    """

    http_status = 503
    grpc_status = 14

    def __init__(self, fault: BaseException) -> None:
        super().__init__()
        self.actor_id = ray.get_runtime_context().get_actor_id() or ""
        self.error_msg = f"the replica's device is lost: {fault}"
        self.args = (self.error_msg,)
