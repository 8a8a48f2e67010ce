"""The `aipp:` section of a recipe: what it takes, what it refuses, and the file that it becomes."""

import pytest

from ascend_serve.errors import ConfigError
from ascend_serve.spec.aipp import Aipp, misfits, render, source_shape
from ascend_serve.spec.closed import parse_closed
from ascend_serve.spec.soc import resolve_soc

pytestmark = pytest.mark.unit

RGB = {"input": "image", "input_format": "RGB888_U8"}
NV12 = {"input": "image", "input_format": "YUV420SP_U8"}
SIZE = {"src_image_size_w": 320, "src_image_size_h": 240}
CROP = {"crop": True, "load_start_pos_w": 10, "load_start_pos_h": 20, "crop_size_w": 50, "crop_size_h": 60}
BORDER = {
    "padding": True,
    "left_padding_size": 20,
    "right_padding_size": 15,
    "top_padding_size": 20,
    "bottom_padding_size": 15,
}


def section(settings):
    return parse_closed(Aipp, settings, "aipp")


def block(settings, inputs=("image",)):
    """The fields of the rendered block, as text."""
    first, *lines, last, end = render([section(settings)], inputs).split("\n")
    assert (first, last, end) == ("aipp_op {", "}", "")
    return dict(line.strip().split(": ") for line in lines)


def test_crop_and_padding_as_the_vendor_writes_them():
    """hicann/ge docs/zh/user_guides/atc_tools/AIPP/crop_padding_config.md."""
    assert block(NV12 | SIZE | CROP | BORDER) == {
        "related_input_rank": "0",
        "aipp_mode": "static",
        "input_format": "YUV420SP_U8",
        "src_image_size_w": "320",
        "src_image_size_h": "240",
        "crop": "true",
        "load_start_pos_w": "10",
        "load_start_pos_h": "20",
        "crop_size_w": "50",
        "crop_size_h": "60",
        "padding": "true",
        "left_padding_size": "20",
        "right_padding_size": "15",
        "top_padding_size": "20",
        "bottom_padding_size": "15",
    }


def coefficients(rows):
    return {f"matrix_r{r}c{c}": str(value) for r, row in enumerate(rows) for c, value in enumerate(row)}


def biases(name, values):
    return {f"{name}_{place}": str(value) for place, value in enumerate(values)}


@pytest.mark.parametrize(
    ("settings", "rows", "bias"),
    [
        (
            NV12 | {"csc_to": "RGB", "csc_standard": "JPEG"},
            [(256, 0, 359), (256, -88, -183), (256, 454, 0)],
            biases("input_bias", (0, 128, 128)),
        ),
        (
            NV12 | {"csc_to": "BGR", "csc_standard": "BT-709NARROW"},
            [(298, 541, 0), (298, -55, -136), (298, 0, 459)],
            biases("input_bias", (16, 128, 128)),
        ),
        (
            RGB | {"csc_to": "YUV444", "csc_standard": "BT-709WIDE"},
            [(55, 183, 19), (-29, -99, 128), (128, -116, -12)],
            biases("output_bias", (0, 128, 128)),
        ),
        (
            RGB | {"input_format": "XRGB8888_U8", "csc_to": "YVU444", "csc_standard": "BT-601NARROW"},
            [(66, 129, 25), (112, -94, -18), (-38, -74, 112)],
            biases("output_bias", (16, 128, 128)),
        ),
        (RGB | {"csc_to": "GRAY"}, [(76, 150, 30), (0, 0, 0), (0, 0, 0)], biases("output_bias", (0, 0, 0))),
        (NV12 | {"csc_to": "GRAY"}, [(256, 0, 0), (0, 0, 0), (0, 0, 0)], biases("input_bias", (0, 0, 0))),
    ],
)
def test_colours_by_name_are_the_vendors_tables(settings, rows, bias):
    """hicann/ge docs/zh/user_guides/atc_tools/AIPP/CSC_config.md."""
    found = block(settings)
    assert found["csc_switch"] == "true"
    assert {name: value for name, value in found.items() if name.startswith("matrix_")} == coefficients(rows)
    assert {name: value for name, value in found.items() if "bias" in name} == bias


def test_a_conversion_without_matrix_is_what_atc_takes_by_default():
    """hicann/ge aipp_op.cc, SetCscDefaultValue: BT-601NARROW, from YUV to BGR, or from RGB to YUV."""
    assert block(NV12 | {"csc_switch": True}) == block(
        NV12 | {"csc_to": "BGR", "csc_standard": "BT-601NARROW"}
    )
    assert block(RGB | {"csc_switch": True}) == block(
        RGB | {"csc_to": "YUV444", "csc_standard": "BT-601NARROW"}
    )


