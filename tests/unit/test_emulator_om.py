from __future__ import annotations

import contextlib
import dataclasses
import struct
from typing import Any

import pytest
from ascend_emulator.gears import GearKind, Gears, dims_at
from ascend_emulator.om import SHAPE_INPUT, OmError, OmFile, StaticAipp, TensorInfo, read_om, write_om
from ascend_emulator.om_definition import decode_definition
from ascend_emulator.om_inout import InOut, decode_inout, encode_inout
from ascend_emulator.protobuf import fields, float32, signed, varints
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
    gears=None,
    gear_input_dims=(),
    gear_output_dims=(),
    input_order=("scale", "image"),
    dynamic=False,
    host="",
    aipps=(),
    options=(("log", "error"), ("op_debug_level", "a=b")),
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
    gears=Gears(GearKind.BATCH, ((4,), (1,), (8,))),
    gear_input_dims=(((4, 3, 4, 4), ()), ((1, 3, 4, 4), ()), ((8, 3, 4, 4), ())),
    gear_output_dims=(((4, 10), ()), ((1, 10), ()), ((8, 10), ())),
)
# YUV420SP in memory: half as many rows again, of one byte each, so the gears' dims are not the image's.
IMAGES = dataclasses.replace(
    STATIC,
    inputs=(
        TensorInfo("scale", 11, 2, (), 8),
        TensorInfo("image", 4, 1, (1, -1, -1, 3), 64 * 96, (1, -1, -1, 1)),
        TensorInfo(SHAPE_INPUT, 3, 2, (2,), 8),
    ),
    gears=Gears(GearKind.IMAGE_SIZE, ((32, 32), (64, 64))),
    gear_input_dims=(((), (1, 48, 32, 1)), ((), (1, 96, 64, 1))),
    gear_output_dims=(((1, 10),), ((1, 40),)),
    aipps=(
        StaticAipp(
            1,
            (
                ("aipp_mode", "static"),
                ("input_format", "YUV420SP_U8"),
                ("related_input_rank", 1),
                ("csc_switch", True),
                ("crop", False),
                ("matrix_r1c1", -100),
                ("min_chn_0", 0.5),
                ("related_input_name", "image"),
            ),
        ),
    ),
)
DIMS = dataclasses.replace(
    STATIC,
    inputs=(
        TensorInfo("a", 0, 2, (-1, 5), 80),
        TensorInfo("b", 0, 2, (2, -1, -1), 96),
        TensorInfo(SHAPE_INPUT, 3, 2, (3,), 12),
    ),
    gears=Gears(GearKind.DIMS, ((3, 4, 1), (1, 2, 4))),
    gear_input_dims=(((1, 5), (2, 3, 4)), ((4, 5), (2, 1, 2))),
    gear_output_dims=(((1, 10),), ((4, 10),)),
    input_order=("b", "a"),
)
DYNAMIC = dataclasses.replace(
    STATIC,
    inputs=(
        TensorInfo("image", 0, 0, (-1, 3, -1, 4), 0, (), ((1, 8), (3, 3), (1, -1), (4, 4))),
        TensorInfo("scale", 11, 2, (), 8),
    ),
    outputs=(TensorInfo("fc:0:logits", 1, 2, (-1, 10), 0, (), ((1, -1), (10, 10))),),
    dynamic=True,
    host="linux_x86_64",
)
MODELS = {"static": STATIC, "batch": GEARED, "images": IMAGES, "dims": DIMS, "dynamic": DYNAMIC}


def partitions(data: bytes) -> dict[int, bytes]:
    """By the wide table, placed by the offsets it states."""
    (count,) = struct.unpack_from("<I", data, 256)
    end = 256 + 8 + 24 * count
    found = {}
    for place in range(count):
        kind, offset, size = struct.unpack_from("<I4xQQ", data, 264 + 24 * place)
        found[kind] = data[end + offset : end + offset + size]
    return found


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("om", MODELS.values(), ids=MODELS)
def test_what_is_written_is_read(om: OmFile, compress: bool) -> None:
    assert read_om(write_om(om, compress=compress)) == om
    assert read_om(memoryview(bytearray(write_om(om, compress=compress)))) == om


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


def test_a_dynamic_model_says_so_in_the_header_and_holds_libraries() -> None:
    data = write_om(DYNAMIC)
    assert data[192:194] == b"\1\1"  # need_check_os_cpu_info, is_unknow_model
    parts = partitions(data)
    assert list(parts) == [8, 0, 1, 3, 2, 5]
    count, magic, name_size, kind, vendor_size, code_size = struct.unpack_from("<IIHHII", parts[5])
    assert (count, magic, kind) == (1, 0x5D776EFD, 0)
    assert 20 + name_size + vendor_size + code_size == len(parts[5])
    found = attributes(memoryview(parts[0]), 11)
    assert (found["host_env_os"], found["host_env_cpu"]) == ("linux", "x86_64")
    assert found["om_info_list"] == [len(parts[1]), len(parts[3]), 0, len(parts[2]), len(parts[5])]


