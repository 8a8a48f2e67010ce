"""The memory budget: what is added up, and what a refusal says."""

import pytest

from ascend_serve.errors import TooLittleMemory
from ascend_serve.runtime.budget import Need, require
from ascend_serve.runtime.device import MemoryInfo
from ascend_serve.runtime.model import ModelSize

pytestmark = pytest.mark.unit

MIB = 1 << 20
SMALL = Need("small", ModelSize(work=2 * MIB, weights=3 * MIB), slot_bytes=MIB, slots=2)
LARGE = Need("large", ModelSize(work=100 * MIB, weights=1900 * MIB), slot_bytes=10 * MIB, slots=4)


def test_a_need_is_the_model_and_all_its_slots():
    assert SMALL.total == 7 * MIB
    assert LARGE.total == 2040 * MIB


@pytest.mark.parametrize("free", [2047 * MIB, 4096 * MIB])
def test_what_fits_is_let_through(free):
    require([SMALL, LARGE], MemoryInfo(free, 8192 * MIB))


def refusal(needs, free, total):
    with pytest.raises(TooLittleMemory) as caught:
        require(needs, MemoryInfo(free, total))
    return str(caught.value)


def test_what_does_not_fit_is_refused_with_every_number_and_the_ways_out():
    assert refusal([SMALL, LARGE], 2046 * MIB, 8192 * MIB) == (
        "'small' and 'large' together do not fit the device's memory, by 1.0 MiB: 2.0 GiB wanted, 2.0 GiB free of 8.0 "
        "GiB ('small' wants 3.0 MiB for weights, 2.0 MiB for work and 2 slots of 1.0 MiB; 'large' wants 1.9 GiB for "
        "weights, 100.0 MiB for work and 4 slots of 10.0 MiB): use fewer slots or compile for a smaller largest gear "
        "or put fewer models on it; `npu-smi info` shows who else uses the device"
    )


def test_a_way_out_that_leads_nowhere_is_not_told():
    one = Need("one", ModelSize(work=MIB, weights=MIB), slot_bytes=MIB, slots=1)
    assert refusal([one], MIB, 2 * MIB) == (
        "'one' does not fit the device's memory, by 2.0 MiB: 3.0 MiB wanted, 1.0 MiB free of 2.0 MiB ('one' wants 1.0 "
        "MiB for weights, 1.0 MiB for work and 1 slot of 1.0 MiB): compile for a smaller largest gear; all that the "
        "device has is less"
    )


def test_one_byte_less_than_is_wanted_does_not_fit():
    assert "by 1 B: " in refusal([SMALL, LARGE], 2047 * MIB - 1, 8192 * MIB)


def test_no_more_is_taken_than_is_allowed_though_more_is_free():
    memory = MemoryInfo(4096 * MIB, 8192 * MIB)
    require([SMALL, LARGE], memory, 2047 * MIB)
    with pytest.raises(TooLittleMemory) as caught:
        require([SMALL, LARGE], memory, 2046 * MIB)
    assert str(caught.value) == (
        "'small' and 'large' together do not fit what may be taken of the device's memory, by 1.0 MiB: 2.0 GiB wanted, "
        "2.0 GiB of 8.0 GiB allowed ('small' wants 3.0 MiB for weights, 2.0 MiB for work and 2 slots of 1.0 MiB; "
        "'large' wants 1.9 GiB for weights, 100.0 MiB for work and 4 slots of 10.0 MiB): raise memory_share or "
        "memory_bytes, or use fewer slots or compile for a smaller largest gear or put fewer models on it"
    )


def test_what_is_allowed_but_not_free_is_refused_too():
    with pytest.raises(TooLittleMemory, match=r"1\.0 MiB free of 8\.0 GiB"):
        require([SMALL], MemoryInfo(MIB, 8192 * MIB), 4096 * MIB)
