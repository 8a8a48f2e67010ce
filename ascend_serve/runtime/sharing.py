"""Several models on one device: all fit before any is loaded, and their runs take turns on one set of streams.

Taking turns makes a run's time its own: two models that ran beside each other would each slow the other down by an
amount that nothing tells, and their cost tables, and who had how much of the device, would mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ascend_serve.runtime import budget
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.measuring import LEAST_SLOTS
from ascend_serve.runtime.session import Session
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.timing import GearTimes


@dataclass(frozen=True, slots=True)
class Load:
    """A model to be loaded; the attributes are arguments of `Session.open`."""

    om_path: Path
    spec: ModelSpec
    slots: int | None = 2
    known: GearTimes | None = None
    order: Sequence[str] = ()


def open_sessions(
    device: Device, loads: Sequence[Load], *, most_bytes: int | None = None, close_device: bool = False
) -> tuple[Session, ...]:
    """Open a session for each model; to be closed newest first, as a lane does.

    Args:
        device: an open device; the calling thread is bound to it.
        loads: at least one.
        most_bytes: device memory that all of them may take, further slots included; None: what is free.
        close_device: whether closing the first session closes the device; it is then also closed when opening fails.

    Raises:
        TooLittleMemory: together they do not fit the device's free memory, or `most_bytes`; none was loaded then.
        ArtifactError: as `Session.open`, for the first model it is true of; none stays loaded.
    """
    with ExitStack() as stack:
        if close_device:
            stack.callback(device.close)
        needs = [
            budget.Need.of(load.om_path, load.spec, LEAST_SLOTS if load.slots is None else load.slots)
            for load in loads
        ]
        budget.require(needs, device.memory(), most_bytes)
        growing = sum(load.slots is None for load in loads)
        spare_bytes = None
        if most_bytes is not None and growing:
            spare_bytes = (most_bytes - sum(need.total for need in needs)) // growing
        sessions: list[Session] = []
        for load in loads:
            session = Session.open(
                device,
                load.om_path,
                load.spec,
                slots=load.slots,
                known=load.known,
                order=load.order,
                spare_bytes=spare_bytes,
                streams=sessions[0].streams if sessions else None,
                close_device=close_device and not sessions,
            )
            stack.callback(session.close)
            sessions.append(session)
        stack.pop_all()
    return tuple(sessions)