def test_a_long_name_is_cut_in_the_header_only() -> None:
    om = dataclasses.replace(STATIC, name="n" * 40)
    data = write_om(om)
    assert data[84:116] == b"n" * 31 + b"\0"
    assert read_om(data).name == "n" * 40


# --- the graph says the same as MODEL_INOUT_INFO -------------------------------------------------


def attribute(data: memoryview) -> Any:
    for number, value in fields(data):
        if isinstance(value, int):
            return bool(value) if number == 5 else float32(value) if number == 4 else signed(value)
        if number == 1:
            return [
                item
                for part, content in fields(value)
                if isinstance(content, memoryview)
                for item in ([bytes(content).decode()] if part == 2 else map(signed, varints(content)))
            ]
        if number == 10:
            return attributes(value, 2)
        if number == 14:
            return [
                [signed(item) for part in views(row, 1) for item in varints(part)] for row in views(value, 1)
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
    model = memoryview(partitions(write_om(om, compress=False))[0])
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
    assert case["user_designate_shape_order"] == ["scale", "image"]
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


def test_image_gears_behind_an_aipp_are_told_of_the_image_and_of_memory() -> None:
    graph = ops(IMAGES)
    case = attributes(graph["ascend_mbatch_shape_case"], 10)
    assert case["mbatch_dynamic_type"] == 2
    assert [case[f"_pred_value_{place}"] for place in range(2)] == [[32, 32], [64, 64]]
    image = attributes(graph["image"], 10)
    assert image["_mbatch_origin_input_dims"] == [1, -1, -1, 3]
    assert image["input_dims"] == [1, -1, -1, 1]
    assert image["_all_origin_gears_inputs"] == [
        "NHWC:UINT8:image:1536:4:1,48,32,1",
        "NHWC:UINT8:image:6144:4:1,96,64,1",
    ]
    assert description(views(graph["image"], 34)[0]) == ("image", 4, [1, 64, 64, 3])
    assert image["_data_related_aipp_mode"] == "static_aipp"
    # The graph numbers what the configuration names: static 1, YUV420SP_U8 1.
    assert image["aipp"] == {
        "aipp_mode": 1,
        "input_format": 1,
        "related_input_rank": 1,
        "csc_switch": True,
        "crop": False,
        "matrix_r1c1": -100,
        "min_chn_0": 0.5,
        "related_input_name": "image",
    }
    assert "aipp" not in attributes(graph["scale"], 10)


def test_dims_gears_stand_in_the_graph_in_the_users_order() -> None:
    graph = ops(DIMS)
    case = attributes(graph["ascend_mbatch_shape_case"], 10)
    assert case["mbatch_dynamic_type"] == 3
    assert [case[f"_pred_value_{place}"] for place in range(2)] == [[3, 4, 1], [1, 2, 4]]
    assert case["user_designate_shape_order"] == ["b", "a"]
    assert attributes(graph["a"], 10)["_all_origin_gears_inputs"] == [
        "ND:FLOAT:a:20:2:1,5",
        "ND:FLOAT:a:80:2:4,5",
    ]
    # The largest gear by product is the first here.
    assert description(views(graph["b"], 34)[0])[2] == [2, 3, 4]


def test_a_truly_dynamic_tensor_has_its_ranges_in_the_graph() -> None:
    tensor = views(ops(DYNAMIC)["image"], 34)[0]
    assert description(tensor)[2] == [-1, 3, -1, 4]
    assert attributes(tensor, 5) == {"shape_range": [[1, 8], [3, 3], [1, -1], [4, 4]]}


def test_names_in_the_graph_are_coded_unless_told_otherwise() -> None:
    coded, plain = (partitions(write_om(IMAGES, compress=compress))[0] for compress in (True, False))
    for name in (b"_all_origin_gears_inputs", b"mbatch_dynamic_type", b"_data_related_aipp_mode"):
        assert coded.count(name) == 1  # in the list of names
    assert b"NHWC:UINT8:image:1536:4:1,48,32,1" in coded
    names = decode_definition(memoryview(coded)).attributes
    assert names["om_compress_version"] == 1
    listed = names["attr_name_enum"]
    assert isinstance(listed, list)
    assert listed[0] == "index"
    assert b"\0\1" in coded
    assert "om_compress_version" not in decode_definition(memoryview(plain)).attributes
    assert decode_definition(memoryview(coded)).data_ops == decode_definition(memoryview(plain)).data_ops


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
    assert found["ascend_emulator_options"] == ["log=error", "op_debug_level=a=b"]


# --- refusals -------------------------------------------------------------------------------------


def patched(offset: int, content: bytes) -> bytes:
    data = write_om(STATIC)
    return data[:offset] + content + data[offset + len(content) :]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"PK\x03\x04" + bytes(300), "OM2"),
        (b"PICO" + bytes(300), "HiSilicon"),
        (b"\xfe" * 300, "IMOD"),
        (patched(4, b"\x80"), "header size"),
        (patched(8, b"\0\0\0\x30"), "version"),
        (patched(80, b"\1"), "encrypted"),
        (patched(82, b"\3"), "model type 3, a flow model"),
        (patched(82, b"\5"), "a bundle of 1 models: acl.mdl.bundle_load_from_file"),
        (patched(82, b"\x09"), "model type 9, of no known kind"),
        (write_om(STATIC)[:-1], "the file has"),
        (write_om(STATIC) + b"\0", "the file has"),
        (patched(256, b"\xff"), "no partition table"),
        (patched(264 + 24 * 3 + 16, b"\xff"), "cut off"),
    ],
)
def test_what_is_no_om_is_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(OmError, match=words):
        read_om(data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"toolchain": ""}, "toolchain"),
        ({"toolchain": "x" * 33}, "toolchain"),
        ({"gear_input_dims": GEARED.gear_input_dims[:2]}, "gear_input_dims"),
        ({"gear_output_dims": (((4, 10),),) * 3}, "gear_output_dims"),
        ({"gear_input_dims": (((4, 3, 4, 4), (7,)),) * 3}, "'scale' has no -1"),
        ({"inputs": GEARED.inputs[:2]}, SHAPE_INPUT),
        ({"gears": Gears(GearKind.BATCH, ())}, "at least one"),
        ({"dynamic": True}, "host"),
        ({"host": "linux_x86_64"}, "host"),
        ({"dynamic": True, "host": "linux"}, "host"),
        ({"options": (("a=b", "c"),)}, "option"),
        ({"aipps": (StaticAipp(0, (("input_format", "RGB_U9"),)),)}, "cannot be described"),
        ({"aipps": (StaticAipp(0, (("min_chn_0", 1e39),)),)}, "cannot be described"),
    ],
)
def test_a_model_that_the_file_could_not_tell_is_not_written(change: dict[str, Any], words: str) -> None:
    with pytest.raises(OmError, match=words):
        write_om(dataclasses.replace(GEARED, **change))


