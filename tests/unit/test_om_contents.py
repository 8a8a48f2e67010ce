"""What is read of the model in a file: shapes, gears, preprocessing, precision, weights, operators."""

import runpy
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.artifacts.om.aipp import Aipp
from ascend_serve.artifacts.om.cmdline import option, options, precision_of, program
from ascend_serve.artifacts.om.facts import GearShapes, Precision
from ascend_serve.artifacts.om.graph import Operators
from ascend_serve.artifacts.om.reading import read_om
from ascend_serve.errors import NotAnOm

pytestmark = pytest.mark.unit

w = runpy.run_path(str(Path(__file__).with_name("om_writer.py")))


def model(inputs, outputs, gears, table, order=(), ops=(), attrs=()):
    partitions = [(8, w["summary"](inputs, outputs, gears, table, order)), (0, w["model_def"](attrs, ops))]
    return read_om(w["container"]([partitions]))


HIDDEN = ("ascend_mbatch_shape_data", 3, (1,))
Y = [("n:0:y", 0, (2, 10))]


def test_tensors_tell_layout_bytes_memory_and_ranges():
    inputs = [
        ("image", 4, (1, 8, 8, 3), (1, 12, 8, 1), (), 96, 1),
        ("text", 9, (-1, 4), (-1, 4), ((1, -1), (4, 4)), 0, 2),
        ("odd", 27, (2,), (2,), (), 4, 99),
    ]
    image, text, odd = model(inputs, Y, (), ()).inputs
    assert (image.format, image.size, image.dims, image.memory_dims) == (
        "NHWC",
        96,
        (1, 8, 8, 3),
        (1, 12, 8, 1),
    )
    assert (text.ranges, text.memory_dims, text.size) == (((1, -1), (4, 4)), (), 0)
    assert (odd.format, odd.dtype) == ("format 99", 27)


def test_the_graph_tells_layout_bytes_memory_and_ranges_too():
    text = w["desc"](9, (-1, 4), layout="ND", attrs=[("shape_range", [(1, -1), (4, 4)])])
    image = w["desc"](4, (1, 8, 8, 3), layout="NHWC", size=96)
    ops = [
        w["op"]("image", "Data", [("index", 0), ("input_dims", [1, 12, 8, 1])], [image]),
        w["op"]("text", "Data", [("index", 1)], [text]),
    ]
    read = read_om(w["container"]([[(0, w["model_def"]([], ops))]])).inputs
    assert [(t.format, t.size, t.memory_dims, t.ranges) for t in read] == [
        ("NHWC", 96, (1, 12, 8, 1), ()),
        ("ND", 0, (), ((1, -1), (4, 4))),
    ]


def test_batch_gears_in_the_files_order_and_their_shapes():
    om = read_om(w["gear_model"](gears=(4, 1)))
    assert om.gears == (1, 4)
    assert om.gear_groups == ((4,), (1,))
    assert om.gear_shapes == (
        GearShapes((4,), ((4, 3, 2),), ((4, 10), (4, 1))),
        GearShapes((1,), ((1, 3, 2),), ((1, 10), (1, 1))),
    )


def test_image_gears_fill_height_and_width():
    om = model([("x", 0, (1, 3, -1, -1)), HIDDEN], Y, ((8, 16), (4, 4)), ("0,0,1,8", "1,0,1,4"))
    assert (om.gear_kind, om.gears, om.gear_groups) == ("image", (), ((8, 16), (4, 4)))
    assert [shapes.inputs for shapes in om.gear_shapes] == [((1, 3, 8, 16),), ((1, 3, 4, 4),)]
    assert [shapes.outputs for shapes in om.gear_shapes] == [((1, 8),), ((1, 4),)]


