"""Every environment variable of the emulated node; those of the cards are read and checked here.

| variable | default | meaning |
| --- | --- | --- |
| `ASCEND_EMULATOR_DEVICES` | 4 | number of cards on the node, 0 to 64 |
| `ASCEND_EMULATOR_SOC` | Ascend310P3 | SoC of every card, a name of `ascend_emulator.soc` |
| `ASCEND_EMULATOR_NODE` | local | name of the node; cards of different nodes are different cards |
| `ASCEND_EMULATOR_RUN_MODE` | 1 | 1: a card behind PCIe; 0: a board whose host and device memory are one |
| `ASCEND_EMULATOR_TIMING` | functional | `functional`: as fast as the CPU gives; `modelled`: as long as the
SoC takes |
| `ASCEND_EMULATOR_VALUES` | exact | `exact`: the network is computed; `cheap`: a checksum per row (modelled
only) |
| `ASCEND_EMULATOR_TIMES` | none | measured times for `modelled`, see `clock` |
| `ASCEND_EMULATOR_FAULTS` | none | what goes wrong on the cards, see `fault_rules.py` |
| `ASCEND_EMULATOR_STRICT` | none | 1: strict mode watches the process; read by `client/calling.py` |
| `ASCEND_EMULATOR_STRICT_REPORT` | none | folder for its findings; read by `strict/report.py` |
| `ASCEND_EMULATOR_COMPILE_TIME` | none | how long `atc` takes at least: seconds, or seconds and ms per operator;
read by `atc` alone |
| `ASCEND_EMULATOR_CANN` | 8.5 | whose layout of reports `atc` and `aoe` print: 5, 7 or 8.5; read by them alone |
| `ASCEND_EMULATOR_FORCE` | none | 1: the emulated `atc` and `aoe` run where CANN's variables are set; read by them
alone |
| `ASCEND_EMULATOR_TENSORFLOW_PYTHON` | the running one | interpreter with tensorflow and tf2onnx, for `--framework=3`;
read by `atc/tensorflow.py` |
| `ASCEND_RT_VISIBLE_DEVICES` | all | CANN's own: the cards this process sees (facts/pyacl.md §5.3) |
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ascend_emulator.codes import RT_DEVICE_SETUP, RT_NO_DEVICE, Failure
from ascend_emulator.fault_rules import parse_faults
from ascend_emulator.soc import SOCS, Soc, find_soc

MAX_DEVICES = 64

_NODE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Settings:
    """One process's view of its emulated node.

    Attributes:
        devices: number of cards on the node.
        soc: SoC of every card.
        node: name of the node.
        run_mode: 1 card (EP), 0 board (RC), as `acl.rt.get_run_mode` answers.
        timing: `functional` or `modelled`.
        values: `exact` or `cheap`.
        times: path of the JSON table of measured times, or empty.
        faults: rules of what goes wrong, or empty.
    """

    devices: int
    soc: Soc
    node: str
    run_mode: int
    timing: str
    values: str
    times: str
    faults: str

    def of_cards(self) -> dict[str, Any]:
        """What a card takes over from the client that starts it, and later clients must ask for too; for JSON."""
        told = asdict(self)
        del told["devices"], told["node"]
        return {**told, "soc": self.soc.name}


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings that the environment names.

    Args:
        environ: variables to read; the process's own when None.

    Raises:
        Failure: 507033 with a text that names variable, value and rule.
    """
    environ = os.environ if environ is None else environ
    soc_name = environ.get("ASCEND_EMULATOR_SOC") or "Ascend310P3"
    try:
        soc = find_soc(soc_name)
    except KeyError:
        raise _wrong("ASCEND_EMULATOR_SOC", soc_name, f"must be one of {', '.join(sorted(SOCS))}") from None
    node = environ.get("ASCEND_EMULATOR_NODE") or "local"
    if not _NODE_NAME.fullmatch(node):
        raise _wrong("ASCEND_EMULATOR_NODE", node, "must be 1 to 64 letters, digits, '_', '-' or inner '.'")
    settings = Settings(
        devices=_whole_number(environ, "ASCEND_EMULATOR_DEVICES", 4, MAX_DEVICES),
        soc=soc,
        node=node,
        run_mode=_whole_number(environ, "ASCEND_EMULATOR_RUN_MODE", 1, 1),
        timing=_choice(environ, "ASCEND_EMULATOR_TIMING", ("functional", "modelled")),
        values=_choice(environ, "ASCEND_EMULATOR_VALUES", ("exact", "cheap")),
        times=os.path.abspath(path) if (path := environ.get("ASCEND_EMULATOR_TIMES", "")) else "",  # noqa: PTH100 - settings hold text
        faults=environ.get("ASCEND_EMULATOR_FAULTS", ""),
    )
    if settings.values == "cheap" and settings.timing != "modelled":
        raise _wrong("ASCEND_EMULATOR_VALUES", "cheap", "needs ASCEND_EMULATOR_TIMING=modelled")
    try:
        parse_faults(settings.faults)
    except ValueError as error:
        raise _wrong("ASCEND_EMULATOR_FAULTS", settings.faults, f"is no list of faults: {error}") from None
    return settings


def visible_devices(devices: int, environ: Mapping[str, str] | None = None) -> tuple[int, ...]:
    """Physical numbers of the cards this process sees, in the order of their ordinals.

    Parsing is the runtime's own: it stops at the first token that is no number of an existing card, and a
    space ends it (facts/pyacl.md §5.3).

    Args:
        devices: number of cards on the node.
        environ: variables to read; the process's own when None.

    Raises:
        Failure: 207004 when nothing valid is left, or the list is not ascending or has duplicates.
    """
    environ = os.environ if environ is None else environ
    listed = environ.get("ASCEND_RT_VISIBLE_DEVICES")
    if listed is None:
        return tuple(range(devices))
    seen: list[int] = []
    numbers = re.match(r"\d+(?:,\d+)*", listed, re.ASCII)
    for token in numbers.group().split(",") if numbers else ():
        device = int(token)
        if device >= devices or len(seen) == devices:
            break
        if seen and device <= seen[-1]:
            rule = "cannot be duplicated" if device in seen else "must be configured in ascending order"
            raise _no_device(listed, rule)
        seen.append(device)
    if not seen:
        raise _no_device(listed, f"must name devices in [0, {devices})")
    return tuple(seen)


def _no_device(listed: str, rule: str) -> Failure:
    return Failure(RT_NO_DEVICE, f"EE2002: ASCEND_RT_VISIBLE_DEVICES is [{listed}]: it {rule}.")


def _wrong(variable: str, value: str, rule: str) -> Failure:
    return Failure(RT_DEVICE_SETUP, f"ascend-emulator: {variable} is {value!r}: it {rule}.")


def _whole_number(environ: Mapping[str, str], variable: str, default: int, largest: int) -> int:
    text = environ.get(variable, "") or str(default)
    if not (text.isascii() and text.isdigit() and int(text) <= largest):
        raise _wrong(variable, text, f"must be a whole number from 0 to {largest}")
    return int(text)


def _choice(environ: Mapping[str, str], variable: str, choices: tuple[str, ...]) -> str:
    text = environ.get(variable, "") or choices[0]
    if text not in choices:
        raise _wrong(variable, text, f"must be {' or '.join(choices)}")
    return text
