"""The Ascend SoCs a model can be compiled for, and which compiled model runs where.

The table rests on the platform files that CANN ships, one per `soc_version` (facts: ATC §4.2). A name's case
matters, as it does to ATC. Products are not named here: several carry the same SoC, and one `.om` serves them
all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from ascend_serve.errors import ConfigError

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Soc:
    """One `soc_version`.

    Attributes:
        name: what ATC's `--soc_version` takes and `acl.get_soc_name()` answers, such as `Ascend310P3`.
        short: the family that operator packages are named after, such as `Ascend310P`.
        arch: the NPU architecture's number; a compiled model loads on its own architecture only. None for chips of
            earlier or other toolchains, whose platform files are not public.
        memory_bytes: device memory as the platform file states it, or None where it states none.
    """

    name: str
    short: str
    arch: int | None
    memory_bytes: int | None = None


def _family(short: str, arch: int | None, memory_gib: Mapping[str, int | None]) -> list[Soc]:
    return [Soc(name, short, arch, gib and gib * _GIB) for name, gib in memory_gib.items()]


def _unstated(prefix: str, suffixes: str) -> dict[str, int | None]:
    return {prefix + suffix: None for suffix in suffixes.split()}


SOCS: dict[str, Soc] = {
    soc.name: soc
    for soc in [
        *_family("Ascend310P", 2002, {f"Ascend310P{n}": 24 for n in (1, 3, 5, 7)}),
        *_family("Ascend310B", 3002, {"Ascend310B1": 32, **_unstated("Ascend310B", "2 3 4")}),
        # `Ascend910B` without a digit is first-generation hardware; `Ascend910B1` and on are Atlas A2.
        *_family("Ascend910", 1001, _unstated("Ascend910", "A ProA PremiumA B ProB")),
        *_family(
            "Ascend910B",
            2201,
            # The platform file of B4-1 says 32 GiB where the card itself reports 64 (facts §7: trust hardware).
            {
                "Ascend910B1": 64,
                "Ascend910B2": 64,
                "Ascend910B2C": None,
                "Ascend910B3": 64,
                "Ascend910B4": 32,
                "Ascend910B4-1": 64,
            },
        ),
        *_family(
            "Ascend910_93",
            2201,
            {f"Ascend910_{n}": 64 for n in (9391, 9392, 9381, 9382, 9372, 9362)} | {"Ascend910_9363": 32},
        ),
        *_family("Ascend350", 3510, {"Ascend350_354f": 56, "Ascend350_355e": 64}),
        *_family(
            "Ascend950",
            3510,
            _unstated("Ascend950PR_", "9579 957b 957bx 957c 957d 9589 958b 9599 950z")
            | _unstated("Ascend950DT_", "9571 9572 9573 9574 9575 9576 9577 9578")
            | _unstated("Ascend950DT_", "9581 9581x 9582 9582x 9583 9584 9585 9586 9587 9588")
            | _unstated("Ascend950DT_", "9591 9592 9595 9596 95A1 95A2 950x 950y"),
        ),
        *_family("Ascend031", 3004, {"Ascend031": None}),
        *_family("Ascend035", 3505, _unstated("Ascend035", " A B") | {"Ascend035": None}),
        # Named by public commands, files and headers, and in no platform file of today's CANN.
        *_family("Ascend310", None, {"Ascend310": None}),
        *_family("Ascend310P", None, {"Ascend310P2": None, "Ascend310P4": None, "Ascend710": None}),
        *_family("Ascend610", None, {"Ascend610": None, "Ascend610Lite": None}),
        *_family("OPTG", None, {"OPTG": None}),
    ]
}
"""Every known SoC by name."""

_ALIASES = {"Ascend910": "Ascend910A"}
_FAMILIES = {soc.short for soc in SOCS.values()}


def resolve_soc(name: str) -> Soc:
    """Find a SoC by the name ATC takes; `Ascend910` is the one alias, of `Ascend910A`.

    Raises:
        ConfigError: no such SoC; the message names the nearest ones.
    """
    soc = SOCS.get(_ALIASES.get(name, name))
    if soc is None:
        close = get_close_matches(name, SOCS, n=3)
        known = f"nearest: {', '.join(close)}" if close else f"families: {', '.join(sorted(_FAMILIES))}"
        raise ConfigError(
            f"unknown SoC '{name}' ({known}); give the name that `acl.get_soc_name()` answers on "
            "the machine that will serve the model, letter by letter"
        )
    return soc


def runs_on(om_soc: str, device_soc: str) -> bool:
    """Whether a model compiled for `om_soc` loads on a device that reports `device_soc`.

    CANN compares architectures when it loads a model and skips the check for a model that names no SoC
    (facts: ATC §4.4). A SoC that is not in the table runs its own models only. True with two different names
    is worth a warning: the plan inside the model was made for the other chip's core count and memory.

    Args:
        om_soc: SoC that the `.om` names, or an empty string.
        device_soc: SoC that the device reports.
    """
    if not om_soc:
        return True
    ours, theirs = (SOCS.get(_ALIASES.get(name, name)) for name in (om_soc, device_soc))
    if ours is None or theirs is None or ours.arch is None or theirs.arch is None:
        return om_soc == device_soc
    return ours.arch == theirs.arch
