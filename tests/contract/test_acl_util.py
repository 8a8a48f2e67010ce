"""Between Python objects and addresses. Texts are the binding's (`bytes_convert.cpp`, `numpy_convert.cpp`)."""

import ctypes
import mmap
import re
from collections.abc import Iterator

import acl
import numpy as np
import pytest

pytestmark = pytest.mark.contract

NOWHERE = 4096
FLOAT32, OBJECT = 11, 17


@pytest.fixture
def page() -> Iterator[int]:
    """A page of memory that ends where nothing is mapped."""
    region = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    view = ctypes.c_char.from_buffer(region)
    address = ctypes.addressof(view)
    libc = ctypes.CDLL(None)
    libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    assert libc.mprotect(address + mmap.PAGESIZE, mmap.PAGESIZE, 0) == 0
    yield address
    assert libc.mprotect(address + mmap.PAGESIZE, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE) == 0
    del view
    region.close()


@pytest.mark.usefixtures("emulator")
@pytest.mark.ascend_findings("device-read", "use-after-free")
def test_device_memory_is_not_read_as_host_memory(device: int) -> None:
    """facts/pyacl.md §20, 20."""
    block, _ = acl.rt.malloc(64, 0)

    def look() -> None:
        with pytest.raises(ValueError, match="memcpy"):
            acl.util.ptr_to_bytes(block, 64)
        with pytest.warns(Warning, match="deprecated"), pytest.raises(ValueError, match="memcpy"):
            acl.util.ptr_to_numpy(block, (16,), FLOAT32)

    look()
    assert acl.rt.free(block) == 0
    look()


def test_bytes_have_an_address() -> None:
    """`WrapBytesToPtr`."""
    data = bytes(range(64))
    pointer = acl.util.bytes_to_ptr(data)
    assert acl.util.ptr_to_bytes(pointer, 64) == data
    for wrong in (bytearray(4), memoryview(b"x"), np.zeros(4), "text", None):
        with pytest.raises(ValueError, match=r"^needs an byte as argument$"):
            acl.util.bytes_to_ptr(wrong)


@pytest.mark.usefixtures("device")
def test_a_copy_may_be_written_into_bytes() -> None:
    """facts/pyacl.md §13 "Writing through bytes_to_ptr"."""
    block, _ = acl.rt.malloc(64, 0)
    data, room = bytes(range(64)), bytes(64)
    assert acl.rt.memcpy(block, 64, acl.util.bytes_to_ptr(data), 64, 1) == 0
    assert acl.rt.memcpy(acl.util.bytes_to_ptr(room), 64, block, 64, 2) == 0
    assert room == data
    assert np.frombuffer(room, np.uint8).tolist() == list(range(64))
    assert acl.rt.memset(acl.util.bytes_to_ptr(room), 64, 5, 64) == 0
    assert room == b"\x05" * 64
    assert acl.rt.free(block) == 0


def test_bytes_are_read_from_memory_that_is_there(page: int) -> None:
    """`WrapPtrToBytes`: whatever goes wrong is this ValueError."""
    assert acl.util.ptr_to_bytes(page, mmap.PAGESIZE) == bytes(mmap.PAGESIZE)
    assert acl.util.ptr_to_bytes(NOWHERE, 0) == b""
    refused = "^convert c pointer to bytes failed$"
    for address, size in (
        (page, mmap.PAGESIZE + 1),
        (NOWHERE, 1),
        (page, 1 << 62),
        (page, 1 << 63),
        (page, (1 << 64) - 1),
        ((1 << 64) - 8, 64),
        (0, 1 << 63),
    ):
        with pytest.raises(ValueError, match=refused):
            acl.util.ptr_to_bytes(address, size)


def test_the_null_pointer_is_bytes_of_anything() -> None:
    """`PyBytes_FromStringAndSize` with NULL: a bytes object that nobody has filled."""
    assert len(acl.util.ptr_to_bytes(0, 100)) == 100