@pytest.mark.parametrize(
    ("order", "a", "b"),
    [((), (1, 2), (3, 5)), (("a", "b"), (1, 2), (3, 5)), (("b", "a"), (2, 3), (1, 5))],
)
def test_dims_gears_fill_in_the_order_of_the_user(order, a, b):
    om = model([("a", 0, (-1, -1)), ("b", 0, (-1, 5)), HIDDEN], Y, ((1, 2, 3),), (), order)
    assert om.gear_shapes == (GearShapes((1, 2, 3), (a, b), (None,)),)


def test_gears_that_fit_no_input_leave_the_shapes_open():
    om = model([("a", 0, (-1, 5)), HIDDEN], Y, ((1, 2, 3),), ())
    assert om.gear_shapes[0].inputs == (None,)


@given(
    st.lists(
        st.tuples(st.integers(1, 1 << 40), st.integers(1, 1 << 40)), min_size=1, max_size=20, unique=True
    )
)
def test_gears_of_image_sizes_come_back_as_they_were_written(gears):
    om = model([("x", 0, (1, 3, -1, -1)), HIDDEN], Y, tuple(gears), ())
    assert om.gear_groups == tuple(gears)


def test_a_graph_that_claims_more_gears_than_it_lists_is_refused():
    case = w["op"]("c", "Case", [("_batch_num", 1 << 60), ("_pred_value_0", [1])])
    with pytest.raises(NotAnOm, match="gears and describes 1"):
        read_om(w["container"]([[(0, w["model_def"]([], [case]))]]))


def test_static_preprocessing_is_told_in_the_words_of_its_file():
    settings = {"aipp_mode": 1, "input_format": 3, "csc_switch": False, "mean_chn_0": 124, "min_chn_0": 0.5}
    ops = [
        w["op"](
            "image",
            "Data",
            [
                (w["code"](0), 0),
                (w["code"](1), 0),
                (w["code"](2), settings),
                ("_aipp_inputs", ["NCHW:DT_FLOAT:image:588:4:1,3,7,7"]),
            ],
            [w["desc"](4, (1, 8, 8, 3))],
        )
    ]
    attrs = [
        ("om_compress_version", 1),
        ("attr_name_enum", ["index", "_data_related_aipp_mode", "aipp"]),
        ("attr_value_enum", ["static_aipp"]),
        ("attrs_use_string_value", [False, True, False]),
    ]
    om = read_om(w["container"]([[(0, w["model_def"](attrs, ops))]]))
    assert om.layout.compresses_names
    told = {"aipp_mode": "static", "input_format": "RGB888_U8"}
    assert om.aipps == (
        Aipp("image", "static", tuple((settings | told).items()), ("NCHW:DT_FLOAT:image:588:4:1,3,7,7",), ()),
    )


def test_dynamic_preprocessing_has_an_input_for_its_parameters():
    ops = [
        w["op"](
            "image", "Data", [("index", 0), ("_data_related_aipp_mode", "dynamic_aipp")], [w["desc"](4, (1,))]
        ),
        w["op"](
            "aipp_data",
            "AippData",
            [("index", 1), ("_data_related_aipp_mode", "dynamic_aipp_conf"), ("aipp", {"aipp_mode": 2})],
            [w["desc"](4, (9,))],
        ),
    ]
    found = read_om(w["container"]([[(0, w["model_def"]([], ops))]])).aipps
    assert [(aipp.input, aipp.mode, aipp.settings) for aipp in found] == [
        ("image", "dynamic", ()),
        ("aipp_data", "parameters", (("aipp_mode", "dynamic"),)),
    ]


def test_named_values_are_not_followed_without_end():
    settings = {"aipp_mode": 1}
    for _ in range(60):
        settings = {"deeper": settings}
    node = w["op"]("x", "Data", [("aipp", settings)], [w["desc"](4, (1,))])
    (aipp,) = read_om(w["container"]([[(0, w["model_def"]([], [node]))]])).aipps
    assert (aipp.input, aipp.settings) == ("x", ())


