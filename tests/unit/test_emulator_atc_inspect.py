from __future__ import annotations

import contextlib
import dataclasses
import json
import struct
from typing import Any

import pytest
from ascend_emulator.atc.inspect import model_info, to_json
from ascend_emulator.gears import GearKind, Gears
from ascend_emulator.om import SHAPE_INPUT, OmError, OmFile, StaticAipp, TensorInfo, write_om
from ascend_emulator.om_attributes import put_attributes
from ascend_emulator.om_container import write_container
from ascend_emulator.protobuf import Message
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

MODEL = OmFile(
    name="net",
    soc_version="Ascend310P3",
    atc_cmdline='/opt/bin/atc --model=net.onnx --input_shape="x:1"',
    atc_version="0.1.0",
    toolchain="ascend-emulator 0.1.0",
    inputs=(TensorInfo("image", 4, 1, (-1, 4, 4, 3), 96), TensorInfo(SHAPE_INPUT, 3, 2, (1,), 4)),
    outputs=(TensorInfo("fc:0:größe", 1, 2, (2, 10), 40),),
    gears=Gears(GearKind.BATCH, ((1,), (2,))),
    gear_input_dims=(((1, 4, 4, 3),), ((2, 4, 4, 3),)),
    gear_output_dims=(((1, 10),), ((2, 10),)),
    input_order=("image",),
    dynamic=False,
    host="",
    aipps=(StaticAipp(0, (("aipp_mode", "static"), ("csc_switch", False), ("min_chn_0", 0.1))),),
    options=(),
    memory_size=4096,
    weight_size=512,
    network=b"network",
)


def attributes(node: dict[str, Any]) -> dict[str, Any]:
    return {entry["key"]: entry["value"] for entry in node["attr"]}


def graph_ops(model: dict[str, Any]) -> dict[str, Any]:
    return {op["name"]: op for op in model["graph"][0]["op"]}


@pytest.mark.parametrize("compress", [True, False])
def test_the_graph_stands_in_the_json_under_the_names_of_the_schema(compress: bool) -> None:
    model = json.loads(to_json(write_om(MODEL, compress=compress)))
    assert list(model) == ["attr", "custom_version", "graph", "name", "version"]
    assert (model["name"], model["version"], model["custom_version"]) == ("net", 2, "1.11.z.0")
    ops = graph_ops(model)
    assert [op["type"] for op in ops.values()] == ["Data", "Data", "Case", "NetOutput"]
    image = ops["image"]
    # `id` 0 is the default and so not there; `size` is left out wherever it stands.
    assert set(image) == {"attr", "has_out_attr", "input_desc", "name", "output_desc", "type"}
    (described,) = image["output_desc"]
    assert described == {
        "dtype": "DT_UINT8",
        "layout": "NHWC",
        "name": "image",
        "shape": {"dim": [2, 4, 4, 3]},
    }
    assert ops["ascend_mbatch_shape_case"]["id"] == 2
    assert ops["ascend_mbatch_shape_case"]["src_index"] == [0, 0]


@pytest.mark.parametrize("compress", [True, False])
def test_attributes_stand_under_their_names_with_their_texts(compress: bool) -> None:
    model = json.loads(to_json(write_om(MODEL, compress=compress)))
    ops = graph_ops(model)
    image = attributes(ops["image"])
    assert image["index"] == {"i": 0}
    assert image["_data_related_aipp_mode"] == {"s": "static_aipp"}
    assert image["_mbatch_origin_input_dims"] == {"list": {"i": [-1, 4, 4, 3], "val_type": "VT_LIST_INT"}}
    assert image["_all_origin_gears_inputs"] == {
        "list": {
            "s": ["NHWC:UINT8:image:48:4:1,4,4,3", "NHWC:UINT8:image:96:4:2,4,4,3"],
            "val_type": "VT_LIST_STRING",
        }
    }
    # A single float is text of six digits.
    assert attributes(image["aipp"]["func"]) == {
        "aipp_mode": {"i": 1},
        "csc_switch": {"b": False},
        "min_chn_0": {"f": "0.1"},
    }
    assert attributes(ops[SHAPE_INPUT])["_is_multi_batch_shape_data"] == {"b": True}
    own = attributes(model)
    assert own["memory_size"] == {"i": 4096}
    # Texts are C-escaped, the binary copy of the tasks is left out.
    assert own["atc_cmdline"] == {"s": '/opt/bin/atc --model=net.onnx --input_shape=\\"x:1\\"'}
    assert own["tasks"] is None
    assert own["attr_model_out_nodes_name"]["list"]["s"] == ["fc:0:größe"]
    assert not {"om_compress_version", "attr_name_enum", "attr_value_enum"} & set(own)


def test_the_text_is_indented_by_two_and_sorted_and_keeps_other_alphabets() -> None:
    text = to_json(write_om(MODEL))
    assert text.startswith('{\n  "attr": [\n    {\n      "key": "atc_cmdline",\n      "value": {\n')
    assert text.endswith('"name": "net",\n  "version": 2\n}')
    assert "fc:0:größe" in text


def file_of(definition: Message) -> bytes:
    return write_container("net", "ascend-emulator 0.1.0", [(0, bytes(definition))], dynamic=False)


