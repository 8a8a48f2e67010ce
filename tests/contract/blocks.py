"""Device memory in one line each, for tests."""

import acl

H2D, D2H = 1, 2


def malloc(size: int) -> int:
    address, ret = acl.rt.malloc(size, 0)
    assert ret == 0, acl.get_recent_err_msg()
    return int(address)


def put(address: int, data: bytes) -> None:
    assert acl.rt.memcpy(address, len(data), acl.util.bytes_to_ptr(data), len(data), H2D) == 0


def take(address: int, size: int) -> bytes:
    data = bytes(size)
    assert acl.rt.memcpy(acl.util.bytes_to_ptr(data), size, address, size, D2H) == 0
    return data
