"""A card that is lost for good is kept from the replicas that would only find it lost again.

Ray knows an NPU as a number that is free or taken, and gives the number of a dead card to the next replica as readily
as any other. But a number stays taken for as long as the process that has it lives. So a replica that finds its card
lost as it starts does not go at once:

- While there is no other NPU to be had, it stays where it is, starting, for a back-off time; the rest of the lost card
  is no other one, where replicas are parts of one. Serve starts no other in its place, and the application serves on
  with the cards that are left, one fewer than it was asked for.
- As soon as there is another, or at the end of that time, it gives up. Serve starts another replica at once, while this
  one, stopping, still holds the dead card for a few seconds: so that one gets a healthy card, or waits for one, which
  is how the cluster's autoscaler comes to know of it. The dead card may be well again by the time it is tried next.

Rests on ray/serve/_private/deployment_state.py, Ray 2.60: replicas that start count toward the target, replicas that
stop do not (`_get_target_replica_delta`), and one that fails to start is stopped in good order (`_stop_replica`), with
its destructor awaited for as long as `graceful_shutdown_timeout_s`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import ray
from ray._private.state import available_resources_per_node
from ray.exceptions import RayError

from ascend_serve.errors import AclDeviceFault, AclTaskFault, LaneStalled
from ascend_serve.serving.log import logger

LOOK_S = 1.0
"""Seconds between two looks whether another NPU is free."""

HOLD_S = 8.0
"""How long a replica that stops holds its card, for the next one to find another; Serve waits 20 s by default."""

_ROUNDING = 1e-6
"""Ten tenths of an NPU are one."""


def is_of_the_card(error: BaseException) -> bool:
    """Whether an error at the start of a replica says that its card is lost.

    A task that fails as the gears are warmed is the model's fault as well as may be, and would be on every card.
    """
    return isinstance(error, AclDeviceFault | LaneStalled) and not isinstance(error, AclTaskFault)


class Quarantine:
    """Keeps the NPU of this process from others.

    Args:
        back_off_s: how long, while there is no other; 0 for not at all.
        npus: how much of an NPU a replica asks for.
    """

    def __init__(self, back_off_s: float, npus: float) -> None:
        self._back_off_s = back_off_s
        self._npus = npus
        self._holds = False

    async def sit_out(self, fault: BaseException) -> None:
        """Return when this replica is to give up starting; at once if Ray cannot say what NPUs there are.

        Args:
            fault: what was found of the card.
        """
        if not self._back_off_s:
            return
        try:
            await self._wait_for_another(fault)
        except RayError as error:
            # The caller raises what happened to the device, which is not to be hidden by this.
            logger.warning(f"whether another NPU is free is not known: {error!r}")

    async def _wait_for_another(self, fault: BaseException) -> None:
        if (await asyncio.to_thread(ray.cluster_resources)).get("NPU", 0.0) <= 1:
            return  # with one card there is nothing to be saved
        here = ray.get_runtime_context()
        cards = ", ".join(here.get_accelerator_ids().get("NPU", []))
        healthy = "; if the card is well, raise start_timeout_s" if isinstance(fault, LaneStalled) else ""
        logger.error(
            f"NPU {cards} of node {here.get_node_id()} is lost ({fault}): it is kept from other replicas "
            f"until another NPU is free, for {self._back_off_s:g} s at most{healthy}"
        )
        self._holds = True
        until = time.monotonic() + self._back_off_s
        while not is_another_free(
            await asyncio.to_thread(available_resources_per_node), here.get_node_id(), self._npus
        ):
            left_s = until - time.monotonic()
            if left_s <= 0:
                return
            await asyncio.sleep(min(LOOK_S, left_s))

    async def hold(self) -> None:
        """Hold the NPU while the next replica looks for one; returns at once if it is well."""
        if self._holds:
            await asyncio.sleep(HOLD_S)


def is_another_free(free: Mapping[str, Mapping[str, float]], node: str, npus: float) -> bool:
    """Whether a replica of so many NPUs may find room on another card than the lost one.

    Ray tells what is free of a node, through an API for developers, and not of a card. Where replicas are parts of one,
    the rest of the lost card may be among what is free of its node, so that much does not count there.

    Args:
        free: the resources that are free, by node.
        node: of the lost card.
        npus: how much of an NPU a replica asks for.
    """
    return any(
        left.get("NPU", 0.0) + _ROUNDING >= (1.0 if name == node else npus) for name, left in free.items()
    )