def shown(attribute: Message) -> Any:
    """How one attribute of a model looks in the JSON."""
    entry = Message().data(1, "a").data(2, attribute)
    (found,) = json.loads(to_json(file_of(Message().data(11, entry))))["attr"]
    assert found["key"] == "a"
    return found["value"]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        (Message().integer(3, -5), {"i": -5}),
        (Message().integer(3, 2**63 - 1), {"i": 2**63 - 1}),
        (Message().integer(5, 0), {"b": False}),
        (Message().data(2, ""), {"s": ""}),
        (Message().data(2, b"\x00\n'\xc3\xa9\x7f"), {"s": "\\000\\n\\'\\303\\251\\177"}),
        (Message().single(4, 0.017), {"f": "0.017"}),
        # Too long for the ten bytes of GE's buffer: then it is the number, as float32 has it.
        (Message().single(4, -1.2345678e-05), {"f": pytest.approx(-1.2345678e-05, rel=1e-7)}),
        (Message().data(7, b"binary"), None),
        # Of a oneof the last alternative counts.
        (Message().integer(3, 1).data(2, "x"), {"s": "x"}),
        (
            Message().data(1, Message().data(4, struct.pack("<2f", 0.5, float("inf")))),
            {"list": {"f": [0.5, None]}},
        ),
        (Message().data(1, Message().integer(3, 7).integer(3, 8)), {"list": {"i": [7, 8]}}),
        (Message().data(1, Message().data(2, b"a\xffb")), {"list": {"s": ["ab"]}}),
        (Message().data(1, Message().data(3, b"").integer(20, 2)), {"list": {"val_type": "VT_LIST_INT"}}),
        (
            Message().data(14, Message().data(1, Message().packed(1, [1, -1])).data(1, "")),
            {"list_list_int": {"list_list_i": [{"list_i": [1, -1]}, None]}},
        ),
        (
            Message().data(11, Message().integer(2, 99).integer(10, 4)),
            {"td": {"dtype": "UNKNOWN_ENUM_VALUE_DataType_99"}},
        ),
        (Message().data(12, Message().data(2, b"weights")), {"t": None}),
    ],
)
def test_each_kind_of_value_looks_as_ge_prints_it(attribute: Message, value: Any) -> None:
    assert shown(attribute) == value


def test_what_lies_deeper_than_twenty_messages_is_cut() -> None:
    attribute = Message().integer(3, 1)
    for _ in range(12):
        named = Message()
        named.data(2, Message().data(1, "in").data(2, attribute))
        attribute = Message().data(10, named)
    value = shown(attribute)
    depth = 0
    while value is not None and "func" in value:
        depth += 1
        inner = value["func"]
        (entry,) = inner["attr"] if inner else [{"value": None}]
        value = entry["value"] if entry else None
    assert value is None
    assert 0 < depth < 12


def test_a_code_that_the_lists_lack_is_an_om_error() -> None:
    op = Message().data(1, "x").data(2, "Relu")
    put_attributes(op, 10, {"\0\1": 1})
    graph = Message().data(6, op)
    with pytest.raises(OmError, match="not among the 0"):
        to_json(file_of(Message().data(1, "net").data(7, graph)))


# --- summary --------------------------------------------------------------------------------------


def test_the_summary_line_by_line() -> None:
    data = write_om(MODEL)
    count = struct.unpack_from("<I", data, 256)[0]
    sizes = {
        kind: size
        for kind, _, size in (struct.unpack_from("<I4xQQ", data, 264 + 24 * row) for row in range(count))
    }
    assert model_info(data) == (
        "============ Display Model Info start ============\n"
        'Original Atc command line: /opt/bin/atc --model=net.onnx --input_shape="x:1"\n'
        "system   info: atc_version[0.1.0], soc_version[Ascend310P3], framework_type[Onnx].\n"
        "resource info: memory_size[4096 B], weight_size[512 B], stream_num[1], event_num[0].\n"
        f"om       info: modeldef_size[{sizes[0]} B], weight_data_size[7 B], "
        f"tbe_kernels_size[{sizes[3]} B], cust_aicpu_kernel_store_size[0 B], "
        f"task_info_size[{sizes[2]} B], so_store_size[0 B].\n"
        "============ Display Model Info end   ============\n"
    )


@pytest.mark.parametrize(
    ("own", "line"),
    [
        ({"om_info_list": [1, 2, 3, 4]}, "Display Model Info error, please check!"),
        (
            {"memory_size": 1},
            'Display Model Info failed, attr "om_info_list" is not found in om, check the version is matched.',
        ),
    ],
)
def test_a_file_without_five_sizes_says_so_in_their_place(own: dict[str, Any], line: str) -> None:
    definition = Message().data(1, "net")
    put_attributes(definition, 11, own)
    lines = model_info(file_of(definition)).splitlines()
    assert lines[-2:] == [line, "============ Display Model Info end   ============"]
    assert lines[1] == "Original Atc command line: "
    assert lines[3].endswith("weight_size[-1 B], stream_num[-1], event_num[-1].")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" + bytes(300), write_om(MODEL)[:-1]])
def test_what_is_no_om_is_refused(data: bytes) -> None:
    with pytest.raises(OmError):
        to_json(data)
    with pytest.raises(OmError):
        model_info(data)


@given(st.data())
def test_damage_gives_an_om_error_or_text(data: st.DataObject) -> None:
    whole = bytearray(write_om(dataclasses.replace(MODEL, network=b"")))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(256, len(whole) - 1))] = data.draw(st.integers(0, 255))
    for inspect in (to_json, model_info):
        with contextlib.suppress(OmError):
            assert inspect(bytes(whole))
