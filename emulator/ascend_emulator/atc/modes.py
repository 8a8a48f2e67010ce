"""What `--mode` asks for, carried out (facts/atc_om_soc.md §1.2; GE: main_impl.cc, `RunAtcByMode`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ascend_emulator.atc.compile_time import CompileTime
from ascend_emulator.atc.errors import AtcError, not_emulated
from ascend_emulator.atc.options import Given
from ascend_emulator.atc.paths import check_input, check_output, reason_of
from ascend_emulator.atc.request import MODE_INFO, MODE_JSON, ONNX, check, check_front

MODE_TEXT = "5"


@dataclass(frozen=True, slots=True)
class Tool:
    """One run of `atc`.

    Attributes:
        command_line: its command line, joined with single spaces.
        version: of the emulator.
        began: `time.monotonic()` when it began.
        duration: how long a compile takes.
    """

    command_line: str
    version: str
    began: float
    duration: CompileTime


def _check_json_paths(given: Given) -> Path:
    """What modes 1 and 5 need; ATC looks at all of it and reports every fault, the first as the root."""
    errors = [AtcError("E10004", option) for option in ("om", "json") if not given[option]]
    output = Path()
    if given["om"]:
        try:
            check_input(given["om"], "--om")
        except AtcError as error:
            errors.append(error)
    if given["json"]:
        try:
            output = check_output(given["json"], "--json")
        except AtcError as error:
            errors.append(error)
    if errors:
        root = errors[0]
        root.trace = (*root.trace, *(error.message for error in errors[1:]))
        raise root
    return output


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise AtcError("E13001", path, reason_of(error)) from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise AtcError("E13004", path, reason_of(error)) from error


def _om_to_json(path: str) -> str:
    from ascend_emulator.atc.inspect import to_json
    from ascend_emulator.om import OmError

    try:
        return to_json(_read(path))
    except OmError as error:
        raise AtcError("E10041", path, cause=f"{error}.") from error


def _onnx_to_json(path: str, *, shapes: bool) -> str:
    import onnx

    from ascend_emulator.atc import network, onnx_json

    model = network.load(Path(path))
    if shapes:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    return onnx_json.to_json(model)


def _convert(given: Given) -> None:
    """Mode 1: an `.om`, or a model when `--framework` is given, as JSON."""
    output = _check_json_paths(given)
    framework, path = given["framework"], given["om"]
    if framework == "-1":
        text = _om_to_json(path)
    elif framework == ONNX:
        text = _onnx_to_json(path, shapes=given["dump_mode"] == "1")
    else:
        raise not_emulated(f"--mode={MODE_JSON} --framework={framework}", "Export the model to ONNX.")
    _write(output, text)


def _show(given: Given) -> None:
    """Mode 6: print how an `.om` was made and what it takes."""
    path = given["om"]
    if not path:
        raise AtcError("E10004", "om")
    check_input(path, "--om")
    if given["framework"] != "-1":
        raise AtcError("E10057", "om", "mode")
    from ascend_emulator.atc.inspect import model_info
    from ascend_emulator.om import OmError

    try:
        print(model_info(_read(path)), end="")
    except OmError as error:
        raise AtcError("E10041", path, cause=f"{error}.") from error


def run(given: Given, tool: Tool) -> list[str]:
    """Do what a command line asks for.

    Modules that need onnx are imported late: it takes longer to load than a wrong option takes to find.

    Args:
        given: the options.
        tool: this run of `atc`.

    Returns:
        Warnings to print after success.

    Raises:
        AtcError: whatever ends the run.
    """
    check_front(given)
    mode = given["mode"]
    if mode == MODE_TEXT:
        if not given["om"]:
            raise AtcError("E10004", "om")
        if not given["om"].endswith(".txt"):
            raise AtcError("E10001", given["om"], "--om", "With --mode=5 its name must end in .txt.")
        _check_json_paths(given)
        raise not_emulated("--mode=5")
    if mode == MODE_JSON:
        _convert(given)
        return []
    if mode == MODE_INFO:
        _show(given)
        return []
    request = check(given)
    for notice in request.notices:
        print(notice)
    from ascend_emulator.atc.build import build, check_only

    if request.precheck_only:
        check_only(request)
        return []
    return build(request, tool)