def test_gears_of_two_kinds_are_no_summary() -> None:
    batch = encode_inout(InOut(gears=GEARED.gears))
    images = encode_inout(InOut(gears=IMAGES.gears))
    with pytest.raises(ValueError, match="BATCH, IMAGE_SIZE"):
        decode_inout(memoryview(batch + images))


def test_a_count_past_the_end_is_refused_before_anything_is_made_of_it() -> None:
    payload = struct.pack("<I", 0xFFFFFFFF)
    for kind in (0, 2, 3, 4, 5):
        with pytest.raises(ValueError, match="cut off"):
            decode_inout(memoryview(struct.pack("<II", kind, len(payload)) + payload))


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

texts = st.text(st.characters(codec="utf-8"), max_size=12)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
sizes = st.integers(0, 2**63 - 1)
dims = st.lists(st.integers(0, 2**40), max_size=5).map(tuple)
dtypes = st.sampled_from([0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12])
formats = st.sampled_from([0, 1, 2, 27, 30])
settings_of_aipp = st.dictionaries(
    names.filter(lambda name: name not in ("aipp_mode", "input_format")),
    st.booleans() | st.integers(-(2**31), 2**31 - 1) | st.floats(width=32, allow_nan=False) | texts,
    max_size=4,
).flatmap(
    lambda fields: st.sampled_from(["RGB888_U8", "YUV420SP_U8"]).map(
        lambda layout: (("aipp_mode", "static"), ("input_format", layout), *fields.items())
    )
)


@st.composite
def tensors(draw: st.DrawFn, shape: st.SearchStrategy[tuple[int, ...]]) -> TensorInfo:
    return TensorInfo(draw(names), draw(dtypes), draw(formats), draw(shape), draw(sizes))


