"""Weights in files of their own beside an `.om`, as `--external_weight` makes them and a load puts them back.

Layout and names: GE's base/common/file_constant_utils/file_constant_utils.cc; docs
user_guides/atc_tools/CLI_options/--external_weight.md (facts/atc_om_soc.md §1.7).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from ascend_emulator.dtypes import BY_ONNX
from ascend_emulator.om_definition import FileConstant

FOLDER = "weight"
"""Of the files, beside the `.om`."""

_ALIGNMENT = 512
"""Bytes: where a weight may begin in a file of several, which the copy to the card needs."""


class WeightsError(ValueError):
    """The weights are not those of the network."""


@dataclass(frozen=True, slots=True)
class Separated:
    """A network and what was taken out of it.

    Attributes:
        model: the network; a weight outside says so, and has no bytes.
        constants: the weights outside, in the network's order of them.
        files: content of the files by name.
    """

    model: onnx.ModelProto
    constants: tuple[FileConstant, ...]
    files: dict[str, bytes]


def _hash(data: bytes) -> str:
    # As GE writes it: each byte without a leading zero.
    return "".join(f"{byte:x}" for byte in hashlib.sha256(data).digest())


def separate(model: onnx.ModelProto, combined: str) -> Separated:
    """Take the weights out of a network; those without elements or of a type that has no bytes stay.

    Args:
        model: the network; it is left as it is.
        combined: name of the file for all of them; empty for a file each. The same bytes are written once.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    taken = {}
    for tensor in made.graph.initializer:
        if tensor.data_type in BY_ONNX and 0 not in tensor.dims:
            taken[tensor.name] = tensor, onnx.numpy_helper.to_array(tensor).tobytes()
    hashes = {name: _hash(data) for name, (_, data) in taken.items()}
    files: dict[str, bytes] = {}
    places: dict[str, tuple[str, int]] = {}
    whole = bytearray()
    for name in sorted(taken):
        data, digest = taken[name][1], hashes[name]
        if digest in places:
            continue
        if combined:
            places[digest] = combined, len(whole)
            whole += data + bytes(-len(data) % _ALIGNMENT)
        else:
            places[digest] = f"weight_{digest}", 0
            files[places[digest][0]] = data
    if whole:
        files[combined] = bytes(whole)
    constants = []
    for name, (tensor, data) in taken.items():
        file, offset = places[hashes[name]]
        kind, dims = BY_ONNX[tensor.data_type].acl, tuple(tensor.dims)
        constants.append(FileConstant(f"{name}_{hashes[name]}", kind, dims, file, offset, len(data)))
        bare = onnx.TensorProto(
            name=name, data_type=tensor.data_type, dims=dims, data_location=onnx.TensorProto.EXTERNAL
        )
        for key, value in (("location", file), ("offset", offset), ("length", len(data))):
            bare.external_data.add(key=key, value=str(value))
        tensor.CopyFrom(bare)
    return Separated(made, tuple(constants), files)


def put_back(network: bytes, weights: Sequence[bytes]) -> bytes:
    """The whole network.

    Args:
        network: as ONNX, of `separate`.
        weights: bytes of the weights outside, in its order of them.

    Raises:
        WeightsError: the network is no ONNX, or has other weights outside.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # has no stubs

    try:
        model = onnx.load_model_from_string(network)
    except DecodeError as error:
        raise WeightsError(f"the network is no ONNX: {error}") from error
    outside = [each for each in model.graph.initializer if each.data_location == onnx.TensorProto.EXTERNAL]
    if len(outside) != len(weights):
        raise WeightsError(f"{len(weights)} weights for a network with {len(outside)} outside of it")
    for tensor, data in zip(outside, weights, strict=True):
        tensor.CopyFrom(
            onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=data)
        )
    whole: bytes = model.SerializeToString(deterministic=True)
    return whole
