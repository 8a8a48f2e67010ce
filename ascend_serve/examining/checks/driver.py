"""The driver and its files. Without a driver CANN's pyACL finds no device; another provider's may need none."""

from __future__ import annotations

from collections.abc import Iterator

from ascend_serve.examining.facts import DeviceFile, Facts
from ascend_serve.examining.finding import Finding, error, note, ok, warning
from ascend_serve.examining.version_files import within
from ascend_serve.spec.toolchain import CANN

MANAGER = "davinci_manager"
MANAGERS = (MANAGER, "devmm_svm", "hisi_hdc")
"""The driver's files beside those of the devices: management, memory, communication with the device."""

_CONTAINER = (
    "start the container with --device=/dev/davinci0 (and so on) --device=/dev/davinci_manager --device=/dev/devmm_svm "
    "--device=/dev/hisi_hdc -v /usr/local/Ascend/driver:/usr/local/Ascend/driver:ro, or with Ascend Docker Runtime"
)
_INSTALL = "install the driver for the card as root, and look with `npu-smi info`"


def check_driver(facts: Facts) -> Iterator[Finding]:
    """The driver is there, and it and the firmware were made for each other."""
    driver, firmware = facts.host.driver, facts.host.firmware
    if driver is None:
        yield from _without_driver(facts)
        return
    yield ok("driver", f"{driver.version} ({driver.file})")
    if firmware is None or not driver.firmware:
        return
    if within(firmware.version, driver.firmware):
        yield ok("firmware", f"{firmware.version} ({firmware.file})")
    else:
        ranges = ", ".join(f"{low} to {high}" for low, high in driver.firmware)
        yield error(
            "firmware",
            f"firmware {firmware.version} with driver {driver.version}",
            f"the driver works with firmware {ranges} ({driver.file})",
            "install driver and firmware of one release (Ascend HDK), then reboot",
        )


def _without_driver(facts: Facts) -> Iterator[Finding]:
    provider = facts.pyacl.provider
    if provider is not None and provider.vendor != CANN and not facts.host.device_files:
        yield note("driver", f"none, and {provider}, which provides acl, needs none")
        return
    if facts.host.device_files:
        yield warning(
            "driver",
            "device files, but no driver/version.info",
            "CANN reads the driver's version and its libraries below /usr/local/Ascend/driver",
            _CONTAINER if facts.host.contained else _INSTALL,
        )
    else:
        yield error(
            "driver",
            "no driver/version.info and no /dev/davinci0",
            "a card is used through its driver",
            _CONTAINER if facts.host.contained else _INSTALL,
        )


def check_device_files(facts: Facts) -> Iterator[Finding]:
    """The device files are there, and this user may use them."""
    host = facts.host
    if not host.device_files:
        if host.driver is not None:
            yield error(
                "device files",
                "no /dev/davinci0, although a driver is installed",
                "the driver makes a file for each card",
                _CONTAINER
                if host.contained
                else "see that the driver is loaded (`lsmod | grep drv`), then reboot",
            )
        return
    missing = [name for name in MANAGERS if name not in host.manager_files]
    if MANAGER in missing:
        yield error(
            "device files",
            f"/dev/{MANAGER} is missing",
            "every use of a card goes through it",
            _CONTAINER,
        )
    elif missing:
        yield warning(
            "device files",
            f"missing: {', '.join(f'/dev/{name}' for name in missing)}",
            "cards before the 950 series need them",
            _CONTAINER,
        )
    files = [*host.device_files.values(), *host.manager_files.values()]
    closed = [file for file in files if not file.usable]
    if closed:
        yield _closed(facts, closed)
    else:
        numbers = ", ".join(map(str, sorted(host.device_files)))
        yield ok("device files", f"/dev/davinci {numbers}; {host.user} may use them")


def _closed(facts: Facts, closed: list[DeviceFile]) -> Finding:
    first, host = closed[0], facts.host
    group = first.owner.partition(":")[2]
    files = ", ".join(file.path for file in closed)
    told = f"{files}: {first.owner} {first.mode:o}, and {host.user} is in {', '.join(host.groups)}"
    if host.contained:
        fix = f"run the container as a user of group {group} (--group-add), or as root with CAP_DAC_OVERRIDE"
    else:
        fix = f"`sudo usermod -aG {group} {host.user}`, then log in again"
    return error("permissions", told, f"reading and writing them takes group {group}", fix)