def test_a_matrix_by_hand():
    rows = [[1, 2, 3], [4, 5, -6], [7, 8, 32676]]
    found = block(RGB | {"csc_switch": True, "matrix": rows, "output_bias": [1, 2, 3]})
    assert found.items() >= (coefficients(rows) | biases("output_bias", (1, 2, 3))).items()


def test_mean_and_standard_deviation_of_training_code():
    """ImageNet's: the whole part of a mean is exact, the rest and the factor are halves."""
    found = block(RGB | {"normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}})
    numbers = {name: float(value) for name, value in found.items() if "_chn_" in name}
    assert numbers == pytest.approx(
        {
            "mean_chn_0": 123,
            "mean_chn_1": 116,
            "mean_chn_2": 103,
            "min_chn_0": 0.675,
            "min_chn_1": 0.28,
            "min_chn_2": 0.53,
            "var_reci_chn_0": 0.017124754,
            "var_reci_chn_1": 0.017507003,
            "var_reci_chn_2": 0.017429194,
        },
        rel=1e-6,
    )
    assert found["mean_chn_0"] == "123"


def test_dynamic_mode_says_only_how_large_an_image_can_be():
    assert block({"input": "b", "mode": "dynamic", "max_src_image_size": 752640}, ["a", "b"]) == {
        "related_input_rank": "1",
        "aipp_mode": "dynamic",
        "max_src_image_size": "752640",
    }


def test_each_section_refers_to_its_place_among_the_models_inputs():
    text = render([section(RGB | {"input": "c"}), section(RGB | {"input": "a"})], ["a", "b", "c"])
    assert [line.strip() for line in text.split("\n") if "rank" in line] == [
        "related_input_rank: 2",
        "related_input_rank: 0",
    ]
    with pytest.raises(ConfigError, match="'imgae' is no input; did you mean 'image'"):
        render([section(RGB | {"input": "imgae"})], ["image", "size"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input": "x"}, "needs input_format"),
        (RGB | {"input_format": "RGB888"}, "input_format"),
        (RGB | {"resize": True}, "unknown key 'resize'"),
        (RGB | {"max_src_image_size": 9}, "max_src_image_size is for mode dynamic"),
        ({"input": "x", "mode": "dynamic"}, "needs max_src_image_size"),
        ({"input": "x", "mode": "dynamic", "max_src_image_size": 0}, "greater than 0"),
        ({"input": "x", "mode": "dynamic", "max_src_image_size": 9, "crop": True}, "crop are for static"),
        (RGB | {"src_image_size_w": 4}, "given together"),
        (RGB | {"src_image_size_w": 1, "src_image_size_h": 1}, "src_image_size_w is 1: 2 to 4096"),
        (RGB | {"src_image_size_w": 4097, "src_image_size_h": 1}, "less than or equal to 4096"),
        (NV12 | {"src_image_size_w": 5, "src_image_size_h": 4}, "have to be even"),
        (RGB | CROP, "need src_image_size_w"),
        (RGB | {"padding": True}, "need src_image_size_w"),
        (RGB | SIZE | {"crop_size_w": 4}, "crop_size_w count for nothing without `crop: true`"),
        (RGB | SIZE | {"top_padding_size": 4}, "top_padding_size count for nothing without `padding: true`"),
        (RGB | SIZE | BORDER | {"left_padding_size": 33}, "less than or equal to 32"),
        (RGB | SIZE | BORDER | {"padding_value": 65505}, "less than or equal to 65504"),
        (RGB | SIZE | BORDER | {"padding_value": float("nan")}, "finite number"),
        (RGB | SIZE | BORDER | {"crop": True}, "crop together with padding needs crop_size_w"),
        (RGB | SIZE | CROP | {"crop_size_w": 311}, "a crop of 311 from 10 does not fit src_image_size_w 320"),
        (RGB | SIZE | CROP | {"load_start_pos_h": 240, "crop_size_h": 0}, "does not fit src_image_size_h"),
        (RGB | {"input_format": "YUV400_U8", "csc_switch": True}, "no colours to convert"),
        (RGB | {"matrix": [[1, 2, 3]] * 3}, "matrix count for nothing without `csc_switch: true`"),
        (RGB | {"csc_switch": True, "matrix": [[1, 2, 3]] * 2}, "missing"),
        (RGB | {"csc_switch": True, "matrix": [[1, 2, 32677]] * 3}, "less than or equal to 32676"),
        (RGB | {"csc_switch": True, "input_bias": [0, 0, 0]}, "input_bias is not used for RGB888_U8, but"),
        (NV12 | {"csc_switch": True, "input_bias": [0, 0, 256]}, "less than or equal to 255"),
        (RGB | {"csc_standard": "JPEG"}, "csc_standard needs csc_to"),
        (RGB | {"csc_to": "RGB", "csc_standard": "JPEG"}, "converts to YUV444, YVU444, GRAY, not RGB"),
        (NV12 | {"csc_to": "RGB"}, "csc_to RGB needs csc_standard"),
        (
            NV12 | {"csc_to": "GRAY", "csc_switch": True, "matrix": [[1, 2, 3]] * 3},
            "csc_to and matrix exclude each other",
        ),
        (RGB | {"mean_chn": [256]}, "less than or equal to 255"),
        (RGB | {"mean_chn": [0.5]}, "valid integer"),
        (RGB | {"mean_chn": [1, 2, 3, 4, 5]}, "at most 4 items"),
        (RGB | {"min_chn": [-1]}, "greater than or equal to 0"),
        (RGB | {"var_reci_chn": [65505]}, "less than or equal to 65504"),
        (RGB | {"normalize": {"mean": [0], "std": [1]}, "mean_chn": [1]}, "exclude each other"),
        (RGB | {"normalize": {"mean": [0, 0], "std": [1]}}, "2 means for 1 standard deviations"),
        (RGB | {"normalize": {"mean": [124], "std": [58]}}, "mean 124 is 31620 of a pixel"),
        (RGB | {"normalize": {"mean": [0], "std": [0]}}, "std 0 has to be above 0"),
    ],
)
def test_what_atc_would_refuse_or_ignore_is_refused(settings, message):
    with pytest.raises(ConfigError) as refusal:
        section(settings)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "shape", "layout", "wanted"),
    [
        (RGB, (2, 3, 4, 6), "NCHW", (2, 4, 6, 3)),
        (RGB, (2, 4, 6, 3), "NHWC", (2, 4, 6, 3)),
        (NV12, (-1, 3, 4, 6), "NCHW", (-1, 6, 6, 1)),
        (NV12, (1, 3, -1, -1), "NCHW", (1, -1, -1, 1)),
        (NV12 | SIZE | CROP, (1, 3, 60, 50), "NCHW", (1, 360, 320, 1)),
        (RGB | {"input_format": "XRGB8888_U8"}, (1, 3, 4, 6), "NCHW", (1, 4, 6, 4)),
        (RGB | {"input_format": "YUV400_U8"}, (1, 1, 4, 6), "NCHW", (1, 4, 6, 1)),
    ],
)
def test_the_shape_of_what_clients_send(settings, shape, layout, wanted):
    assert source_shape(section(settings), shape, layout) == wanted