def test_weights_in_files_are_named_wherever_the_graph_has_them():
    def constant(name, **attrs):
        return w["op"](name, "FileConstant", list(attrs.items()))

    main = [constant("a", location="weight/w_1"), constant("b", location="weight/w_1", offset=64)]
    body = [constant("c", file_path="w_2"), constant("d", location="", file_id="key"), constant("e")]
    om = read_om(w["container"]([[(0, w["model_def"]([], main, body))]]))
    assert om.external_weights == ("weight/w_1", "w_2", "key", "e")


def test_operators_are_counted_when_asked_for():
    conv = w["op"]("c", "Conv2D", outputs=[w["desc"](1, (1,)), w["desc"](3, (1,))])
    const = w["op"]("k", "Const", outputs=[w["desc"](0, (1,))])
    data = w["container"]([[(0, w["model_def"]([], [conv, const], [conv, w["op"]("n", "NoOp")]))]])
    assert read_om(data).operators is None
    assert read_om(data, deep=True).operators == Operators({"Conv2D": 2, "Const": 1, "NoOp": 1}, {1: 2})


def test_resources_are_told_or_unknown():
    attrs = [
        ("stream_num", 2),
        ("event_num", 0),
        ("zero_copy_memory_size", 100),
        ("om_info_list", [1, 2, 3, 4]),
    ]
    found = read_om(w["container"]([[(0, w["model_def"](attrs))]])).resources
    assert (found.streams, found.events, found.labels, found.zero_copy_memory) == (2, 0, None, 100)
    assert found.om_info == (1, 2, 3, 4)


def test_a_coded_name_of_any_length_costs_nothing():
    key = "\0" + "\x7f" * 100_000
    with pytest.raises(NotAnOm, match="coded name"):
        read_om(
            w["container"](
                [[(0, w["model_def"]([], [w["op"]("x", "Data", [(key, 1)], [w["desc"](0, (1,))])]))]]
            )
        )


def test_a_list_of_floats_that_ends_inside_one_is_read_to_there():
    body = w["field"](1, "f") + w["field"](2, w["field"](1, w["field"](4, struct.pack("<f", 1.5) + b"\0")))
    definition = w["field"](11, body) + w["model_def"]([("soc_version", "Ascend310P3")])
    assert read_om(w["container"]([[(0, definition)]])).soc == "Ascend310P3"


# --- the recorded command line ----------------------------------------------------------------------

LINE = (
    "/opt/cann/8.0.0/bin/atc.bin --model=net 1.onnx -framework 5 --output net --input-shape=x:1,-1;y:2 --check=1 "
    "--soc_v=Ascend310P3 --flag"
)


def test_options_of_a_recorded_line():
    assert options(LINE) == {
        "model": "net 1.onnx",
        "framework": "5",
        "output": "net",
        "input_shape": "x:1,-1;y:2",
        "check": "1",
        "soc_v": "Ascend310P3",
        "flag": "",
    }
    assert program(LINE) == "/opt/cann/8.0.0/bin/atc.bin"
    assert option(options(LINE), "soc_version") == "Ascend310P3"
    assert option(options(LINE), "insert_op_conf") is None


def test_no_line_has_no_options():
    assert (options(""), program("")) == ({}, "")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "atc --precision_mode=allow_mix_precision",
            Precision("precision_mode", "allow_mix_precision", True),
        ),
        ("atc --precision_mode_v2=origin", Precision("precision_mode_v2", "origin", True)),
        ("atc --model=x", Precision("precision_mode", "force_fp16", False)),
        ("", Precision("precision_mode", "", False)),
    ],
)
def test_precision_is_the_one_given_or_the_default(line, told):
    assert precision_of(line) == told


def test_a_prefix_of_the_soc_option_is_enough():
    definition = w["model_def"]([("atc_cmdline", "atc.bin --model=m --soc=Ascend910A")])
    assert read_om(w["container"]([[(0, definition)]])).soc == "Ascend910A"
