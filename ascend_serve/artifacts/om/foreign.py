"""Says what a file is that is no `.om`: what people hand over by mistake, each with the way out.

By the first bytes, and for protobuf files by the fields they have (facts: ATC §3.9; the public schemas of ONNX,
TensorFlow's GraphDef and SavedModel, Caffe's NetParameter and GE's ModelDef, which a MindSpore AIR is).
"""

from __future__ import annotations

import struct
from itertools import islice

from ascend_serve.artifacts.om.wire import LENGTH, VARINT, WireError, fields

_STARTS = (
    (b"PICO", "it is a HiSilicon SVP-NNN model, made by another compiler for other chips"),
    (b"version https://git-lfs", "it is a Git LFS pointer, not the model; run `git lfs pull`"),
    (b"\x1f\x8b", "it is compressed with gzip; unpack it first"),
    (b"7z\xbc\xaf", "it is a 7z archive; unpack it first"),
    (b"\x7fELF", "it is an ELF program or library"),
    (b"\x89HDF", "it is an HDF5 file, such as a Keras model; export it to ONNX and compile that"),
    (b"<", "it is a web page or XML, as a download gives that was refused; download the file itself"),
    (b"{", "it is JSON text"),
)
_COMPILE = "compile it with `ascend-serve compile`"
_FIELDS_LOOKED_AT = 64


def what_it_is(data: memoryview) -> str:
    """What the bytes are, as the end of a sentence; never raises.

    Args:
        data: a file that does not begin with an `.om`'s magic.
    """
    if not len(data):
        return "the file is empty; copy it again"
    start = bytes(data[:512])
    if start.startswith(b"PK"):
        return _zip(start)
    text = start.lstrip()
    for prefix, words in _STARTS:
        if (text if prefix in (b"<", b"{") else start).startswith(prefix):
            return words
    if start[257:262] == b"ustar":
        return "it is a tar archive; unpack it first"
    return _message(data) or (
        f"it begins with {start[:4]!r} where an .om has b'IMOD'; it is another kind of file, or encrypted as a whole"
    )


def _zip(start: bytes) -> str:
    """By the name of the archive's first entry."""
    length = struct.unpack_from("<H", start, 26)[0] if len(start) >= 30 else 0
    first = start[30 : 30 + length]
    if first.endswith((b"data.pkl", b"/byteorder", b"/version")):
        return "it is a PyTorch file; export it to ONNX and compile that"
    if first.endswith(b".npy"):
        return "it is an archive of numpy arrays (.npz)"
    return "it is a zip, as `atc --mode=7` writes for OM2; compile with the default mode instead"


def _message(data: memoryview) -> str:
    """By the fields of a protobuf message; empty when it is none that is known."""
    seen: dict[int, int] = {}
    try:
        for number, kind, _ in islice(fields(data), _FIELDS_LOOKED_AT):
            seen.setdefault(number, kind)
    except WireError:
        return ""
    if seen.get(1) == VARINT and seen.get(7) == LENGTH:
        return f"it is an ONNX model; {_COMPILE}"
    if seen.get(1) == VARINT and seen.get(2) == LENGTH:
        return f"it is a TensorFlow SavedModel; {_COMPILE}"
    if seen.get(1) == LENGTH and (seen.get(100) == LENGTH or set(seen) == {1, 2}):
        return f"it is a Caffe model (.caffemodel); {_COMPILE}"
    if seen.get(1) == LENGTH and seen.get(7) == LENGTH:
        return f"it is a graph of GE, such as a MindSpore AIR; {_COMPILE}"
    if seen.get(1) == LENGTH and set(seen) <= {1, 2, 3, 4, 5}:
        return f"it is a TensorFlow graph (.pb); {_COMPILE}"
    return ""
