from __future__ import annotations

import contextlib
import dataclasses
import struct
from typing import Any

import pytest
from ascend_emulator.om import SHAPE_INPUT, OmError, OmFile, TensorInfo, read_om, write_om
from ascend_emulator.protobuf import fields, signed, varints
from ascend_emulator.soc import SOCS
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

STATIC = OmFile(
    name="net",
    soc_version="Ascend310P3",
    atc_cmdline="/opt/bin/atc --model=net.onnx --framework=5",
    atc_version="0.1.0",
    toolchain="ascend-emulator 0.1.0",
    inputs=(TensorInfo("image", 0, 0, (2, 3, 4, 4), 384), TensorInfo("scale", 11, 2, (), 8)),
    outputs=(TensorInfo("fc:0:logits", 1, 2, (2, 10), 40),),
    batch_gears=(),
    gear_output_dims=(),
    memory_size=4096,
    weight_size=512,
    network=b"\x08\x07network",
)
GEARED = dataclasses.replace(
    STATIC,
    inputs=(
        TensorInfo("image", 0, 0, (-1, 3, 4, 4), 8 * 192),
        TensorInfo("scale", 11, 2, (), 8),
        TensorInfo(SHAPE_INPUT, 3, 2, (1,), 4),
    ),
    outputs=(TensorInfo("fc:0:logits", 1, 2, (8, 10), 160), TensorInfo("sum:1:total", 9, 2, (), 8)),
    batch_gears=(4, 1, 8),
    gear_output_dims=(((4, 10), ()), ((1, 10), ()), ((8, 10), ())),
)


def partitions(data: bytes) -> dict[int, bytes]:
    """By the wide table, placed by the offsets it states."""
    (count,) = struct.unpack_from("<I", data, 256)
    end = 256 + 8 + 24 * count
    found = {}
    for place in range(count):
        kind, offset, size = struct.unpack_from("<I4xQQ", data, 264 + 24 * place)
        found[kind] = data[end + offset : end + offset + size]
    return found


@pytest.mark.parametrize("om", [STATIC, GEARED], ids=["static", "gears"])
def test_what_is_written_is_read(om: OmFile) -> None:
    assert read_om(write_om(om)) == om
    assert read_om(memoryview(bytearray(write_om(om)))) == om


def test_the_header_byte_by_byte() -> None:
    data = write_om(STATIC)
    assert data[:4] == b"IMOD"
    assert struct.unpack_from("<II", data, 4) == (256, 0x20000000)
    assert data[12:84] == bytes(64 + 4 + 4)  # checksum, the narrow length, four flags
    assert data[84:116] == b"net".ljust(32, b"\0")
    assert data[116:120] == bytes(4)
    assert data[120:152] == b"ascend-emulator 0.1.0".ljust(32, b"\0")
    assert struct.unpack_from("<II", data, 152) == (2, 1)
    assert data[160:180] == b"1.11.z.0".ljust(20, b"\0")
    assert data[180] == 1
    assert struct.unpack_from("<Q", data, 184) == (len(data) - 256,)
    assert data[192:256] == bytes(64)


def test_the_table_lists_the_partitions_in_the_writers_order() -> None:
    data = write_om(STATIC)
    (count,) = struct.unpack_from("<I4x", data, 256)
    rows = [struct.unpack_from("<I4xQQ", data, 264 + 24 * place) for place in range(count)]
    assert [row[0] for row in rows] == [8, 0, 1, 3, 2]
    offset = 0
    for _, start, size in rows:
        assert start == offset
        offset += size
    assert 256 + 8 + 24 * count + offset == len(data)
    assert partitions(data)[1] == STATIC.network


def test_the_kernel_partition_is_records_until_its_end() -> None:
    payload = partitions(write_om(STATIC))[3]
    magic, name_size, code_size = struct.unpack_from("<III", payload)
    assert magic == 0x5D776EFD
    assert 12 + name_size + code_size == len(payload)


def test_a_long_name_is_cut_in_the_header_only() -> None:
    om = dataclasses.replace(STATIC, name="n" * 40)
    data = write_om(om)
    assert data[84:116] == b"n" * 31 + b"\0"
    assert read_om(data).name == "n" * 40


