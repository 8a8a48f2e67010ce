"""The devices a process sees here: which cards they are, how they are, and who holds their memory."""

from __future__ import annotations

from collections.abc import Iterator

from ascend_serve.examining.facts import Chip, Facts, Holder, Place, Smi
from ascend_serve.examining.finding import Finding, error, note, ok, warning
from ascend_serve.examining.visible import read_visible
from ascend_serve.spec.soc import SOCS

_HELD_BY_NOBODY = 0.15
"""Share of a chip's memory that is in use with nobody on it past which somebody is missing: an idle chip shows up to
9 % (1807 of 21527 MiB on a 310P3, 3197 of 65536 on a 910B4-1; facts: ATC §5.5)."""

_VISIBLE = "ASCEND_RT_VISIBLE_DEVICES"


def check_visible(facts: Facts) -> Iterator[Finding]:
    """The list of visible devices means what its author meant."""
    listed = facts.environment.ascend_rt_visible_devices
    if listed is None:
        if facts.environment.ascend_visible_devices is not None:
            yield note(
                "visible",
                f"ASCEND_VISIBLE_DEVICES={facts.environment.ascend_visible_devices} is read by Ascend Docker Runtime "
                f"alone, when a container starts",
                f"to hide devices from a process, set {_VISIBLE}",
            )
        return
    present = len(facts.host.device_files) or None
    visible = read_visible(listed, present)
    told = f"{_VISIBLE}={listed}"
    ascending = ",".join(
        map(str, sorted({int(part) for part in listed.replace(" ", "").split(",") if part.isdigit()}))
    )
    if visible.unordered:
        yield error(
            "visible",
            told,
            "numbers ascend and none stands twice, else every call fails with 207004",
            f"export {_VISIBLE}={ascending}",
        )
    elif visible.stopped_at is not None:
        seen = ", ".join(map(str, visible.listed)) or "none"
        yield error(
            "visible",
            f"{told}: seen are {seen}",
            f"the runtime stops reading at {visible.stopped_at!r}, which is no number of a device here; a blank ends "
            "the list too",
            f"list device numbers alone, ascending, with commas: 0,1,{'…' if present is None else present - 1}",
        )
    elif facts.pyacl.ordinals not in (None, len(visible.listed)):
        yield error(
            "visible",
            f"{told}: {len(visible.listed)} devices, and acl.rt.get_device_count() says {facts.pyacl.ordinals}",
            "the runtime leaves out, in silence, numbers of devices that are not there; they are logical ones, which "
            "count the devices of this container or machine from 0",
            "list numbers below the count that `npu-smi info -m` shows as Chip Logic ID",
        )
    else:
        yield ok("visible", f"{told}: {_ordinals(visible.listed, facts.smi)}")


def _ordinals(listed: tuple[int, ...], smi: Smi | None) -> str:
    places = {place.logical: place for place in (smi.places if smi else ())}
    return ", ".join(
        f"ordinal {ordinal} is device {logical}{_placed(places.get(logical))}"
        for ordinal, logical in enumerate(listed)
    )


def _placed(place: Place | None) -> str:
    if place is None:
        return ""
    physical = "" if place.physical is None else f", physical {place.physical}"
    return f" (NPU {place.npu} chip {place.chip}{physical})"


def check_ids(facts: Facts) -> Iterator[Finding]:
    """Logical and physical numbers of the devices agree, or it is said which is which."""
    places = facts.smi.places if facts.smi else ()
    apart = [
        place
        for place in places
        if None not in (place.logical, place.physical) and place.logical != place.physical
    ]
    if apart:
        told = ", ".join(f"logical {place.logical} is physical {place.physical}" for place in apart)
        yield note(
            "ids",
            told,
            f"Ray, acl and {_VISIBLE} count logical ids; npu-smi, Kubernetes and /dev/davinci… count physical ones",
        )


def check_devices(facts: Facts) -> Iterator[Finding]:
    """There are devices, their SoC is known, and the driver calls them in order."""
    acl = facts.pyacl
    if acl.ordinals is None:
        return
    if acl.ordinals == 0:
        yield error(
            "devices",
            "acl.rt.get_device_count() says 0",
            "a replica takes one device",
            f"see the findings above; {_VISIBLE} may hide all of them",
        )
        return
    if acl.soc_name is None:
        yield error(
            "devices",
            f"{acl.ordinals}, of an SoC whose name acl.get_soc_name() cannot tell",
            "models are compiled for an SoC by its name",
            "install a newer driver: old ones do not know the newer grades of a chip",
        )
    elif acl.soc_name not in SOCS:
        yield warning(
            "devices",
            f"{acl.ordinals} of {acl.soc_name}",
            "an SoC that this version knows",
            "models compiled for that very name are served all the same",
        )
    else:
        yield ok("devices", f"{acl.ordinals} of {acl.soc_name}")
    for ordinal, healthy in enumerate(acl.healthy):
        if not healthy:
            yield error(
                "devices",
                f"acl.rt.query_device_status({ordinal}) says abnormal",
                "replicas on it fail, and Ray would hand it out again",
                "`npu-smi info -t health -i <card>` says why; `npu-smi set -t reset -i <card> -c <chip>` resets it",
            )


def check_memory(facts: Facts) -> Iterator[Finding]:
    """No chip is ill, and no memory is held by processes that are gone."""
    smi = facts.smi
    if smi is None:
        if facts.host.driver is not None:
            yield note(
                "npu-smi",
                "not found, so who holds device memory is not known",
                "mount /usr/local/bin/npu-smi and /usr/local/dcmi into the container",
            )
        return
    if smi.trouble:
        yield warning("npu-smi", smi.trouble, "`npu-smi info` lists the chips", _smi_fix(smi.trouble))
        return
    for chip in smi.chips:
        holders = [holder for holder in smi.holders if (holder.npu, holder.chip) == (chip.npu, chip.chip)]
        yield from _chip(chip, holders, contained=facts.host.contained)


def _smi_fix(trouble: str) -> str:
    if "-8005" in trouble or "-8020" in trouble:
        return (
            "the device is mapped into another container, or its files cannot be opened: stop that one, or see the "
            "permissions above"
        )
    return "mend driver and device files first"


def _chip(chip: Chip, holders: list[Holder], *, contained: bool) -> Iterator[Finding]:
    name = f"NPU {chip.npu} chip {chip.chip}"
    reset = f"`npu-smi set -t reset -i {chip.npu} -c {chip.chip}` frees it, once nobody else is on the chip"
    if chip.health != "OK":
        yield (warning if chip.health == "Warning" else error)(
            "health",
            f"{name}: {chip.health}",
            "a chip in order says OK",
            f"`npu-smi info -t health -i {chip.npu}` says why",
        )
    used = f"{name}: {chip.used_mib} of {chip.total_mib} MiB in use"
    dead = [holder for holder in holders if not holder.alive]
    for holder in dead:
        told = (
            f"{name}: {holder.mib} MiB held by process {holder.pid} ({holder.name}), which does not run here"
        )
        if contained:
            yield note("memory", told, "look on the host: a container does not see the processes of others")
        else:
            yield error("memory", told, "the driver frees what a process held when it ends", reset)
    if not holders and chip.used_mib > _HELD_BY_NOBODY * chip.total_mib:
        yield warning(
            "memory",
            f"{used}, and no process on it",
            f"an idle chip uses less than {_HELD_BY_NOBODY:.0%}",
            f"look for its user on the host and in other containers; {reset}",
        )
    elif not dead:
        users = ", ".join(f"{holder.pid} {holder.name}" for holder in holders) or "nobody"
        yield ok("memory", f"{used}, by {users}")
