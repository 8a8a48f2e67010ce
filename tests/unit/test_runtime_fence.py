from types import SimpleNamespace

import pytest

from ascend_serve.errors import AclDeviceFault, AclResourceError, AclUsageError
from ascend_serve.runtime import _acl

pytestmark = pytest.mark.unit


@pytest.fixture
def stub(monkeypatch):
    """A module `acl` in which nothing works but what a test gives it."""
    module = SimpleNamespace(rt=SimpleNamespace(), mdl=SimpleNamespace(), get_recent_err_msg=lambda: None)
    monkeypatch.setattr(_acl, "_acl", lambda: module)
    return module


def test_a_value_comes_without_its_code(stub):
    stub.rt.malloc = lambda size, policy: (4096 + size + policy, 0)
    assert _acl.malloc(64) == 4160


def test_a_code_becomes_an_exception_with_the_runtimes_own_words(stub):
    stub.rt.malloc = lambda size, policy: (0, 207001)
    stub.get_recent_err_msg = lambda: "EL0004: out of memory"
    with pytest.raises(AclResourceError, match=r"acl\.rt\.malloc returned 207001 .*EL0004") as caught:
        _acl.malloc(64)
    assert caught.value.detail == "EL0004: out of memory"


def test_no_words_are_no_detail(stub):
    stub.get_recent_err_msg = lambda: ""
    stub.rt.synchronize_event = lambda event: 507015
    with pytest.raises(AclDeviceFault) as caught:
        _acl.synchronize_event(1)
    assert caught.value.detail is None


def test_a_null_handle_is_an_exception(stub):
    stub.mdl.create_dataset = lambda: 0
    with pytest.raises(AclResourceError, match=r"acl\.mdl\.create_dataset returned 200000"):
        _acl.create_dataset()


@pytest.mark.parametrize(("code", "ours"), [(0, True), (100002, False)])
def test_init_tells_whether_it_was_us(stub, code, ours):
    stub.init = lambda: code
    assert _acl.init() is ours


def test_a_description_that_cannot_be_filled_is_destroyed(stub):
    destroyed = []
    stub.mdl.create_desc = lambda: 77
    stub.mdl.get_desc = lambda desc, model: 145003
    stub.mdl.destroy_desc = destroyed.append
    with pytest.raises(AclUsageError, match=r"acl\.mdl\.get_desc returned 145003"):
        _acl.create_desc(5)
    assert destroyed == [77]


def test_an_unknown_input_is_none_but_other_failures_are_not(stub):
    stub.mdl.get_input_index_by_name = lambda desc, name: (0, 100000)
    assert _acl.input_index(1, "x") is None
    stub.mdl.get_input_index_by_name = lambda desc, name: (0, 107002)
    with pytest.raises(AclUsageError):
        _acl.input_index(1, "x")


@pytest.mark.parametrize("code", [207000, 200001, 200006])
def test_a_runtime_that_cannot_stop_on_failure_says_so(stub, code):
    assert _acl.stop_on_failure(1) is False
    stub.rt.set_stream_failure_mode = lambda stream, mode: code
    assert _acl.stop_on_failure(1) is False
    stub.rt.set_stream_failure_mode = lambda stream, mode: 0 if mode == 1 else 100000
    assert _acl.stop_on_failure(1) is True


def test_the_toolkits_version_is_empty_where_it_cannot_be_asked(stub):
    assert _acl.cann_version() == ""
    stub.get_cann_version = lambda package: ({"version": "8.5.0"}, 0) if package == 0 else ({}, 100000)
    assert _acl.cann_version() == "8.5.0"


def test_a_shortened_name_is_made_whole(stub):
    stub.mdl.get_input_dims_v2 = lambda desc, index: ({"name": "s", "dimCount": 2, "dims": [-1, 3]}, 0)
    stub.mdl.get_input_name_by_index = lambda desc, index: "acl_modelId_1_input_0_x"
    stub.mdl.get_tensor_real_name = lambda desc, name: "a" * 200
    stub.mdl.get_input_data_type = lambda desc, index: 0
    stub.mdl.get_input_size_by_index = lambda desc, index: 96
    assert _acl.input_tensor(1, 0) == ("a" * 200, 0, (-1, 3), 96)
