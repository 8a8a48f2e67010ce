"""Image preprocessing that was compiled in, the settings of dynamic AIPP, and the calls that dump data."""

from collections.abc import Callable, Iterator
from pathlib import Path

import acl
import numpy as np
import pytest

from tests.contract.models import Loaded, compiled

pytestmark = pytest.mark.contract

NO_INDEX = 0xFFFFFFFF
AIPP = """
aipp_op {
  related_input_rank : 0
  aipp_mode : static
  input_format : RGB888_U8
  src_image_size_w : 4
  src_image_size_h : 2
  csc_switch : false
  mean_chn_0 : 1
  mean_chn_1 : 2
  mean_chn_2 : 3
  var_reci_chn_0 : 0.5
  var_reci_chn_1 : 0.5
  var_reci_chn_2 : 0.5
}
"""


@pytest.fixture(scope="module")
def om(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("aipp")
    (folder / "aipp.cfg").write_text(AIPP)
    text = "net (float[2,3,2,4] x, float[1] y) => (float[2,3,2,4] z) { z = Add(x, y) }"
    return {
        "aipp": compiled(
            folder, "aipp", text, "--input_shape=x:2,3,2,4;y:1", f"--insert_op_conf={folder}/aipp.cfg"
        ),
        "plain": compiled(folder, "plain", text, "--input_shape=x:2,3,2,4;y:1"),
    }


@pytest.fixture
def aipp(device: int, om: dict[str, Path]) -> Iterator[Loaded]:
    loaded = Loaded(om["aipp"])
    yield loaded
    loaded.close()


@pytest.fixture
def settings(device: int) -> Iterator[int]:
    handle = acl.mdl.create_aipp(2)
    assert handle
    yield handle
    assert acl.mdl.destroy_aipp(handle) == 0


def test_an_image_input_is_uint8_nhwc(aipp: Loaded) -> None:
    """facts/pyacl.md §9.2: v1 tells the image's logical dims, v2 those in memory, whose product is the size."""
    desc = aipp.desc
    assert acl.mdl.get_num_inputs(desc) == 2
    assert acl.mdl.get_input_data_type(desc, 0) == 4
    assert acl.mdl.get_input_format(desc, 0) == 1
    assert acl.mdl.get_input_dims_v2(desc, 0)[0]["dims"] == [2, 2, 4, 3]
    assert sorted(acl.mdl.get_input_dims(desc, 0)[0]["dims"]) == [2, 2, 3, 4]
    assert acl.mdl.get_input_size_by_index(desc, 0) == 2 * 2 * 4 * 3
    assert acl.mdl.get_input_dims_v2(desc, 1) == acl.mdl.get_input_dims(desc, 1)


def test_an_image_is_preprocessed(aipp: Loaded) -> None:
    """facts/atc_om_soc.md §5.1: per channel (in - mean - min) x var_reci."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 4, 3), np.uint8)
    aipp.put(0, pixels)
    aipp.put(1, np.array([10], np.float32))
    assert aipp.run() == 0, acl.get_recent_err_msg()
    wanted = (pixels.astype(np.float32) - [1, 2, 3]) * 0.5 + 10
    np.testing.assert_allclose(aipp.take((2, 3, 2, 4)), wanted.transpose(0, 3, 1, 2), rtol=1e-3)


def test_the_type_of_each_input(aipp: Loaded) -> None:
    """GE `davinci_model.cc` GetAippType: static 1, none 0, and no input that holds settings in either case."""
    assert acl.mdl.get_aipp_type(aipp.model, 0) == (1, NO_INDEX, 0)
    assert acl.mdl.get_aipp_type(aipp.model, 1) == (0, NO_INDEX, 0)
    assert acl.mdl.get_aipp_type(aipp.model, 2) == (0, 0, 100000)
    assert acl.mdl.get_aipp_type(999_999, 0) == (0, 0, 145003)


def test_what_was_compiled_in_is_told(aipp: Loaded) -> None:
    """facts/pyacl.md §9.2; the binding's GetPydictFromAIPPInfo for the keys, GE `acl_aipp.cpp` for the codes."""
    info, ret = acl.mdl.get_first_aipp_info(aipp.model, 0)
    assert ret == 0
    assert info["inputFormat"] == 3
    assert (info["srcImageSizeW"], info["srcImageSizeH"]) == (4, 2)
    assert [info[f"meanChn{channel}"] for channel in range(3)] == [1, 2, 3]
    assert [info[f"varReciChn{channel}"] for channel in range(3)] == [0.5] * 3
    assert (info["cscSwitch"], info["cropSwitch"], info["paddingSwitch"]) == (0, 0, 0)
    assert (info["shapeCount"], info["srcDimNum"], len(info["outDims"])) == (1, 4, 1)
    assert info["outDims"][0]["srcSize"] == acl.mdl.get_input_size_by_index(aipp.desc, 0)
    assert acl.mdl.get_first_aipp_info(aipp.model, 1) == (None, 145015)
    assert acl.mdl.get_first_aipp_info(aipp.model, 2) == (None, 100000)
    assert acl.mdl.get_first_aipp_info(999_999, 0) == (None, 145003)


def test_settings_are_made_and_ended(device: int) -> None:
    """GE `acl_aipp_om2.cpp`: an empty batch has none; 64 bytes and 96 for each image."""
    assert acl.mdl.create_aipp(0) == 0
    assert acl.mdl.create_aipp(-1) == 0
    assert acl.mdl.destroy_aipp(0) == 100000
    assert acl.mdl.get_aipp_data_size(4) == (64 + 4 * 96, 0)
    assert acl.mdl.get_aipp_data_size(0) == (0, 100000)


MATRIX = (1, -2, 3, 4, 5, 6, 7, 8, 9)
SETTERS: list[tuple[str, tuple[object, ...], int]] = [
    ("input_format", (1,), 0),
    ("input_format", (14,), 0),
    ("input_format", (0,), 100000),
    ("input_format", (15,), 100000),
    ("csc_params", (1, *MATRIX, 0, 0, 0, 16, 128, 128), 0),
    ("csc_params", (2, *MATRIX, 0, 0, 0, 16, 128, 128), 100000),
    ("csc_params", (1, 32767, *MATRIX[1:], 0, 0, 0, 0, 0, 0), 100000),
    ("csc_params", (0, 32767, *MATRIX[1:], 0, 0, 0, 0, 0, 0), 0),
    ("rbuv_swap_switch", (1,), 0),
    ("rbuv_swap_switch", (2,), 100000),
    ("ax_swap_switch", (1,), 0),
    ("src_image_size", (2, 1), 0),
    ("src_image_size", (1, 1), 100000),
    ("src_image_size", (4097, 1), 100000),
    ("scf_params", (1, 16, 16, 1920, 4096, 0), 0),
    ("scf_params", (1, 16, 16, 1921, 16, 0), 100000),
    ("scf_params", (0, 0, 0, 0, 0, 1), 0),
    ("scf_params", (0, 0, 0, 0, 0, 2), 100000),
    ("crop_params", (1, 0, 4095, 1, 4096, 1), 0),
    ("crop_params", (1, 4096, 0, 1, 1, 0), 100000),
    ("padding_params", (1, 0, 32, 0, 32, 0), 0),
    ("padding_params", (1, 0, 33, 0, 0, 0), 100000),
    ("dtc_pixel_mean", (0, 255, 1, 1, 0), 0),
    ("dtc_pixel_mean", (0, 256, 1, 1, 0), 100000),
    ("dtc_pixel_min", (0.0, 255.0, 1, 1, 1), 0),
    ("dtc_pixel_min", (-0.5, 0.0, 1, 1, 1), 100000),
    ("pixel_var_reci", (0.017, -65504.0, 1, 1, 0), 0),
    ("pixel_var_reci", (65505.0, 0, 1, 1, 0), 100000),
]


@pytest.mark.parametrize(("name", "values", "code"), SETTERS)
def test_settings_check_their_values(settings: int, name: str, values: tuple[object, ...], code: int) -> None:
    """GE `acl_aipp_om2.cpp`, `model_common.h` (the limits): a value or an image that is not taken is 100000."""
    setter = getattr(acl.mdl, f"set_aipp_{name}")
    assert setter(settings, *values) == code
    assert setter(0, *values) == 100000


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("rbuv_swap_switch", (256,)),
        ("rbuv_swap_switch", (-1,)),
        ("dtc_pixel_mean", (1 << 15, 0, 0, 0, 0)),
        ("src_image_size", (1.0, 1)),
        ("input_format", ()),
    ],
)
def test_settings_of_another_type_are_a_type_error(
    settings: int, name: str, values: tuple[object, ...]
) -> None:
    """The binding's formats: `b` an unsigned byte, `h` a short, `i` an int."""
    with pytest.raises(TypeError):
        getattr(acl.mdl, f"set_aipp_{name}")(settings, *values)


