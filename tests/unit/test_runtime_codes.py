import pickle

import pytest

from ascend_serve.errors import (
    AclDeviceFault,
    AclResourceError,
    AclServiceError,
    AclTaskFault,
    AclUsageError,
    AclWaitTimeout,
)
from ascend_serve.runtime import _codes

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("code", "kind", "name"),
    [
        (100000, AclUsageError, "INVALID_PARAM"),
        (107002, AclUsageError, "RT_CONTEXT_NULL"),
        (145013, AclUsageError, "GE_DYNAMIC_BATCH_SIZE_INVALID"),
        (148053, AclUsageError, "INVALID_BUNDLE_MODEL_ID"),
        (200000, AclResourceError, "BAD_ALLOC"),
        (207001, AclResourceError, "RT_MEMORY_ALLOCATION"),
        (300000, AclServiceError, "STORAGE_OVER_LIMIT"),
        (500003, AclDeviceFault, "RT_FAILURE"),
        (507010, AclDeviceFault, "RT_LOST_HEARTBEAT"),
        (507011, AclTaskFault, "RT_MODEL_EXECUTE"),
        (507015, AclTaskFault, "RT_AICORE_EXCEPTION"),
        (507033, AclDeviceFault, "RT_DEV_SETUP_ERROR"),
        (545601, AclTaskFault, "GE_MODEL_EXECUTE_TIMEOUT"),
        (507012, AclWaitTimeout, "RT_REPORT_TIMEOUT"),
        (507046, AclWaitTimeout, "RT_STREAM_SYNC_TIMEOUT"),
        (507047, AclWaitTimeout, "RT_EVENT_SYNC_TIMEOUT"),
    ],
)
def test_a_code_becomes_the_exception_of_its_family(code, kind, name):
    error = _codes.error_for("acl.rt.something", code)
    assert type(error) is kind
    assert error.name == name
    assert (error.call, error.code) == ("acl.rt.something", code)
    assert str(error).startswith(f"acl.rt.something returned {code} ({name}): ")


def test_every_code_has_a_name_and_a_meaning_and_lies_in_a_known_family():
    for code, (name, meaning) in _codes.CODES.items():
        assert name == name.upper()
        assert meaning
        assert code // 100000 in (1, 2, 3, 5)
        assert code // 1000 % 100 in (0, 7, 45, 48)


def test_an_unknown_code_keeps_its_family():
    assert type(_codes.error_for("c", 299999)) is AclResourceError
    assert _codes.error_for("c", 299999).name == "UNKNOWN"


@pytest.mark.parametrize("code", [-1, 7, 400000, 999999])
def test_a_code_of_no_family_counts_as_a_device_fault(code):
    assert type(_codes.error_for("c", code)) is AclDeviceFault


def test_the_runtimes_own_words_are_kept():
    error = _codes.error_for("acl.mdl.load_from_file", 145002, " E19999: no such file\n")
    assert error.detail == " E19999: no such file\n"
    assert str(error).endswith("[E19999: no such file]")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
