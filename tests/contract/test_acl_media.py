"""Memory for media data, which programs use that decode on the host."""

from collections.abc import Callable, Iterator

import acl
import numpy as np
import pytest

pytestmark = pytest.mark.contract

LINE = 128


@pytest.fixture(params=["media", "himpi"])
def malloc(request: pytest.FixtureRequest, device: int) -> Iterator[Callable[[int], tuple[int, int]]]:
    """`malloc(size) -> (address, ret)` of one of the two interfaces; frees what was allocated."""
    live: list[int] = []
    module = getattr(acl, request.param)

    def allocate(size: int) -> tuple[int, int]:
        address, ret = (
            module.dvpp_malloc(size) if request.param == "media" else module.dvpp_malloc(device, size)
        )
        if ret == 0:
            live.append(address)
        return address, ret

    yield allocate
    assert {module.dvpp_free(address) for address in live} <= {0}


def test_addresses_suit_the_picture_engines(malloc: Callable[[int], tuple[int, int]]) -> None:
    """The documentation of `acldvppMalloc`: addresses are aligned to 128 bytes."""
    blocks = [malloc(size) for size in (1, 100, 4096, 3)]
    assert [ret for _, ret in blocks] == [0] * 4
    addresses = [address for address, _ in blocks]
    assert all(address % LINE == 0 for address in addresses)
    assert len(set(addresses)) == 4


def test_media_memory_is_device_memory(malloc: Callable[[int], tuple[int, int]]) -> None:
    """facts/pyacl.md §14.3: programs copy pictures into it and give it to models."""
    picture = np.arange(24, dtype=np.uint8)
    address, ret = malloc(picture.nbytes)
    assert ret == 0
    back = np.zeros_like(picture)
    assert acl.rt.memcpy(address, picture.nbytes, picture.ctypes.data, picture.nbytes, 1) == 0
    assert acl.rt.memcpy(back.ctypes.data, back.nbytes, address, back.nbytes, 2) == 0
    assert (back == picture).all()


def test_no_bytes_are_no_block(malloc: Callable[[int], tuple[int, int]]) -> None:
    """`acldvppMalloc`: size 0 is 100000."""
    assert malloc(0) == (0, 100000)


@pytest.mark.ascend_findings("double-free", "wrong-free")
def test_only_blocks_of_its_own_are_freed(device: int, emulator: None) -> None:
    """The documentation of `acldvppFree`: it frees what `acldvppMalloc` gave; null is 100000."""
    address, ret = acl.media.dvpp_malloc(64)
    assert ret == 0
    assert acl.media.dvpp_free(0) == 100000
    assert acl.media.dvpp_free(address + LINE) == 100000
    assert acl.media.dvpp_free(address) == 0
    assert acl.media.dvpp_free(address) == 100000
    plain, ret = acl.rt.malloc(64, 0)
    assert ret == 0
    assert acl.media.dvpp_free(plain) == 100000
    assert acl.rt.free(plain) == 0


@pytest.mark.ascend_findings("no-context")
def test_memory_needs_a_context(run_python: Callable[..., str]) -> None:
    """facts/pyacl.md §5: device memory belongs to the calling thread's context; without one it is 107002."""
    program = "import acl; acl.init(); print(acl.media.dvpp_malloc(64), acl.himpi.dvpp_malloc(0, 64))"
    assert run_python(program) == "(0, 107002) (0, 107002)"
