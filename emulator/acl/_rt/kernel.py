"""Loading and launching one's own kernels: the emulated card has no core to run them on (facts/pyacl.md §14.5).

The names, arguments, results and errors are those of the open binding's `rt_binary.cpp`.
"""

from __future__ import annotations

from ascend_emulator.client.calling import function, ret, value_ret
from ascend_emulator.codes import API_NOT_SUPPORT, Failure

from acl import _absent

_ABSENT = _absent.functions(
    __name__,
    """
    create_binary kk v
    destroy_binary k r
    binary_load k vr
    binary_unload k r
    binary_get_function ks vr
    get_function_addr k vvr
    register_cpu_func kss vr
    launch_kernel kIkkk r
    kernel_args_init k vr
    kernel_args_init_by_user_mem kkkk r
    kernel_args_get_mem_size kk vr
    kernel_args_get_handle_mem_size k vr
    kernel_args_append kkk vr
    kernel_args_append_place_holder k vr
    kernel_args_get_place_holder_buffer kkk vr
    kernel_args_para_update kkkk r
    kernel_args_finalize k r
    """,
)
globals().update(_ABSENT)

__all__ = [
    "binary_load_from_data",
    "binary_load_from_file",
    "launch_kernel_with_config",
    *_ABSENT,
]


@function("sO", value_ret)
def binary_load_from_file(path: str, options: object) -> tuple[int, int]:
    """`(binary, ret)`: 200001; ValueError for options that are no list."""
    raise _refusal("binary_load_from_file", options)


@function("kkO", value_ret)
def binary_load_from_data(address: int, size: int, options: object) -> tuple[int, int]:
    """`(binary, ret)`: 200001; ValueError for options that are no list."""
    raise _refusal("binary_load_from_data", options)


@function("kIkOkk", ret)
def launch_kernel_with_config(
    kernel: int, blocks: int, stream: int, config: object, arguments: int, reserved: int
) -> int:
    """200001; ValueError for a configuration that is no list."""
    raise _refusal("launch_kernel_with_config", config)


def _refusal(name: str, listed: object) -> Failure:
    if not isinstance(listed, list):
        raise ValueError("argument 2 only support the format of list")  # for the fourth argument too
    return Failure(
        API_NOT_SUPPORT, f"EE1005: acl.rt.{name} is not supported: the emulated card does not do it."
    )