# --- the graph says the same as MODEL_INOUT_INFO -------------------------------------------------


def attribute(data: memoryview) -> Any:
    for number, value in fields(data):
        if isinstance(value, int):
            return bool(value) if number == 5 else signed(value)
        if number == 1:
            return [
                item
                for part, content in fields(value)
                if isinstance(content, memoryview)
                for item in ([bytes(content).decode()] if part == 2 else map(signed, varints(content)))
            ]
        return bytes(value) if number == 7 else bytes(value).decode()
    raise AssertionError("an empty attribute")


def attributes(data: memoryview, number: int) -> dict[str, Any]:
    found = {}
    for field, value in fields(data):
        if field == number:
            assert isinstance(value, memoryview)
            entry = dict(fields(value))
            assert isinstance(entry[1], memoryview)
            assert isinstance(entry[2], memoryview)
            found[bytes(entry[1]).decode()] = attribute(entry[2])
    return found


def views(data: memoryview, number: int) -> list[memoryview]:
    return [value for field, value in fields(data) if field == number and isinstance(value, memoryview)]


def text(data: memoryview, number: int) -> str:
    return bytes(views(data, number)[0]).decode()


def description(data: memoryview) -> tuple[str, int, list[int]]:
    (dtype,) = [value for field, value in fields(data) if field == 2]
    (shape,) = views(data, 3)
    assert isinstance(dtype, int)
    return text(data, 1), dtype, [signed(dim) for part in views(shape, 1) for dim in varints(part)]


def ops(om: OmFile) -> dict[str, memoryview]:
    model = memoryview(partitions(write_om(om, ("image",)))[0])
    (graph,) = views(model, 7)
    return {text(op, 1): op for op in views(graph, 6)}


def test_a_static_graph_has_data_ops_and_a_net_output() -> None:
    graph = ops(STATIC)
    assert [text(op, 2) for op in graph.values()] == ["Data", "Data", "EmulatedNetwork", "NetOutput"]
    assert attributes(graph["image"], 10) == {"index": 0}
    assert attributes(graph["scale"], 10) == {"index": 1}
    # The protobuf counts types from 1 and in another order: FLOAT 1, DOUBLE 12, FLOAT16 2.
    assert description(views(graph["image"], 34)[0]) == ("image", 1, [2, 3, 4, 4])
    assert description(views(graph["scale"], 34)[0]) == ("scale", 12, [])
    assert description(views(graph["Node_Output"], 33)[0]) == ("fc:0:logits", 2, [2, 10])


def test_a_graph_with_gears_has_the_nodes_that_hold_them() -> None:
    graph = ops(GEARED)
    case = attributes(graph["ascend_mbatch_shape_case"], 10)
    assert text(graph["ascend_mbatch_shape_case"], 2) == "Case"
    assert case["_batch_num"] == 3
    assert [case[f"_pred_value_{place}"] for place in range(3)] == [[4], [1], [8]]
    assert case["mbatch_dynamic_type"] == 1
    assert case["user_designate_shape_order"] == ["image"]
    hidden = graph[SHAPE_INPUT]
    assert attributes(hidden, 10)["_is_multi_batch_shape_data"] is True
    assert description(views(hidden, 34)[0]) == (SHAPE_INPUT, 7, [1])
    image = attributes(graph["image"], 10)
    assert image["_mbatch_origin_input_dims"] == [-1, 3, 4, 4]
    assert image["_all_origin_gears_inputs"] == [
        "NCHW:FLOAT:image:768:4:4,3,4,4",
        "NCHW:FLOAT:image:192:4:1,3,4,4",
        "NCHW:FLOAT:image:1536:4:8,3,4,4",
    ]
    assert description(views(graph["image"], 34)[0])[2] == [8, 3, 4, 4]
    assert attributes(graph["Node_Output"], 10)["_dynamic_output_dims"] == [
        "0,0,4,10",
        "1,0,1,10",
        "2,0,8,10",
        "0,1",
        "1,1",
        "2,1",
    ]


