import contextlib
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.artifacts.om.graph import read_model_def
from ascend_serve.artifacts.om.reading import output_name, read_om
from ascend_serve.artifacts.om.wire import WireError, fields, int64s, signed, varint
from ascend_serve.errors import ConfigError, NotAnOm
from ascend_serve.spec.tensors import DataType
from ascend_serve.spec.toolchain import Toolchain

pytestmark = pytest.mark.unit

w = runpy.run_path(str(Path(__file__).with_name("om_writer.py")))
IMAGE = ("image", 0, (4, 3))


def test_a_gear_model_tells_everything_that_serving_needs():
    om = read_om(w["gear_model"](note=b"other-tools 1.2.3"))
    assert (om.name, om.soc, om.toolchain) == ("m", "Ascend310P3", Toolchain("other-tools", "1.2.3"))
    assert [(t.name, t.dtype, t.dims) for t in om.inputs] == [("image", 0, (-1, 3, 2))]
    assert [(t.name, t.dtype, t.dims) for t in om.outputs] == [("logits", 0, (4, 10)), ("best:0", 9, (4, 1))]
    assert (om.gears, om.gear_kind, om.scaling, om.dynamic) == ((1, 4), "batch", (True, True), False)
    assert (om.memory_size, om.weight_size) == (4096, 8)
    spec = om.model_spec("net")
    assert spec.name == "net"
    assert spec.gears.sizes == (1, 4)
    assert [(t.name, t.dtype, t.shape) for t in (*spec.inputs, *spec.outputs)] == [
        ("image", DataType.FP32, (-1, 3, 2)),
        ("logits", DataType.FP32, (-1, 10)),
        ("best:0", DataType.INT64, (-1, 1)),
    ]


def test_the_graph_tells_the_same_as_the_summary():
    told, read = (read_om(w["gear_model"](with_summary=summary)) for summary in (True, False))
    assert (told.layout.generation, read.layout.generation) == (4, 3)
    assert told == replace(read, layout=told.layout)


def test_files_without_vendor_note_are_canns():
    assert read_om(w["gear_model"]()).toolchain == Toolchain("CANN", "7.6.0")


def test_an_output_that_does_not_scale_with_the_gear_cannot_be_served_in_gears():
    om = read_om(w["gear_model"](scaling=False))
    assert om.scaling == (True, False)
    with pytest.raises(ConfigError, match="best:0"):
        om.model_spec("net")


@pytest.mark.parametrize(
    ("inputs", "outputs", "batched", "shape", "gears"),
    [
        ([IMAGE], [("y", 0, (4, 2))], None, (-1, 3), (4,)),
        ([IMAGE], [("y", 0, (4, 2))], True, (-1, 3), (4,)),
        ([IMAGE], [("y", 0, (4, 2))], False, (4, 3), (1,)),
        ([IMAGE], [("y", 0, (2,))], None, (4, 3), (1,)),
        ([IMAGE], [("y", 0, ())], None, (4, 3), (1,)),
        ([("image", 0, ())], [("y", 0, ())], None, (), (1,)),
    ],
)
def test_static_models_are_batched_only_when_all_tensors_begin_alike(inputs, outputs, batched, shape, gears):
    spec = read_om(w["static_model"](inputs, outputs)).model_spec("net", batched)
    assert (spec.inputs[0].shape, spec.gears.sizes) == (shape, gears)


def test_batched_against_the_file_is_refused():
    with pytest.raises(ConfigError, match=r"cannot be batched.*image \[4, 3\], y \[2\]"):
        read_om(w["static_model"]([IMAGE], [("y", 0, (2,))])).model_spec("net", batched=True)
    with pytest.raises(ConfigError, match="batched cannot be false"):
        read_om(w["gear_model"]()).model_spec("net", batched=False)


def test_types_without_numpy_counterpart_are_named():
    with pytest.raises(ConfigError, match=r"tensor 'y'.*27"):
        read_om(w["static_model"]([IMAGE], [("y", 27, (4, 2))])).model_spec("net")


@pytest.mark.parametrize(("version", "big"), [(1, False), (2, False), (2, True)])
def test_every_generation_of_header_and_table(version, big):
    definition = w["model_def"](
        [("soc_version", "Ascend310")],
        [
            w["op"]("x", "Data", [], [w["desc"](0, (1, 5))]),
            w["op"]("n", "NetOutput", [], [w["desc"](0, (1, 2))], [("fc", 0)]),
        ],
    )
    om = read_om(w["container"]([[(0, definition), (1, b"abc")]], version=version, big=big))
    assert (om.soc, om.weight_size, om.toolchain) == ("Ascend310", 3, Toolchain("CANN", ""))
    assert [(t.name, t.dims) for t in (*om.inputs, *om.outputs)] == [("x", (1, 5)), ("fc:0", (1, 2))]


def test_the_summary_of_older_hisilicon_tools_has_another_number():
    partitions = [(6, w["summary"]([IMAGE], [("y", 0, (4, 2))])), (0, w["model_def"]())]
    assert read_om(w["container"]([partitions], big=False)).inputs[0].name == "image"


