from __future__ import annotations

from pathlib import Path

import pytest
from ascend_emulator.atc.aipp_config import load
from ascend_emulator.atc.aipp_network import check
from ascend_emulator.atc.errors import AtcError
from ascend_emulator.atc.network import Input
from ascend_emulator.dtypes import BY_ONNX
from ascend_emulator.soc import find_soc
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

RGB = "aipp_mode: static input_format: RGB888_U8 "


def write(folder: Path, *blocks: str) -> str:
    path = folder / "aipp.cfg"
    path.write_text("\n".join(f"aipp_op {{ {block} }}" for block in blocks))
    return str(path)


def test_a_file_as_the_documents_show_it(tmp_path: Path) -> None:
    path = tmp_path / "aipp.cfg"
    path.write_text(
        """
        # one block for each input
        aipp_op {
            aipp_mode : static
            related_input_rank : 1
            input_format : YUV420SP_U8   # NV12
            csc_switch : true
            src_image_size_w : 256  src_image_size_h : 256
            load_start_pos_w : 16
            var_reci_chn_0 : 0.00392157
            matrix_r0c0 : 256
        }
        aipp_op { aipp_mode: static input_format: RGB888_U8 mean_chn_0: 124 }
        """
    )
    yuv, rgb = load(str(path), 2, resolution_gears=False)
    assert (yuv.rank, yuv.pixels.name) == (1, "YUV420SP_U8")
    assert yuv.matrix == (256, 516, 0, 298, -100, -208, 298, 0, 409)
    assert yuv.numbers("input_bias_", 3) == (16, 128, 128)
    assert yuv.numbers("var_reci_chn_", 2) == (pytest.approx(0.00392157), 1.0)
    assert yuv.values["load_start_pos_w"] == 0  # crop is off
    assert (rgb.rank, rgb.pixels.name, rgb.values["mean_chn_0"]) == (0, "RGB888_U8", 124)
    names = dict(rgb.settings)
    assert names["aipp_mode"] == "static"
    assert names["src_image_size_w"] == 0
    assert not any(name.startswith(("matrix_", "input_bias_", "output_bias_")) for name in names)
    assert dict(yuv.settings)["matrix_r0c0"] == 256


@pytest.mark.parametrize(
    "text", ["aipp_op {", "nonsense: 1", "aipp_op { mean_chn_0: 1.5 }", "aipp_op { mode: 1 }"]
)
def test_what_is_no_such_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "aipp.cfg"
    path.write_text(text)
    with pytest.raises(AtcError, match="E13005"):
        load(str(path), 1, resolution_gears=False)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(AtcError, match="E13001"):
        load(str(tmp_path), 1, resolution_gears=False)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(AtcError, match="E13005"):
        load(str(tmp_path / "bytes"), 1, resolution_gears=False)


@pytest.mark.parametrize(
    ("blocks", "code"),
    [
        (["input_format: RGB888_U8"], "E10052"),
        (["aipp_mode: static"], "E10052"),
        (["aipp_mode: dynamic"], "E10052"),
        (["aipp_mode: dynamic max_src_image_size: 99"], "E10055"),
        (["aipp_mode: static input_format: RAW10"], "E10055"),
        (["aipp_mode: static input_format: YUV400_U8 csc_switch: true"], "E10052"),
        ([RGB, RGB], "E10052"),
        ([RGB, RGB + 'related_input_name: "x"'], "E10052"),
        ([RGB + 'related_input_name: "x"', RGB + 'related_input_name: "x"'], "E10052"),
        ([RGB + 'related_input_name: "x"'], "E10052"),
        ([RGB + "related_input_rank: 2"], "E10052"),
        ([RGB + "var_reci_chn_0: 1 var_reci_chn_0: 2"], "E10052"),
        ([RGB + "matrix_r1c1: 1 matrix_r1c1: 1"], "E10052"),
        ([RGB + "src_image_size_w: -2"], "E10052"),
        ([RGB + "src_image_size_w: 4098"], "E10052"),
        ([RGB + "padding: true left_padding_size: 33"], "E10052"),
        ([RGB + "padding: true top_padding_size: -1"], "E10052"),
        ([RGB + "padding_value: 70000"], "E10052"),
        ([RGB + "mean_chn_3: 256"], "E10052"),
        ([RGB + "min_chn_1: -1"], "E10052"),
        ([RGB + "matrix_r0c0: 40000"], "E10052"),
        ([RGB + "input_bias_2: 300"], "E10052"),
        ([RGB + "resize: true"], "E10052"),
        ([RGB + "single_line_mode: true"], "E10052"),
    ],
)
def test_what_is_refused(tmp_path: Path, blocks: list[str], code: str) -> None:
    with pytest.raises(AtcError) as caught:
        load(write(tmp_path, *blocks), 2, resolution_gears=False)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "field", ["crop: true", "padding: true", "src_image_size_w: 8", "src_image_size_h: 8"]
)
def test_image_size_gears_leave_no_fixed_size(tmp_path: Path, field: str) -> None:
    path = write(tmp_path, RGB + field)
    load(path, 1, resolution_gears=False)
    with pytest.raises(AtcError, match="When --dynamic_image_size is set"):
        load(path, 1, resolution_gears=True)