@st.composite
def gear_parts(draw: st.DrawFn, kind: GearKind) -> dict[str, Any]:
    """Gears, inputs with the hidden one last, and the dims at each gear."""
    holes = {GearKind.BATCH: (0, 1), GearKind.IMAGE_SIZE: (0, 2), GearKind.DIMS: (0, 1, 2, 3)}[kind]
    shapes = []
    for rank in draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)):
        open_axes = draw(st.sampled_from([count for count in holes if count <= rank]))
        fixed = draw(st.lists(st.integers(0, 99), min_size=rank - open_axes, max_size=rank - open_axes))
        shapes.append(tuple(draw(st.permutations([-1] * open_axes + fixed))))
    every = sum(dim < 0 for shape in shapes for dim in shape)
    width = {GearKind.BATCH: 1, GearKind.IMAGE_SIZE: 2, GearKind.DIMS: every}[kind]
    value = st.lists(st.integers(1, 4096), min_size=width, max_size=width).map(tuple)
    gears = Gears(kind, tuple(draw(st.lists(value, min_size=1, max_size=4))))
    # A shape in memory that is not the image's: any other with its -1 at the same axes.
    physical = [
        tuple(dim if dim < 0 else dim + 1 for dim in shape)
        if kind is not GearKind.DIMS and -1 in shape and draw(st.booleans())
        else shape
        for shape in shapes
    ]
    inputs = [
        TensorInfo(draw(names), draw(dtypes), draw(formats), shape, draw(sizes), memory * (memory != shape))
        for shape, memory in zip(shapes, physical, strict=True)
    ]
    hidden = TensorInfo(SHAPE_INPUT, 3, 2, (max(width, 1),), 4 * max(width, 1))
    return {
        "gears": gears,
        "inputs": (*inputs, hidden),
        "gear_input_dims": tuple(dims_at(physical, kind, each) for each in gears.values),
    }


@st.composite
def om_files(draw: st.DrawFn) -> OmFile:
    kind = draw(st.sampled_from([None, "dynamic", *GearKind]))
    parts: dict[str, Any] = {"gears": None, "gear_input_dims": ()}
    if isinstance(kind, GearKind):
        parts = draw(gear_parts(kind))
    else:
        parts["inputs"] = tuple(draw(st.lists(tensors(dims), min_size=1, max_size=3)))
    outputs = tuple(draw(st.lists(tensors(dims), min_size=1, max_size=3)))
    if kind == "dynamic":
        ends = st.tuples(st.integers(0, 2**40), st.integers(-1, 2**40))
        parts["inputs"] = tuple(
            dataclasses.replace(
                tensor,
                dims=(-1,) * len(tensor.dims),
                ranges=tuple(draw(ends) for _ in tensor.dims),
            )
            for tensor in parts["inputs"]
        )
    visible = parts["inputs"][:-1] if parts["gears"] else parts["inputs"]
    with_aipp = draw(st.sets(st.integers(0, len(visible) - 1)))
    return OmFile(
        name=draw(names),
        soc_version=draw(st.sampled_from(sorted(SOCS))),
        atc_cmdline=draw(texts),
        atc_version=draw(names),
        toolchain="ascend-emulator 0.1.0",
        outputs=outputs,
        gear_output_dims=tuple(
            tuple(draw(dims) for _ in outputs) for _ in (parts["gears"].values if parts["gears"] else ())
        ),
        input_order=tuple(draw(st.permutations([tensor.name for tensor in visible]))),
        dynamic=kind == "dynamic",
        host=draw(st.sampled_from(["linux_x86_64", "linux_aarch64"])) if kind == "dynamic" else "",
        aipps=tuple(StaticAipp(index, draw(settings_of_aipp)) for index in sorted(with_aipp)),
        options=tuple(draw(st.lists(st.tuples(names.map(lambda name: name.replace("=", "")), texts)))),
        memory_size=draw(sizes),
        weight_size=draw(sizes),
        network=draw(st.binary(max_size=50)),
        **parts,
    )


@given(om_files(), st.booleans())
def test_any_model_survives_the_round_trip(om: OmFile, compress: bool) -> None:
    assert read_om(write_om(om, compress=compress)) == om


@given(st.data())
def test_damage_gives_an_om_error_or_a_model(data: st.DataObject) -> None:
    whole = bytearray(write_om(data.draw(st.sampled_from(list(MODELS.values())))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(OmError):
        assert isinstance(read_om(bytes(whole)), OmFile)


@given(st.data())
def test_what_is_cut_off_is_an_om_error(data: st.DataObject) -> None:
    whole = write_om(data.draw(st.sampled_from(list(MODELS.values()))))
    with pytest.raises(OmError):
        read_om(whole[: data.draw(st.integers(0, len(whole) - 1))])
