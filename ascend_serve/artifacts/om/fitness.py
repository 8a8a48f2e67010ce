"""Whether a compiled model runs on a SoC, in words.

CANN compares architectures when it loads a model, while its documents demand the very SoC; models of dynamic shape
are bound to a host as well (facts: ATC §4.1, §4.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ascend_serve.artifacts.om.reading import Om
from ascend_serve.errors import ConfigError
from ascend_serve.spec.soc import Soc, resolve_soc
from ascend_serve.spec.toolchain import CANN

Verdict = Literal["runs", "loads, unsupported", "does not load", "unknown"]

_WORST_FIRST: tuple[Verdict, ...] = ("does not load", "unknown", "loads, unsupported", "runs")


@dataclass(frozen=True, slots=True)
class Fitness:
    """Whether a model runs somewhere, and why."""

    verdict: Verdict
    reason: str


def fitness(om: Om, soc: str) -> Fitness:
    """Whether a model runs on a SoC.

    Args:
        om: the model; one without a SoC cannot be judged, since the loader does not check it either.
        soc: what `acl.get_soc_name()` answers there.

    Raises:
        ConfigError: `soc` is no known SoC, and not the model's own either.
    """
    if om.contained:
        judged = [(inner.name, fitness(inner, soc)) for inner in om.contained]
        name, worst = min(judged, key=lambda pair: _WORST_FIRST.index(pair[1].verdict))
        return Fitness(worst.verdict, f"its model '{name}': {worst.reason}")
    device = resolve_soc(soc) if soc != om.soc else _known(soc)
    if om.layout.generation == 0:
        return Fitness("does not load", "it was made by DDK 1.x of 2018/19, which CANN does not load")
    if not om.soc:
        return Fitness("unknown", "the file names no SoC, so the loader does not check it; compile it again")
    built = _known(om.soc)
    verdict, reason = _by_soc(om.soc, soc, built, device)
    if verdict != "does not load":
        reason = "; ".join([reason, *_conditions(om)])
    return Fitness(verdict, reason)


def _known(soc: str) -> Soc | None:
    try:
        return resolve_soc(soc)
    except ConfigError:
        return None


def _by_soc(om_soc: str, soc: str, built: Soc | None, device: Soc | None) -> tuple[Verdict, str]:
    if om_soc == soc or (built is not None and built == device):
        return "runs", f"it was compiled for {om_soc}"
    if built is None or device is None or built.arch is None or device.arch is None:
        return "unknown", (
            f"it was compiled for {om_soc}, which is not known to share an architecture with {soc}, so it is not "
            f"served there; compile it for {soc}"
        )
    if built.arch == device.arch:
        return "loads, unsupported", (
            f"{om_soc} and {soc} share architecture {built.arch}, so it loads, but it was planned for the cores and "
            f"the memory of {om_soc}; compile it for {soc}"
        )
    return "does not load", (
        f"it was compiled for {om_soc}, architecture {built.arch}; {soc} has {device.arch}; compile it for {soc}"
    )


def _conditions(om: Om) -> list[str]:
    """What must be so besides the SoC."""
    found = []
    origin = om.origin
    if om.toolchain.vendor != CANN:
        found.append(f"only with the runtime of {om.toolchain}, not on a card")
    if origin.bound_to_host:
        host = (
            " ".join(filter(None, (origin.host_os, origin.host_cpu))) or "the OS and CPU it was compiled on"
        )
        found.append(f"only on hosts with {host}")
    elif om.dynamic and origin.opp_version:
        found.append(f"only with operator package (opp) {origin.opp_version}")
    if om.external_weights:
        found.append(f"only with its weight files beside it ({len(om.external_weights)})")
    return found