def test_the_model_attributes() -> None:
    data = write_om(STATIC)
    parts = partitions(data)
    found = attributes(memoryview(parts[0]), 11)
    assert found["soc_version"] == "Ascend310P3"
    assert found["arch_type"] == "1"
    assert found["framework_type"] == "Onnx"
    assert found["atc_version"] == found["opp_version"] == "0.1.0"
    assert found["om_info_list"] == [len(parts[1]), len(parts[3]), 0, len(parts[2]), 0]
    assert (found["memory_size"], found["weight_size"]) == (4096, 512)
    assert (found["stream_num"], found["event_num"]) == (1, 0)
    assert found["attr_model_out_nodes_name"] == ["fc:0:logits"]
    assert found["tasks"] == parts[2]


# --- refusals -------------------------------------------------------------------------------------


def patched(offset: int, content: bytes) -> bytes:
    data = write_om(STATIC)
    return data[:offset] + content + data[offset + len(content) :]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "header of 256"),
        (b"PK\x03\x04" + bytes(300), "IMOD"),
        (patched(4, b"\x80"), "header size"),
        (patched(8, b"\0\0\0\x30"), "version"),
        (patched(80, b"\1"), "encrypted"),
        (patched(82, b"\3"), "model type 3"),
        (write_om(STATIC)[:-1], "the file has"),
        (write_om(STATIC) + b"\0", "the file has"),
        (patched(256, b"\xff"), "no partition table"),
        (patched(264 + 24 * 3 + 16, b"\xff"), "cut off"),
    ],
)
def test_what_is_no_om_is_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(OmError, match=words):
        read_om(data)


@pytest.mark.parametrize("toolchain", ["", "x" * 33])
def test_a_file_that_does_not_name_its_toolchain_is_not_written(toolchain: str) -> None:
    with pytest.raises(OmError, match="toolchain"):
        write_om(dataclasses.replace(STATIC, toolchain=toolchain))


def test_a_file_of_the_first_header_version_and_narrow_table_is_read() -> None:
    definition = partitions(write_om(STATIC))[0]
    table = struct.pack("<IIIIIII", 2, 0, 0, len(definition), 1, len(definition), 3)
    body = table + definition + b"raw"
    head = bytearray(256)
    struct.pack_into("<III", head, 0, 0x444F4D49, 256, 0x10000000)
    struct.pack_into("<I", head, 76, len(body))
    head[156:164] = b"1.11.z.0"
    om = read_om(bytes(head) + body)
    assert om.soc_version == "Ascend310P3"
    assert om.toolchain == ""
    assert om.network == b"raw"
    assert om.inputs == ()


# --- any model, any damage ------------------------------------------------------------------------

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
dims = st.lists(st.integers(0, 2**40), max_size=5).map(tuple)


@st.composite
def om_files(draw: st.DrawFn) -> OmFile:
    def tensors(shape: st.SearchStrategy[tuple[int, ...]]) -> tuple[TensorInfo, ...]:
        one = st.builds(
            TensorInfo,
            name=names,
            dtype=st.sampled_from([0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]),
            format=st.sampled_from([0, 2, 30]),
            dims=shape,
            size=st.integers(0, 2**63 - 1),
        )
        return tuple(draw(st.lists(one, min_size=1, max_size=3)))

    gears = tuple(draw(st.lists(st.integers(1, 4096), max_size=4, unique=True)))
    outputs = tensors(dims)
    return OmFile(
        name=draw(names),
        soc_version=draw(st.sampled_from(sorted(SOCS))),
        atc_cmdline=draw(st.text(st.characters(codec="utf-8"), max_size=30)),
        atc_version=draw(names),
        toolchain="ascend-emulator 0.1.0",
        inputs=tensors(dims.map(lambda shape: (-1, *shape)) if gears else dims),
        outputs=outputs,
        batch_gears=gears,
        gear_output_dims=tuple(tuple(draw(dims) for _ in outputs) for _ in gears),
        memory_size=draw(st.integers(0, 2**63 - 1)),
        weight_size=draw(st.integers(0, 2**63 - 1)),
        network=draw(st.binary(max_size=50)),
    )


@given(om_files())
def test_any_model_survives_the_round_trip(om: OmFile) -> None:
    assert read_om(write_om(om)) == om


@given(st.data())
def test_damage_gives_an_om_error_or_a_model(data: st.DataObject) -> None:
    whole = bytearray(write_om(GEARED))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(OmError):
        assert isinstance(read_om(bytes(whole)), OmFile)
