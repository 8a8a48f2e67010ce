"""From a checked request to the `.om` on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from ascend_emulator.atc import (
    aipp_config,
    aipp_network,
    describe,
    gear_options,
    inspect,
    memory_plan,
    network,
    outputs,
    precheck,
    tensorflow,
    trial,
)
from ascend_emulator.atc.describe import Network
from ascend_emulator.atc.errors import AtcError, not_emulated
from ascend_emulator.atc.modes import Tool
from ascend_emulator.atc.network import Input
from ascend_emulator.atc.outputs import Output
from ascend_emulator.atc.paths import reason_of
from ascend_emulator.atc.request import Request
from ascend_emulator.atc.trial import Dims
from ascend_emulator.external_weights import FOLDER, separate
from ascend_emulator.gears import GearKind
from ascend_emulator.om import OmFile, StaticAipp, write_om
from ascend_emulator.precision import PrecisionError, apply_precision

_OPSETS = (11, 18)
"""What ATC documents (facts §1.3). Exporters are past it; what the runtime runs is taken, with a warning."""

_SUFFIX = ".om"


def _apply_precision(model: onnx.ModelProto, request: Request) -> frozenset[str]:
    try:
        return apply_precision(
            model, request.precision, clip_weights=request.clip_weights, exceptions=request.exceptions
        )
    except PrecisionError as error:
        # A network that is wrong in itself hides its types; then that is what must be told.
        trial.load(network.serialize(model, request.model))
        raise not_emulated(
            f"--precision_mode_v2={request.precision.value} for this model: {error}",
            "Use --precision_mode_v2=origin.",
        ) from error


def _check_aipp(
    block: aipp_config.Block, entry: Input, shapes: Sequence[tuple[int, ...]], request: Request
) -> None:
    if entry.name in request.fp16_inputs:
        raise AtcError("E10034", entry.name)
    if request.input_format not in ("NCHW", "NHWC"):
        reason = "With --insert_op_conf it must be NCHW or, of a TensorFlow model, NHWC."
        raise AtcError("E10001", request.input_format, "--input_format", reason)
    if len(entry.dims) != 4:
        raise AtcError("E10052", f"input '{entry.name}' has {len(entry.dims)} dimensions, an image has 4")
    if entry.ranges:
        raise AtcError(
            "E10052", f"input '{entry.name}' has ranges, an input with static AIPP has a fixed shape"
        )
    for dims in shapes:
        aipp_network.check(block, entry, _channels_first(dims, request), request.soc)


def _channels_first(dims: Sequence[int], request: Request) -> tuple[int, ...]:
    """An image input's n, c, h and w, in which order preprocessing thinks."""
    if request.input_format == "NHWC":
        n, height, width, channels = dims
        return n, channels, height, width
    return tuple(dims)


def _insert_aipp(
    model: onnx.ModelProto, inputs: tuple[Input, ...], shapes: tuple[Dims, ...], request: Request
) -> tuple[tuple[Input, ...], tuple[Dims, ...], tuple[StaticAipp, ...]]:
    """Put the preprocessing of `--insert_op_conf` in front of the network; inputs and shapes become those."""
    if not request.aipp:
        return inputs, shapes, ()
    resolutions = request.gear_kind is GearKind.IMAGE_SIZE
    blocks = aipp_config.load(request.aipp, len(inputs), resolution_gears=resolutions)
    new, found = list(inputs), [list(each) for each in shapes]
    for block in blocks:
        place = block.rank
        entry = inputs[place]
        _check_aipp(block, entry, [each[place] for each in shapes], request)
        if request.input_format == "NHWC":
            entry = aipp_network.channels_first(model, entry)
        new[place] = aipp_network.insert(model, block, entry, network.opset(model))
        for each in found:
            dims = _channels_first(each[place], request)
            each[place] = block.pixels.memory_dims(aipp_network.image_dims(block, dims))
    aipps = tuple(
        StaticAipp(block.rank, block.settings) for block in sorted(blocks, key=lambda block: block.rank)
    )
    return tuple(new), tuple(tuple(each) for each in found), aipps