def test_a_bias_wraps_to_a_byte(settings: int) -> None:
    """The binding's format `B`: an unsigned byte without a check."""
    assert acl.mdl.set_aipp_csc_params(settings, 1, *MATRIX, 256, -1, 0, 0, 0, 0) == 0


def test_no_model_here_takes_settings(aipp: Loaded, settings: int) -> None:
    """GE `acl_aipp.cpp` CheckAippDataIndex: what takes no settings is 100000, named by the image's input 500001."""
    for index in (0, 1, 9):
        assert acl.mdl.set_input_aipp(aipp.model, aipp.inputs, index, settings) == 100000
    assert acl.mdl.set_input_aipp(999_999, aipp.inputs, 0, settings) == 145003
    assert acl.mdl.set_input_aipp(aipp.model, 0, 0, settings) == 100000
    assert acl.mdl.set_input_aipp(aipp.model, aipp.inputs, 0, 0) == 100000
    assert acl.mdl.set_aipp_by_input_index(aipp.model, aipp.inputs, 0, settings) == 500001
    assert acl.mdl.set_aipp_by_input_index(aipp.model, aipp.inputs, 9, settings) == 100000
    assert acl.mdl.set_aipp_by_input_index(aipp.model, aipp.inputs, 0, 0) == 100000
    assert acl.mdl.set_aipp_by_input_index(999_999, aipp.inputs, 0, settings) == 145003


def test_dumping_keeps_its_states(run_python: Callable[..., str], tmp_path: Path) -> None:
    """hicann/runtime `aclrt_impl/toolchain/dump.cpp`: init first, then begun once, then configured and ended."""
    (tmp_path / "good.json").write_text('{"dump": {}}')
    (tmp_path / "bad.json").write_text("{")
    program = """
import sys
import acl
folder = sys.argv[1]
print(acl.mdl.init_dump(), acl.mdl.set_dump(folder + "/good.json"), acl.mdl.finalize_dump())
assert acl.init() == 0
print(acl.mdl.set_dump(folder + "/good.json"), acl.mdl.finalize_dump())
print(acl.mdl.init_dump(), acl.mdl.init_dump())
print(*(acl.mdl.set_dump(f"{folder}/{name}.json") for name in ("good", "none", "bad")), acl.mdl.set_dump())
print(acl.mdl.dump_reg_callback(print, 0), acl.mdl.dump_unreg_callback())
print(acl.mdl.finalize_dump(), acl.mdl.finalize_dump())
"""
    assert run_python(program, tmp_path).splitlines() == [
        "100001 100001 100001",
        "100045 100045",
        "0 100002",
        "0 100003 100006 100000",
        "0 None",
        "0 100045",
    ]