def test_arrays_have_an_address_and_a_warning() -> None:
    """`WrapNumpyToPtr`: the category is Warning itself, which is shown by default."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    deprecated = re.escape(
        "acl.util.numpy_to_ptr will be deprecated. Please use acl.util.bytes_to_ptr instead."
    )
    with pytest.warns(Warning, match=f"^{deprecated}$") as told:
        assert acl.util.numpy_to_ptr(array) == array.ctypes.data
    assert [(warning.category, warning.filename) for warning in told] == [(Warning, __file__)]
    discontiguous = r"^The input ndarray is discontiguous\. Please use acl\.util\.bytes_to_ptr instead\.$"
    with (
        pytest.warns(Warning, match=deprecated),
        pytest.warns(Warning, match=discontiguous) as told,
    ):
        acl.util.numpy_to_ptr(array.T)
    assert [(warning.category, warning.filename) for warning in told] == [(Warning, __file__)] * 2


@pytest.mark.parametrize("name", ["numpy_to_ptr", "numpy_contiguous_to_ptr"])
def test_only_arrays_have_an_address(name: str) -> None:
    """`PyArray_Check`."""
    for wrong in (3, np.float32(1), [1.0], b"bytes", None):
        refused = pytest.raises(ValueError, match=r"^needs an ndarray as argument$")
        with pytest.warns(Warning, match=re.escape(f"acl.util.{name} will be")), refused:
            getattr(acl.util, name)(wrong)


def test_a_contiguous_array_is_the_array_itself() -> None:
    """`WrapNumpyContiguousToPtr`: PyArray_GETCONTIGUOUS."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    with pytest.warns(Warning, match="numpy_contiguous_to_ptr"):
        pointer, same = acl.util.numpy_contiguous_to_ptr(array)
    assert same is array
    assert pointer == array.ctypes.data
    with pytest.warns(Warning, match="numpy_contiguous_to_ptr"):
        pointer, copy = acl.util.numpy_contiguous_to_ptr(array.T)
    assert copy is not array
    assert copy.flags.c_contiguous
    assert (pointer, copy.tolist()) == (copy.ctypes.data, array.T.tolist())
    scalar = np.array(5)
    with pytest.warns(Warning, match="numpy_contiguous_to_ptr"):
        assert acl.util.numpy_contiguous_to_ptr(scalar)[1] is scalar


def view(address: int, shape: object, kind: object) -> np.ndarray:
    with pytest.warns(Warning, match=re.escape("acl.util.ptr_to_numpy will be deprecated.")):
        return acl.util.ptr_to_numpy(address, shape, kind)


def test_memory_is_seen_as_an_array() -> None:
    """`WrapPtrToNumpy`: a writable array that does not own its memory."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    seen = view(array.ctypes.data, (2, 3), FLOAT32)
    assert (seen == array).all()
    seen[0, 0] = 9
    assert array[0, 0] == 9
    assert not seen.flags.owndata
    assert seen.flags.writeable
    assert view(array.ctypes.data, (), FLOAT32).shape == ()
    assert view(array.ctypes.data, (0, 7), FLOAT32).shape == (0, 7)
    assert view(array.ctypes.data, (True, 6), FLOAT32).shape == (1, 6)


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint16, np.int32, np.int64, np.float16, np.float64])
def test_the_type_is_numpys_number(dtype: type) -> None:
    """facts/pyacl.md §13."""
    array = np.zeros(4, dtype)
    assert view(array.ctypes.data, (4,), np.dtype(dtype).num).dtype == dtype


@pytest.mark.parametrize(
    ("shape", "kind", "error", "text"),
    [
        ([2, 3], FLOAT32, ValueError, "shape is empty"),
        (6, FLOAT32, ValueError, "shape is empty"),
        ((np.int64(6),), FLOAT32, TypeError, "the second argument is not list of int"),
        ((6.0,), FLOAT32, TypeError, "the second argument is not list of int"),
        ((-1,), FLOAT32, ValueError, "negative dimensions are not allowed"),
        ((1 << 40, 1 << 40), FLOAT32, ValueError, "array is too big"),
        ((1 << 62,), FLOAT32, ValueError, "array is too big"),
        ((1,) * 65, FLOAT32, ValueError, "maximum supported dimension"),
        ((6,), 999, ValueError, "Invalid data-type for array"),
        ((6,), -1, ValueError, "Invalid data-type for array"),
    ],
)
def test_shapes_and_types_of_another_kind(
    shape: object, kind: int, error: type[Exception], text: str
) -> None:
    """`WrapPtrToNumpy` and NumPy's own errors."""
    array = np.zeros(65, np.float32)
    with pytest.raises(error, match=text):
        view(array.ctypes.data, shape, kind)


@pytest.mark.usefixtures("emulator")
def test_memory_that_is_not_there_is_not_seen(page: int) -> None:
    """No address ends the interpreter: hardware's array would, at the first use."""
    assert view(page, (mmap.PAGESIZE // 4,), FLOAT32).sum() == 0
    for address, shape in ((page, (mmap.PAGESIZE // 4 + 1,)), (NOWHERE, (1,)), ((1 << 64) - 8, (8,))):
        with pytest.raises(ValueError, match="not memory that this process may read"):
            view(address, shape, FLOAT32)
    with pytest.raises(ValueError, match="Invalid data-type"):
        view(page, (4,), OBJECT)


def test_the_null_pointer_is_a_new_array() -> None:
    """`PyArray_NewFromDescr` without data allocates."""
    made = view(0, (2, 3), FLOAT32)
    assert (made.shape, made.dtype) == ((2, 3), np.float32)
    made[:] = 1
    assert made.sum() == 6
