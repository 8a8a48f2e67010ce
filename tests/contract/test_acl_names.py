"""Which functions `acl` has beside those that run models, and what they answer."""

import importlib
import pickle
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import acl
import pytest

pytestmark = pytest.mark.contract

NOT_SUPPORTED = 200001

PROF = """
    init finalize start stop set_config create_config destroy_config create_subscribe_config destroy_subscribe_config
    model_subscribe model_un_subscribe model_unsubscribe get_op_desc_size get_op_num get_op_type_len get_op_name_len
    get_op_type get_op_name get_op_start get_op_end get_op_duration get_model_id create_stamp create_step_info
    destroy_stamp destroy_step_info set_stamp_trace_message mark mark_ex push pop range_stop get_step_timestamp
    range_start
"""
OP = """
    set_model_dir create_attr destroy_attr set_attr_bool set_attr_int set_attr_float set_attr_string execute_v2 cast
    create_handle execute_with_handle destroy_handle update_params infer_shape
"""
MEDIA = """
    dvpp_malloc dvpp_free dvpp_create_channel_desc dvpp_destroy_channel_desc dvpp_create_channel dvpp_destroy_channel
    dvpp_create_pic_desc dvpp_destroy_pic_desc dvpp_set_pic_desc_data dvpp_set_pic_desc_size dvpp_set_pic_desc_format
    dvpp_set_pic_desc_width dvpp_set_pic_desc_height dvpp_set_pic_desc_width_stride dvpp_set_pic_desc_height_stride
    dvpp_get_pic_desc_data dvpp_get_pic_desc_size dvpp_get_pic_desc_width dvpp_get_pic_desc_height
    dvpp_get_pic_desc_ret_code dvpp_create_roi_config dvpp_destroy_roi_config dvpp_create_resize_config
    dvpp_destroy_resize_config dvpp_vpc_resize_async dvpp_vpc_crop_async dvpp_vpc_crop_and_paste_async
    dvpp_vpc_batch_crop_async dvpp_vpc_batch_crop_and_paste_async dvpp_create_batch_pic_desc dvpp_jpeg_decode_async
    dvpp_jpeg_encode_async dvpp_jpeg_predict_dec_size dvpp_jpeg_predict_enc_size dvpp_jpeg_get_image_info
    dvpp_create_jpege_config dvpp_set_jpege_config_level dvpp_create_stream_desc dvpp_set_stream_desc_data
    dvpp_get_stream_desc_data vdec_create_channel vdec_create_channel_desc vdec_set_channel_desc_channel_id
    vdec_set_channel_desc_thread_id vdec_set_channel_desc_callback vdec_set_channel_desc_entype
    vdec_set_channel_desc_out_pic_format vdec_set_channel_desc_out_mode vdec_send_frame vdec_create_frame_config
    venc_create_channel venc_create_channel_desc venc_send_frame venc_create_frame_config
"""
HIMPI = "dvpp_malloc dvpp_free sys_init sys_exit vpc_create_chn vpc_resize vpc_crop vdec_create_chn vdec_send_stream"
BLAS = "gemm_ex gemv_ex create_handle_for_gemm_ex create_handle_for_gemv_ex"
FV = "init release repo_add search create_init_para destroy_init_para destory_init_para"

MODULES = {"prof": PROF, "op": OP, "media": MEDIA, "himpi": HIMPI, "blas": BLAS, "fv": FV}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_the_functions_that_programs_name(name: str) -> None:
    """facts/pyacl.md §14: names seen in the open binding, in the documentation and in programs."""
    module = getattr(acl, name)
    assert importlib.import_module(f"acl.{name}") is module
    missing = [
        function for function in MODULES[name].split() if not callable(getattr(module, function, None))
    ]
    assert missing == []


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_nothing_beside_functions_of_its_own(name: str, emulator: None) -> None:
    """facts/pyacl.md §1: no constant, class or error name is exported; unknown names raise AttributeError."""
    module = getattr(acl, name)
    for shown, function in _public(module):
        assert function.__name__ == shown
        assert repr(function) == f"<function acl.{name}.{shown}>"
        assert pickle.loads(pickle.dumps(function)) is function
    with pytest.raises(AttributeError):
        _ = module.no_such_function


@pytest.mark.parametrize("name", MODULES)
def test_arguments_are_positional_and_counted(name: str, emulator: None) -> None:
    """facts/pyacl.md §2: the binding parses with PyArg_ParseTuple; functions without arguments ignore them."""
    for shown, function in _public(getattr(acl, name)):
        with pytest.raises(TypeError, match=f"acl.{name}.{shown}"):
            function(size=1)
        if name in ("media", "himpi", "blas", "fv") and _takes_arguments(function):
            with pytest.raises(TypeError, match=f"acl.{name}.{shown} args parse failed"):
                function(*[object()] * 40)


