"""How a replica comes to its model: the `.om` for the device it was given, or an error that says what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ascend_serve.artifacts import times
from ascend_serve.artifacts.artifact import Artifact
from ascend_serve.errors import ArtifactError, ArtifactMissing, SocMismatch, ToolchainMismatch
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.sharing import Load, open_sessions
from ascend_serve.serving.log import logger
from ascend_serve.spec.soc import runs_on
from ascend_serve.spec.timing import GearTimes
from ascend_serve.spec.toolchain import Toolchain

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


class Opening:
    """Opens the one NPU this process was given, with the model for its SoC, and keeps what its gears take.

    Args:
        served: what the builder said.
        slots: preallocated rooms for a batch; None has them chosen from the measured times.
    """

    def __init__(self, served: Served, *, slots: int | None) -> None:
        self._served = served
        self._slots = slots
        self._opened: tuple[Artifact, str, Toolchain] | None = None
        self._kept: GearTimes | None = None

    def sessions(self) -> Sequence[Session]:
        """Open device and session. Runs on the lane.

        Raises:
            ArtifactError: no artefact for this SoC, one that is damaged, or one for another architecture.
            ToolchainMismatch: the artefact and the runtime come from different toolchains.
            DeviceError: the device, or too little memory on it.
        """
        # Ray shows a replica its own NPU alone, so it is ordinal 0 (ASCEND_RT_VISIBLE_DEVICES).
        device = Device.open(0)
        try:
            artifact = choose(self._served, device.soc_name)
            if artifact.toolchain.vendor != device.toolchain.vendor:
                raise ToolchainMismatch(
                    f"{artifact.location} was made by {artifact.toolchain}, but pyACL here is {device.toolchain}'s: "
                    "compile the model again with the tools of this machine"
                )
            path = artifact.fetch()
            self._opened = artifact, device.soc_name, device.toolchain
            self._kept = _known(artifact, device.soc_name, device.toolchain)
        except BaseException:
            device.close()
            raise
        load = Load(path, artifact.spec, self._slots, self._kept, artifact.input_order)
        return open_sessions(device, [load], close_device=True)

    def keep(self, measured: GearTimes) -> None:
        """Keep what the gears take beside the artefact, unless that is kept already. Reads and writes files.

        It is a help for the next start and no more, so what goes wrong is logged.
        """
        if self._opened is None or measured == self._kept:
            return
        try:
            times.write(*self._opened, measured)
        except OSError as error:
            logger.warning(f"what the gears take could not be kept: {error}")
        else:
            self._kept = dict(measured)


def _known(artifact: Artifact, soc_name: str, toolchain: Toolchain) -> GearTimes | None:
    try:
        return times.read(artifact, soc_name, toolchain)
    except (ArtifactError, OSError) as error:
        logger.warning(f"what the gears take is measured anew: {error}")
        return None


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