@pytest.mark.parametrize(
    ("settings", "shape", "soc", "message"),
    [
        (RGB, (1, 3, 4), None, "AIPP makes images, of 4 dims"),
        (RGB, (1, 4, 4, 4), None, "has 4 channels and gets 3 from RGB888_U8"),
        (RGB | SIZE, (1, 3, 224, 224), None, "is 224 at axis h, and images become 240"),
        (RGB | SIZE | CROP, (1, 3, 60, 51), None, "is 51 at axis w, and images become 50"),
        (RGB | SIZE | {"crop": True}, (1, 3, 240, 321), None, "a crop of 321 from 0 does not fit"),
        (NV12, (1, 3, 5, 4), None, "are even in both sizes, and axis h has 5"),
        (RGB | {"normalize": {"mean": [0], "std": [1]}}, (1, 3, 4, 4), None, "normalize is for 1 channels"),
        (
            NV12 | SIZE | CROP | {"load_start_pos_w": 11},
            (1, 3, 60, 50),
            "Ascend310P3",
            "11 and 20: even for YUV420SP_U8",
        ),
        (
            RGB
            | {"src_image_size_w": 1080, "src_image_size_h": 8, "padding": True}
            | {"left_padding_size": 1},
            (1, 3, 8, 1081),
            "Ascend310P3",
            "pads images up to a width of 1080",
        ),
    ],
)
def test_what_does_not_fit_the_network_or_the_chip(settings, shape, soc, message):
    found = list(misfits(section(settings), shape, soc=soc and resolve_soc(soc)))
    assert any(message in finding for finding in found), found


@pytest.mark.parametrize(
    ("settings", "shape", "soc"),
    [
        (RGB, (1, 3, -1, -1), "Ascend310P3"),
        (NV12 | {"csc_to": "GRAY"}, (-1, 1, 4, 4), "Ascend310P3"),
        (NV12 | SIZE | CROP | BORDER, (1, 3, 95, 85), "Ascend910A"),
        (RGB | SIZE | {"crop": True, "load_start_pos_w": 11}, (1, 3, 100, 100), "Ascend310P3"),
        (RGB | SIZE | {"padding": True, "left_padding_size": 1}, (1, 3, 240, 321), "Ascend910B3"),
        ({"input": "x", "mode": "dynamic", "max_src_image_size": 1}, (1, 3, 4, 4), "Ascend310P3"),
    ],
)
def test_what_fits_is_let_through(settings, shape, soc):
    assert list(misfits(section(settings), shape, soc=resolve_soc(soc))) == []
