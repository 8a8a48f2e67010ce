"""How a replica comes to its model: the `.om` for the device it was given, or an error that says what is missing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from ascend_serve.artifacts.store import Artifact
from ascend_serve.errors import ArtifactMissing, SocMismatch, ToolchainMismatch
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.session import Session
from ascend_serve.spec.soc import runs_on

logger = logging.getLogger("ray.serve")

ANY_SOC = "*"
"""Key of a single ready-made `.om`, which has to fit whatever device the replica gets."""


@dataclass(frozen=True, slots=True)
class Served:
    """What the builder tells a replica: the model's name in URLs, and the artefact for each SoC.

    Attributes:
        name: the model's name.
        artifacts: by SoC; `ANY_SOC` for a single ready-made file.
        remedy: what to do when the device's SoC is not among them.
    """

    name: str
    artifacts: Mapping[str, Artifact]
    remedy: str


def open_session(served: Served, *, slots: int) -> Session:
    """Open the one NPU this process was given and load the model for its SoC. Runs on the lane.

    Raises:
        ArtifactError: no artefact for this SoC, one that is damaged, or one for another architecture.
        ToolchainMismatch: the artefact and the runtime come from different toolchains.
        DeviceError: the device, or too little memory on it.
    """
    # Ray shows a replica its own NPU alone, so it is ordinal 0 (ASCEND_RT_VISIBLE_DEVICES).
    device = Device.open(0)
    try:
        artifact = choose(served, device.soc_name)
        if artifact.toolchain.vendor != device.toolchain.vendor:
            raise ToolchainMismatch(
                f"{artifact.location} was made by {artifact.toolchain}, but pyACL here is {device.toolchain}'s: "
                "compile the model again with the tools of this machine"
            )
        path = artifact.fetch()
    except BaseException:
        device.close()
        raise
    return Session.open(device, path, artifact.spec, slots=slots, close_device=True)


def choose(served: Served, soc: str) -> Artifact:
    """The artefact for a device of this SoC.

    Raises:
        ArtifactMissing: there is none.
        SocMismatch: the single ready-made `.om` is for another architecture.
    """
    if (exact := served.artifacts.get(soc)) is not None:
        return exact
    only = served.artifacts.get(ANY_SOC)
    if only is None:
        compiled = ", ".join(served.artifacts) or "none"
        raise ArtifactMissing(
            f"'{served.name}' is not compiled for {soc} (compiled: {compiled}). {served.remedy}"
        )
    if only.soc and not runs_on(only.soc, soc):
        raise SocMismatch(
            f"{only.location} was compiled for {only.soc} and does not run on {soc}. {served.remedy}"
        )
    if only.soc and only.soc != soc:
        logger.warning(
            f"{only.location} was compiled for {only.soc} and this is {soc}: the same architecture, so it loads, but "
            "it is tuned for another number of cores"
        )
    return only
