"""What a run of `aoe` is asked for, and the run: a compile for the SoC of the node's card, then the bank."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ascend_emulator.aoe import bank
from ascend_emulator.aoe.options import SHARED
from ascend_emulator.atc.errors import AtcError, not_emulated
from ascend_emulator.atc.modes import Tool
from ascend_emulator.atc.options import Given
from ascend_emulator.atc.paths import check_input, reason_of
from ascend_emulator.atc.request import Request, check, check_front
from ascend_emulator.codes import Failure
from ascend_emulator.settings import read_settings, visible_devices
from ascend_emulator.soc import Soc

_SUBGRAPHS = "1"
_FRAMEWORK_OF_SUFFIX = {".onnx": "5", ".pb": "3", ".prototxt": "0", ".air": "1"}
_STAMP = "%Y%m%d_%H%M%S"


@dataclass(frozen=True, slots=True)
class Job:
    """A run whose options are sound.

    Attributes:
        request: the compile.
        name: of the tuning.
        subgraphs: whether subgraphs are tuned, and not operators.
        operators_file: of `--tune_ops_file`; empty for none.
        bank: folder of the bank.
        result: file of the result.
    """

    request: Request
    name: str
    subgraphs: bool
    operators_file: str
    bank: Path
    result: Path


def attached_soc(given: Given, environment: Mapping[str, str]) -> Soc:
    """The SoC of the device to tune on.

    Raises:
        AtcError: E10055, the node has no device, or is set up wrongly; E10001, no such device.
    """
    try:
        settings = read_settings(environment)
        seen = visible_devices(settings.devices, environment) if settings.devices else ()
    except Failure as failure:
        raise AtcError("E10055", failure.text.removesuffix(".")) from failure
    if not seen:
        raise AtcError(
            "E10055",
            "no device is attached to this node, and aoe measures on one",
            solution="Run it on a node with a device; the emulated node has as many as ASCEND_EMULATOR_DEVICES.",
        )
    asked = given["device"] or environment.get("ASCEND_DEVICE_ID", "") or "0"
    if not (asked.isascii() and asked.isdigit() and int(asked[:9]) < len(seen)):
        raise AtcError(
            "E10001", asked, "--device", f"It must be a device of this node, 0 to {len(seen) - 1}."
        )
    return settings.soc


def _framework(given: Given) -> str:
    if given["framework"] != "-1":
        return given["framework"]
    return _FRAMEWORK_OF_SUFFIX.get(Path(given["model"]).suffix, "-1")


def plan(given: Given, environment: Mapping[str, str], now: datetime) -> Job:
    """Check everything that can be checked before the model is read.

    Args:
        given: the options.
        environment: variables of the process.
        now: local time, which stands in the names of files.

    Raises:
        AtcError: the first fault found.
    """
    if not given["job_type"]:
        reason = "It is required: 1 tunes subgraphs, 2 tunes operators."
        raise AtcError("E10001", "", "--job_type", reason)
    if refused := given.refused():
        raise not_emulated(", ".join(f"--{option}" for option in refused), "Leave it out.")
    soc = attached_soc(given, environment)
    subgraphs = given["job_type"] == _SUBGRAPHS
    bank_folder = bank.folder(environment, soc, subgraphs=subgraphs)
    if given["tune_ops_file"]:
        check_input(given["tune_ops_file"], "--tune_ops_file")
    stamp = now.strftime(_STAMP) + f"{now.microsecond // 1000:03d}"
    name = f"{Path(given['model']).stem}_{stamp}"
    work = Path(environment.get("ASCEND_WORK_PATH", ""))
    default = work / "aoe_workspace" / name / "tunespace" / "result" / f"{name}_tune"
    values = {option.name: given[option.name] for option in SHARED if option.name in given}
    values |= {"framework": _framework(given), "soc_version": soc.name}
    values["output"] = given["output"] or str(default)
    compile_options = Given(values)
    check_front(compile_options)
    kind = "sgat" if subgraphs else "opat"
    return Job(
        request=check(compile_options),
        name=name,
        subgraphs=subgraphs,
        operators_file=given["tune_ops_file"],
        bank=bank_folder,
        result=work / f"aoe_result_{kind}_{stamp}_pid{os.getpid()}.json",
    )


def run(job: Job, tool: Tool) -> list[str]:
    """Compile the model, write it, the bank and the result.

    Args:
        job: of `plan`.
        tool: this run, recorded in the model.

    Returns:
        Warnings to print after success.

    Raises:
        AtcError: whatever ends the run.
    """
    # Imported late, as atc does it: onnx takes longer to load than a wrong option takes to find.
    from ascend_emulator.aoe import operators
    from ascend_emulator.atc.build import compile_network, prepare

    prepared = prepare(job.request)
    every = operators.find(prepared)
    chosen = operators.named_in(job.operators_file, every) if job.operators_file else every
    mark = f"ascend-emulator {tool.version}"
    warnings = compile_network(job.request, prepared, tool)
    if job.subgraphs:
        kept = bank.keep_subgraph(job.bank, job.request.soc, every, mark)
    else:
        kept = bank.keep_operators(job.bank, job.request.soc, operators.tunable(chosen), mark)
    _write_result(job, kept.added, kept.hit)
    return warnings


def _write_result(job: Job, added: int, hit: int) -> None:
    """The result file of a run (AOE's page aoe_16_041); without times, since nothing was measured."""
    kind = "SGAT" if job.subgraphs else "OPAT"
    summary = {"repo_add_num": added, "repo_hit_num": hit, "repo_update_num": 0, "total_num": added + hit}
    outcome = {f"{kind.lower()}_tuning_result": "tuning successful", "repo_summary": summary}
    content = [{"basic": {"tuning_name": job.name, "tuning_time(s)": 0}}, {kind: outcome}]
    try:
        job.result.write_text(json.dumps(content, indent=2), encoding="utf-8")
    except OSError as error:
        raise AtcError("E13004", job.result, reason_of(error)) from error
