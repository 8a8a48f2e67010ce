"""The memory budget: what is added up, and what a refusal says."""

import pytest

from ascend_serve.errors import AclResourceError
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


def test_what_does_not_fit_is_refused_with_every_number_and_a_way_out():
    with pytest.raises(AclResourceError) as caught:
        require([SMALL, LARGE], MemoryInfo(2047 * MIB - 1, 8192 * MIB))
    words = str(caught.value)
    for part in (
        "2,047.0 MiB are needed and 2,047.0 MiB of 8,192.0 MiB are free",
        "'small' 7.0 MiB (weights 3.0 MiB, working memory 2.0 MiB, 2 slots of 1.0 MiB)",
        "'large' 2,040.0 MiB (weights 1,900.0 MiB, working memory 100.0 MiB, 4 slots of 10.0 MiB)",
        "Use fewer slots",
    ):
        assert part in words
    assert caught.value.http_status == 503