def prepare(request: Request) -> Network:
    """Read the model and make the network of it that the card will run.

    Args:
        request: checked options.

    Raises:
        AtcError: the model cannot be read, or does not fit the options.
    """
    chosen = outputs.parse_out_nodes(request.out_nodes)
    network.check_layouts(request.hw_outputs, "is_output_adjust_hw_layout")
    made: tuple[Output, ...] = ()
    if request.framework == "TensorFlow":
        model, made = tensorflow.load(request, chosen)
    else:
        model = _read_onnx(request, report_always=False)
    inputs = network.set_inputs(model, request)
    wanted = outputs.parse_output_type(request.output_type, chosen)
    made = made or outputs.set_outputs(model, chosen)
    gears = gear_options.parse(request.gear_kind, request.gear_text) if request.gear_kind else None
    shapes: tuple[Dims, ...]
    if gears:
        shapes = describe.gear_shapes(inputs, gears, tuple(request.shapes))
    elif any(entry.ranges for entry in inputs):
        shapes = ()
    else:
        shapes = (tuple(entry.dims for entry in inputs),)
    network.lift_constants(model)
    narrow = _apply_precision(model, request)
    made = outputs.cast_outputs(model, made, wanted)
    inputs, shapes, aipps = _insert_aipp(model, inputs, shapes, request)
    data = network.serialize(model, request.model)
    return Network(model, data, inputs, made, gears, shapes, aipps, narrow)


def _output_path(output: Path, om: OmFile) -> Path:
    """Where the file goes: a model of dynamic shape has its host in the name (facts §1.10).

    ATC puts it before the first `.om` of the whole path, also where that is in a folder's name.
    """
    if not om.host:
        return output
    head, suffix, tail = str(output).partition(_SUFFIX)
    return Path(f"{head}_{om.host}{suffix}{tail}")


def _write(path: Path, content: bytes) -> None:
    """Write the file in one go: a reader sees the old one or the new one."""
    part = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
    try:
        if path.exists() and not path.is_file():
            # Such as /dev/null or a pipe: there is no file to replace.
            path.write_bytes(content)
            return
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise AtcError("E13004", path, reason_of(error)) from error


def _write_weights(folder: Path, files: Mapping[str, bytes]) -> None:
    if not files:
        return
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise AtcError("E13004", folder, reason_of(error)) from error
    for name, content in files.items():
        _write(folder / name, content)


def _separate_weights(om: OmFile, prepared: Network, request: Request) -> tuple[OmFile, Mapping[str, bytes]]:
    """Take the weights out of the model, if that is asked for; gives the files they go to."""
    if request.external_weight == "0":
        return om, {}
    combined = f"{request.name}_weight_combined" if request.external_weight == "2" else ""
    separated = separate(prepared.model, combined)
    om = replace(
        om,
        network=network.serialize(separated.model, request.model),
        weight_size=memory_plan.weight_bytes(separated.model, prepared.narrow),
        file_constants=separated.constants,
    )
    return om, separated.files


def _opset_warning(model: onnx.ModelProto) -> list[str]:
    number = network.opset(model)
    if _OPSETS[0] <= number <= _OPSETS[1]:
        return []
    return [
        f"Warning: the model is of opset {number}; ATC documents {_OPSETS[0]} to {_OPSETS[1]}, "
        "so a real one may refuse it."
    ]


def _read_onnx(request: Request, *, report_always: bool) -> onnx.ModelProto:
    model = network.load(request.model)
    network.check_graph(model)
    precheck.conclude(precheck.check(model), request.precheck, always=report_always)
    return model


def check_only(request: Request) -> None:
    """Run the pre-check of `--mode=3`, which writes its report and nothing else.

    Raises:
        AtcError: the model cannot be read, or holds operators that ATC does not know.
    """
    if request.framework == "TensorFlow":
        tensorflow.load(request, outputs.parse_out_nodes(request.out_nodes))
    else:
        _read_onnx(request, report_always=True)


def build(request: Request, tool: Tool) -> list[str]:
    """Compile the model and write the `.om`, last and in one go.

    Args:
        request: checked options.
        tool: this run of `atc`, recorded in the file.

    Returns:
        Warnings to print after success.

    Raises:
        AtcError: the model cannot be compiled, or the file cannot be written.
    """
    return compile_network(request, prepare(request), tool)


def compile_network(request: Request, prepared: Network, tool: Tool) -> list[str]:
    """Compile what became of the model, and write the `.om`, last and in one go.

    Args:
        request: checked options.
        prepared: of `prepare`.
        tool: this run, recorded in the file.

    Returns:
        Warnings to print after success.

    Raises:
        AtcError: the network cannot be compiled, or a file cannot be written.
    """
    om, warnings = describe.describe(request, prepared)
    om, weights = _separate_weights(om, prepared, request)
    om = replace(
        om,
        atc_cmdline=tool.command_line,
        atc_version=tool.version,
        toolchain=f"ascend-emulator {tool.version}",
    )
    content = write_om(om, compress=request.compress)
    tool.duration.wait(len(prepared.model.graph.node), tool.began)
    output = _output_path(request.output, om)
    _write_weights(output.parent / FOLDER, weights)
    _write(output, content)
    if request.show_info:
        print(inspect.model_info(content), end="")
    return [*_opset_warning(prepared.model), *warnings]
