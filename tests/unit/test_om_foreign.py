"""What is handed over for an `.om` and is none, by its name."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from ascend_serve.artifacts.om.foreign import what_it_is
from ascend_serve.artifacts.om.reading import read_om
from ascend_serve.errors import NotAnOm

pytestmark = pytest.mark.unit


def onnx_model() -> bytes:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    data: bytes = helper.make_model(graph).SerializeToString()
    return data


def zip_of(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"content")
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("net.om"), io.BytesIO())
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    return buffer.getvalue()


def message(*fields: tuple[int, bytes | int]) -> bytes:
    """A protobuf message of short fields."""
    out = b""
    for number, value in fields:
        key = number << 3 | (0 if isinstance(value, int) else 2)
        keys = bytes([key]) if key < 128 else bytes([key & 0x7F | 0x80, key >> 7])
        out += keys + (bytes([value]) if isinstance(value, int) else bytes([len(value)]) + value)
    return out


NODE = message((1, b"x"), (2, b"Placeholder"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (zip_of("model.json"), "mode=7"),
        (zip_of("net/data.pkl"), "PyTorch"),
        (npz(), "numpy"),
        (b"PK", "zip"),
        (b"PICO....", "HiSilicon"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"<?xml version='1.0'?><Error/>", "web page or XML"),
        (b' {"error": "not found"}', "JSON"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (tar(), "tar archive"),
        (b"\x7fELF\2\1\1", "ELF"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
        (onnx_model(), "ONNX model; compile it"),
        (message((1, NODE), (1, NODE), (4, b"\x08\x01")), "TensorFlow graph"),
        (message((1, 1), (2, b"meta")), "SavedModel"),
        (message((1, b"net"), (100, b"layer"), (100, b"layer")), "Caffe"),
        (message((1, b"net"), (2, b"layers")), "Caffe"),
        (message((1, b"net"), (2, 2), (3, b"1.11"), (7, b"graph")), "MindSpore AIR"),
        (b"\x91\x02\x03\x04" * 100, "another kind of file, or encrypted"),
    ],
)
def test_each_is_named(data, says):
    with pytest.raises(NotAnOm, match=says):
        read_om(data)


@given(st.binary(max_size=80))
def test_any_bytes_get_an_answer(data):
    assert what_it_is(memoryview(data))