@pytest.mark.parametrize(
    ("path", "arguments", "answer"),
    [
        ("media.dvpp_create_channel", (1,), NOT_SUPPORTED),
        ("media.dvpp_create_channel_desc", (), 0),
        ("media.dvpp_vpc_resize_async", (1, 2, 3, 4, 5), NOT_SUPPORTED),
        ("media.dvpp_vpc_batch_crop_async", (1, 2, [1], 3, [2], 4), (0, NOT_SUPPORTED)),
        ("himpi.sys_init", (), NOT_SUPPORTED),
        ("himpi.dvpp_get_version", (), (0, 0, 0, NOT_SUPPORTED)),
        ("himpi.vpc_sys_create_chn", ({},), (0, NOT_SUPPORTED)),
        ("op.set_model_dir", ("models",), NOT_SUPPORTED),
        ("op.execute_v2", ("Add", [1], [2], [3], [4], 5, 6), NOT_SUPPORTED),
        ("op.create_handle", ("Add", [1], [2], 3), (0, NOT_SUPPORTED)),
        ("op.destroy_handle", (1,), None),
        ("blas.create_handle_for_hgemv", (0, 1, 1, 0), (0, NOT_SUPPORTED)),
        ("fv.create_init_para", (1,), 0),
        ("fv.init", (1,), NOT_SUPPORTED),
        ("trans_tensor_desc_format", (1, 0), (0, NOT_SUPPORTED)),
    ],
)
def test_what_the_card_does_not_do_is_answered_in_its_usual_shape(
    path: str, arguments: tuple[Any, ...], answer: object, emulator: None
) -> None:
    """The open binding's wrap files (facts/pyacl.md §23.1) give the shapes; the code is the emulator's choice."""
    module, _, name = path.rpartition(".")
    function = getattr(getattr(acl, module) if module else acl, name)
    acl.get_recent_err_msg()
    assert function(*arguments) == answer
    assert f"acl.{path}" in str(acl.get_recent_err_msg())


def test_lists_are_lists(emulator: None) -> None:
    """facts/pyacl.md §2: a tuple is no list."""
    with pytest.raises(TypeError, match=r"acl\.op\.execute_v2 args parse failed"):
        acl.op.__dict__["execute_v2"]("Add", (1,), [2], [3], [4], 5, 6)


def test_attributes_of_single_operators_can_be_built() -> None:
    """The open binding's op_wrap.cpp: attributes are set by name; the two for data types give the set as well."""
    attributes = acl.op.create_attr()
    assert attributes
    assert acl.op.set_attr_bool(attributes, "transpose", 1) == 0
    assert acl.op.set_attr_int(attributes, "axis", -1) == 0
    assert acl.op.set_attr_float(attributes, "epsilon", 1e-5) == 0
    assert acl.op.set_attr_string(attributes, "mode", "constant") == 0
    assert acl.op.set_attr_list_int(attributes, "pads", [0, 1]) == 0
    assert acl.op.set_attr_list_list_int(attributes, "ranges", [[0, 1], [2]]) == 0
    with pytest.raises(TypeError, match="set_attr_list_int"):
        acl.op.set_attr_list_int(attributes, "pads", ["0"])
    assert acl.op.destroy_attr(attributes) is None


def test_attributes_of_no_set_are_refused() -> None:
    """`aclopSetAttrInt` checks that the set is not null: 100000."""
    assert acl.op.set_attr_int(0, "axis", 1) == 100000


# --- versions and abilities ------------------------------------------------------------------------


def test_versions_of_packages_come_whole_and_in_parts() -> None:
    """facts/pyacl.md §3: `(dict, ret)` with these keys."""
    version, ret = acl.get_cann_version(0)
    assert ret == 0
    assert list(version) == [
        "version",
        "major_version",
        "minor_version",
        "release_version",
        "patch_version",
        "reserved",
    ]
    parts = [version["major_version"], version["minor_version"], version["release_version"]]
    assert version["version"].split(".")[:3] == parts


def test_versions_of_packages_there_are_not(emulator: None) -> None:
    """`aclsysGetCANNVersion`: an enum outside its range is 100000; a package without a file, 100003."""
    assert acl.get_cann_version(8) == ({}, 100000)
    assert acl.get_version_str("runtime") == (acl.get_cann_version(1)[0]["version"], 0)
    assert acl.get_version_str("no-such-package") == ("", 100003)