def test_the_soc_comes_from_the_command_line_when_there_is_no_attribute():
    definition = w["model_def"]([("atc_cmdline", "atc.bin --model=m --soc_version=Ascend910A --log=error")])
    assert read_om(w["container"]([[(0, definition)]])).soc == "Ascend910A"


def test_several_sub_models_are_read_to_the_end_and_not_served():
    root = [(8, w["summary"]([IMAGE], [("y", 0, (4, 2))])), (0, w["model_def"]())]
    om = read_om(w["container"]([root, [(0, b""), (1, b"x")], [(2, b"t")]]))
    assert om.dynamic
    with pytest.raises(ConfigError, match="open shapes"):
        om.model_spec("net")


def test_open_shapes_without_a_header_flag_are_not_served():
    with pytest.raises(ConfigError, match="open shapes"):
        read_om(w["static_model"]([("x", 0, (-1, 3))], [("y", 0, (-1, 2))])).model_spec("net")


@given(st.integers(0, 127**3 - 1))
def test_compressed_attribute_names_are_undone(number):
    names = {number: "index"}
    dictionary = [("attr_name_enum", ["?"])]
    if number < 400:
        listed = [names.get(i, f"n{i}") for i in range(number + 1)]
        dictionary = [("attr_name_enum", listed), ("om_compress_version", 1)]
    data = memoryview(
        w["model_def"](dictionary, [w["op"]("x", "Data", [(w["code"](number), 7)], [w["desc"](0, (1,))])])
    )
    if number < 400:
        assert read_model_def(data).nodes[0].attrs == {"index": 7}
    else:
        with pytest.raises(NotAnOm, match=f"attribute name {number} "):
            read_model_def(data)


def test_compressed_attribute_values_are_undone_where_the_dictionary_says_so():
    model = read_model_def(
        memoryview(
            w["model_def"](
                [
                    ("attr_name_enum", ["size", "mode", "modes"]),
                    ("attr_value_enum", ["off", "on"]),
                    ("attrs_use_string_value", [False, True, True]),
                ],
                [w["op"]("x", "Data", [(w["code"](0), 1), (w["code"](1), 1), (w["code"](2), [1, 0])])],
            )
        )
    )
    assert model.nodes[0].attrs == {"size": 1, "mode": "on", "modes": ["on", "off"]}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PK\3\4 and so on", "mode=7"),
        (b"PICO....", "HiSilicon"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"\x91\x02\x03\x04" * 100, "another kind of file, or encrypted"),
        (b"", "the file is empty"),
        (b"IMOD", "cut off"),
    ],
)
def test_other_files_are_refused_by_name(data, says):
    with pytest.raises(NotAnOm, match=says):
        read_om(data)


def test_encrypted_models_are_refused():
    data = bytearray(w["gear_model"]())
    data[80] = 1
    with pytest.raises(NotAnOm, match="encrypted"):
        read_om(bytes(data))


def test_a_model_with_no_definition_is_refused():
    with pytest.raises(NotAnOm, match="no model definition"):
        read_om(w["container"]([[(24, b"bundle")]]))


def test_text_behind_an_old_header_is_no_model():
    payload = b"\x0a\x06vanila" * 3
    with pytest.raises(NotAnOm, match="no operator in it"):
        read_om(w["header"](len(payload), version=1, big=False) + payload)


WHOLE = w["gear_model"]()


@given(st.integers(0, len(WHOLE) - 1))
def test_every_truncation_is_refused(length):
    with pytest.raises(NotAnOm):
        read_om(WHOLE[:length])


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused_and_never_crashes(position, value):
    data = bytearray(WHOLE)
    data[position] = value
    with contextlib.suppress(NotAnOm, ConfigError):
        read_om(bytes(data)).model_spec("net")


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("/Exp:0:output2", "output2"),
        ("Conv_1:0:out:0", "out:0"),
        ("Conv_1:0", "Conv_1:0"),
        ("output", "output"),
        ("a:1:b", "b"),
    ],
)
def test_output_names(told, name):
    assert output_name(told) == name


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_varints_round_trip(value):
    encoded = memoryview(w["varint"](value))
    number, end = varint(encoded, 0)
    assert (signed(number), end) == (value, len(encoded))


@given(st.lists(st.tuples(st.integers(1, 1000), st.one_of(st.integers(0, 1 << 60), st.binary(max_size=20)))))
def test_messages_round_trip(items):
    data = b"".join(w["field"](number, value) for number, value in items)
    read = [(n, v if isinstance(v, int) else bytes(v)) for n, _, v in fields(memoryview(data))]
    assert read == items


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_wire_error(data):
    with contextlib.suppress(WireError):
        list(fields(memoryview(data)))


def test_packed_and_single_ints_are_read_alike():
    packed = w["varint"](-1) + w["varint"](3)
    assert int64s(memoryview(packed)) == [-1, 3]
    assert int64s((1 << 64) - 1) == [-1]
