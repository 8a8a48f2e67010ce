"""How a replica comes to its models: the `.om` of each for the device it was given, or what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

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
    """What the builder tells a replica of a model: its name and version in URLs, and the artefact for each SoC.

    Attributes:
        name: the model's name.
        version: the model's version.
        artifacts: by SoC; `ANY_SOC` for a single ready-made file.
        remedy: what to do when the device's SoC is not among them.
    """

    name: str
    version: str
    artifacts: Mapping[str, Artifact]
    remedy: str


@dataclass(slots=True)
class _Opened:
    """The artefact that was opened, where, and what is kept of its gears' times."""

    artifact: Artifact
    soc_name: str
    toolchain: Toolchain
    kept: GearTimes | None


class Opening:
    """Opens the one NPU this process was given, with the models for its SoC, and keeps what their gears take.

    Args:
        served: what the builder said of each model.
        slots: of each model, preallocated rooms for a batch; None has them chosen from the measured times.
        memory_of: how much of so many bytes of device memory all of it may take; None: whatever is free.
    """

    def __init__(
        self, served: Sequence[Served], *, slots: Sequence[int | None], memory_of: Callable[[int], int | None]
    ) -> None:
        self._served = tuple(served)
        self._slots = tuple(slots)
        self._memory_of = memory_of
        self._opened: list[_Opened] = []

    def settle(self, slots: Sequence[int]) -> None:
        """Have every later opening make that many slots of each model: their engines count on them."""
        self._slots = tuple(slots)

    def sessions(self) -> Sequence[Session]:
        """Open the device and a session for each model, in their order. Runs on the lane, anew after a failed task.

        Raises:
            ArtifactError: no artefact for this SoC, one that is damaged, or one for another architecture.
            ToolchainMismatch: an artefact and the runtime come from different toolchains.
            DeviceError: the device, or too little memory on it for all of the models.
        """
        # Ray shows a replica its own NPU alone, so it is ordinal 0 (ASCEND_RT_VISIBLE_DEVICES).
        device = Device.open(0)
        self._opened = []
        try:
            loads = [
                self._load(served, slots, device)
                for served, slots in zip(self._served, self._slots, strict=True)
            ]
            most_bytes = self._memory_of(device.memory().total_bytes)
        except BaseException:
            device.close()
            raise
        return open_sessions(device, loads, most_bytes=most_bytes, close_device=True)

    def _load(self, served: Served, slots: int | None, device: Device) -> Load:
        """What is to be loaded for one model, brought to this machine."""
        artifact = choose(served, device.soc_name)
        if artifact.toolchain.vendor != device.toolchain.vendor:
            raise ToolchainMismatch(
                f"{artifact.location} was made by {artifact.toolchain}, but pyACL here is {device.toolchain}'s: "
                "compile the model again with the tools of this machine"
            )
        path = artifact.fetch()
        known = _known(artifact, device.soc_name, device.toolchain)
        self._opened.append(_Opened(artifact, device.soc_name, device.toolchain, known))
        # An artefact may be served under another name than it was compiled with.
        spec = replace(artifact.spec, name=served.name)
        return Load(path, spec, slots, known, artifact.input_order)

    def keep(self, number: int, measured: GearTimes) -> None:
        """Keep what a model's gears take beside its artefact, unless that is kept already. Reads and writes files.

        It is a help for the next start and no more, so what goes wrong is logged.

        Args:
            number: of the model, as `served` counts them.
            measured: what its gears take.
        """
        if number >= len(self._opened):
            return  # it was never opened
        opened = self._opened[number]
        if measured == opened.kept:
            return
        try:
            times.write(opened.artifact, opened.soc_name, opened.toolchain, measured)
        except OSError as error:
            logger.warning(f"what the gears take could not be kept: {error}")
        else:
            opened.kept = dict(measured)


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
