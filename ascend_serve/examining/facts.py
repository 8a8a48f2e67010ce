"""What an examination rests on: everything that was read, as values. None always means that it could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ascend_serve.spec.toolchain import Toolchain


@dataclass(frozen=True, slots=True)
class DeviceFile:
    """A file of the driver in /dev.

    Attributes:
        path: its path.
        owner: its user and group, such as `HwHiAiUser:HwHiAiUser`; numbers where they have no names.
        mode: its permissions, such as 0o660.
        usable: whether this process may read and write it.
    """

    path: str
    owner: str
    mode: int
    usable: bool


@dataclass(frozen=True, slots=True)
class Package:
    """What a version file of the driver, the firmware or the toolkit says.

    Attributes:
        file: the version file.
        version: for people, such as `24.1.rc3`.
        inner: the version that packages are matched by, such as `V100R001C19SPC001B124`; empty if it has none.
        compatible: beginnings of the inner versions it works with; empty if it tells none.
        firmware: the driver's first and last firmware versions it works with, range by range.
    """

    file: str
    version: str
    inner: str = ""
    compatible: tuple[str, ...] = ()
    firmware: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """The machine and who asks.

    Attributes:
        user: name of the user, or its number.
        groups: names of the user's groups, or their numbers.
        contained: whether this is the inside of a container.
        device_files: /dev/davinci0 and on, by number.
        manager_files: the driver's other files, by name; those that are missing are not in it.
        driver: the driver's version file.
        firmware: the firmware's version file.
        toolkit: CANN's version file, below the root that the environment names.
        set_env: a script that would set CANN's environment, if one is installed.
        hal_folder: a folder in which the loader finds the driver's library (libascend_hal.so).
    """

    user: str
    groups: tuple[str, ...]
    contained: bool
    device_files: Mapping[int, DeviceFile]
    manager_files: Mapping[str, DeviceFile]
    driver: Package | None
    firmware: Package | None
    toolkit: Package | None
    set_env: str | None
    hal_folder: str | None


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables that matter here, as set; None where unset."""

    ascend_home_path: str | None = None
    ascend_rt_visible_devices: str | None = None
    ascend_visible_devices: str | None = None
    ray_keeps_visible_devices: bool = False
    on_fast_path: bool = False


@dataclass(frozen=True, slots=True)
class Pyacl:
    """What the module `acl` answers, asked in a process of its own.

    Attributes:
        origin: the file that is imported; None if there is no such module.
        provider: who provides it: CANN, or an installed distribution.
        trouble: why it gave no answers; empty if it did.
        soc_name: full name of the SoC.
        ordinals: how many devices a process with this environment sees.
        healthy: of each ordinal, whether the driver calls it in order.
    """

    origin: str | None
    provider: Toolchain | None
    trouble: str = ""
    soc_name: str | None = None
    ordinals: int | None = None
    healthy: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Atc:
    """The compiler that would be used.

    Attributes:
        path: of the program; None if there is none.
        vendor: whose it is: `CANN`, or an installed distribution that has a command of this name.
        trouble: why there is none.
    """

    path: str | None
    vendor: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Chip:
    """A chip as npu-smi shows it: numbers of its board and on it, health, and memory in MiB."""

    npu: int
    chip: int
    health: str
    used_mib: int
    total_mib: int


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that npu-smi shows on a chip; `alive` is whether it runs, as far as can be seen from here."""

    npu: int
    chip: int
    pid: int
    name: str
    mib: int
    alive: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device is, by `npu-smi info -m`.

    Attributes:
        npu: number of its board, which npu-smi takes as `-i`.
        chip: number on the board, `-c`.
        logical: what the runtime and `ASCEND_RT_VISIBLE_DEVICES` count by; None where npu-smi does not tell it.
        physical: what /dev/davinci… counts by; None where npu-smi does not tell it.
    """

    npu: int
    chip: int
    logical: int | None
    physical: int | None


@dataclass(frozen=True, slots=True)
class Smi:
    """What npu-smi says.

    Attributes:
        chips: of this machine.
        holders: the processes on them.
        places: which device is which.
        trouble: why it says nothing of the chips.
    """

    chips: tuple[Chip, ...] = ()
    holders: tuple[Holder, ...] = ()
    places: tuple[Place, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Compiled:
    """An artefact in the store."""

    name: str
    soc: str
    vendor: str


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What the store holds; `trouble` is why it cannot be read."""

    store: str
    compiled: tuple[Compiled, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A living Ray node.

    Attributes:
        address: its IP address.
        here: whether it is this machine.
        npus: its resource `NPU`.
        soc_label: its label `ray.io/accelerator-type`, empty if it has none.
    """

    address: str
    here: bool
    npus: float
    soc_label: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """The Ray cluster that answers.

    Attributes:
        nodes: its living nodes.
        fast_path: whether HAProxy stands in front of Serve's replicas; None if Serve does not run.
        tls: whether Serve was given a certificate.
        trouble: why nothing is known; empty if something is.
    """

    nodes: tuple[Node, ...] = ()
    fast_path: bool | None = None
    tls: bool = False
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was read; `smi` is None without npu-smi, `cluster` None if no Ray answers."""

    host: Host
    environment: Environment
    pyacl: Pyacl
    atc: Atc
    artifacts: Artifacts
    smi: Smi | None = None
    cluster: Cluster | None = None