SOURCE = "src_image_size_w: 20 src_image_size_h: 10 "
CROP = SOURCE + "crop: true crop_size_w: 8 crop_size_h: 4 "


@pytest.mark.parametrize(
    ("fields", "dims", "words"),
    [
        (SOURCE, (1, 3, 4, 8), "neither cropped nor padded"),
        ("crop: true", (1, 3, 4, 8), "must be given"),
        ("src_image_size_w: 20 padding: true", (1, 3, 4, 8), "must be given"),
        (CROP, (1, 3, 4, 9), "the image becomes 8x4, the network takes 9x4"),
        (CROP + "load_start_pos_w: 14", (1, 3, 4, 8), "does not fit an image of 20x10"),
        (CROP, (1, 3, 4, 8), None),
        (SOURCE + "crop: true padding: true", (1, 3, 4, 8), "crop_size_w and crop_size_h must be given"),
        (CROP + "padding: true left_padding_size: 2", (1, 3, 4, 8), "becomes 10x4"),
        ("", (1, 4, 4, 8), "has 4 channels, the image gives up to 3"),
        ("", (1, 3, 4, 1), "the width must be 2 to 4096"),
        ("", (1, 3, 4, 5000), "the width must be 2 to 4096"),
        (
            "src_image_size_w: 1070 src_image_size_h: 2 padding: true left_padding_size: 30",
            (1, 3, 2, 1100),
            "takes up to 1080",
        ),
    ],
)
def test_sizes_must_fit_each_other(
    tmp_path: Path, fields: str, dims: tuple[int, ...], words: str | None
) -> None:
    (block,) = load(write(tmp_path, RGB + fields), 1, resolution_gears=False)
    entry = Input("x", BY_ONNX[1], dims)
    if words is None:
        check(block, entry, dims, find_soc("Ascend310P3"))
        return
    with pytest.raises(AtcError, match=words) as caught:
        check(block, entry, dims, find_soc("Ascend310P3"))
    assert caught.value.code == "E10052"


@pytest.mark.parametrize(
    ("kind", "fields", "dims", "even"),
    [
        ("YUV420SP_U8", "", (1, 3, 3, 4), False),
        ("YUV420SP_U8", "", (1, 3, 4, 3), False),
        ("YUYV_U8", "", (1, 3, 3, 4), True),
        ("YUV422SP_U8", "", (1, 3, 4, 3), False),
        ("YUV420SP_U8", CROP + "load_start_pos_w: 3", (1, 3, 4, 8), False),
        ("YUV420SP_U8", CROP + "load_start_pos_h: 3", (1, 3, 4, 8), False),
        ("YUYV_U8", CROP + "load_start_pos_h: 3", (1, 3, 4, 8), True),
        ("RGB888_U8", CROP + "load_start_pos_h: 3 load_start_pos_w: 5", (1, 3, 4, 8), True),
    ],
)
def test_shared_colours_need_even_sizes_and_starts(
    tmp_path: Path, kind: str, fields: str, dims: tuple[int, ...], even: bool
) -> None:
    path = write(tmp_path, f"aipp_mode: static input_format: {kind} {fields}")
    (block,) = load(path, 1, resolution_gears=False)
    entry, soc = Input("x", BY_ONNX[1], dims), find_soc("Ascend310P3")
    if even:
        check(block, entry, dims, soc)
    else:
        with pytest.raises(AtcError, match="must be even"):
            check(block, entry, dims, soc)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_a_code(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.cfg"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        blocks = load(str(path), 1, resolution_gears=False)
    except AtcError as error:
        assert error.code in {"E13005", "E10052", "E10055"}  # noqa: PT017 - either outcome is right
    else:
        assert blocks == () or all(block.rank == 0 for block in blocks)