def test_abilities_are_those_that_are_listed() -> None:
    """facts/pyacl.md §3: `(list, count, ret)` and `(value, ret)`."""
    listed, count, ret = acl.get_cann_attribute_list()
    assert ret == 0
    assert count == len(listed)
    assert all(acl.get_cann_attribute(attribute) == (1, 0) for attribute in listed)
    assert acl.get_cann_attribute(999)[1] == 100000


@pytest.mark.parametrize(("soc", "listed"), [("Ascend310P3", [2]), ("Ascend910B3", [0, 1, 2])])
def test_abilities_follow_the_soc(
    soc: str, listed: list[int], emulator: None, run_python: Callable[..., str]
) -> None:
    """`cann_info.cpp` of hicann/runtime: infinities and bfloat16 by SoC; compiling at run time everywhere."""
    program = "import acl; print(acl.get_cann_attribute_list()[0], acl.get_device_capability(0, 0)[0] > 0)"
    assert run_python(program, ASCEND_EMULATOR_SOC=soc) == f"{listed} True"


def test_capabilities_of_a_device() -> None:
    """`aclGetDeviceCapability` (facts/pyacl.md §3): cores and bytes, of devices and kinds there are."""
    cores, ret = acl.get_device_capability(0, 0)
    assert ret == 0
    assert cores > 0
    assert acl.get_device_capability(999, 0) == (0, 100000)
    assert acl.get_device_capability(0, 999) == (0, 100000)


# --- tensor descriptions ---------------------------------------------------------------------------


@pytest.fixture
def tensor() -> Iterator[int]:
    desc = acl.create_tensor_desc(0, [2, 3], 2)
    assert desc
    yield desc
    assert acl.destroy_tensor_desc(desc) is None


def _dims(desc: int) -> list[int]:
    return [acl.get_tensor_desc_dim_v2(desc, i)[0] for i in range(acl.get_tensor_desc_num_dims(desc))]


def test_a_tensors_storage_is_apart_from_what_the_model_sees(tensor: int) -> None:
    """`tensor_desc_internal.cpp`: aclSetTensorShape and aclSetTensorFormat set the storage; getters read the origin."""
    assert acl.set_tensor_shape(tensor, [1, 2, 3, 16]) == 0
    assert acl.set_tensor_storage_shape(tensor, [1, 1, 2, 3, 16]) == 0
    assert acl.set_tensor_format(tensor, 3) == 0
    assert acl.set_tensor_storage_format(tensor, 3) == 0
    assert _dims(tensor) == [2, 3]
    assert acl.get_tensor_desc_format(tensor) == 2
    assert acl.set_tensor_origin_shape(tensor, [4, 5]) == 0
    assert acl.set_tensor_origin_format(tensor, 0) == 0
    assert _dims(tensor) == [4, 5]
    assert acl.get_tensor_desc_format(tensor) == 0


def test_a_tensors_ranges(tensor: int) -> None:
    """`aclGetTensorDescDimRange`: [smallest, largest], into a list as long as asked for."""
    assert acl.set_tensor_shape_range(tensor, [[1, 8], [3, 3]]) == 0
    assert acl.get_tensor_desc_dim_range(tensor, 0, 2) == ([1, 8], 0)
    for index, count in ((2, 2), (0, 1)):
        nothing: object = acl.get_tensor_desc_dim_range(tensor, index, count)
        assert nothing == (None, 100000)
    with pytest.raises(TypeError):
        acl.set_tensor_shape_range(tensor, [[1, 8, 9]])


def test_what_single_operators_are_told_of_a_tensor(tensor: int) -> None:
    """facts/pyacl.md §3: bare `ret`; an array of descriptions made by `create_tensor_desc` has one."""
    assert acl.set_tensor_const(tensor, 0, 4) == 100000
    assert acl.set_tensor_dynamic_input(tensor, "x") == 0
    assert acl.set_tensor_place_ment(tensor, 1) == 0
    assert acl.get_tensor_desc_address(tensor) == 0
    assert acl.get_tensor_desc_by_index(tensor, 0) == tensor
    assert acl.set_tensor_shape(0, [1]) == 100000


def _public(module: ModuleType) -> list[tuple[str, Any]]:
    return [(name, getattr(module, name)) for name in dir(module) if not name.startswith("_")]


def _takes_arguments(function: Any) -> bool:
    try:
        function()
    except TypeError:
        return True
    return False
