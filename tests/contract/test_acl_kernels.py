"""Functions of `acl.rt` for one's own kernels: they are there, and the emulated card refuses them."""

from typing import Any

import acl
import pytest

pytestmark = pytest.mark.contract

NOT_SUPPORTED = 200001


@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("binary_load_from_file", ("add.o", []), (0, NOT_SUPPORTED)),
        ("binary_load_from_data", (0, 0, []), (0, NOT_SUPPORTED)),
        ("binary_get_function", (0, "add"), (0, NOT_SUPPORTED)),
        ("kernel_args_init", (0,), (0, NOT_SUPPORTED)),
        ("kernel_args_append", (0, 0, 8), (0, NOT_SUPPORTED)),
        ("kernel_args_finalize", (0,), NOT_SUPPORTED),
        ("launch_kernel_with_config", (0, 1, 0, [], 0, 0), NOT_SUPPORTED),
        ("launch_kernel", (0, 1, 0, 0, 0), NOT_SUPPORTED),
        ("binary_unload", (0,), NOT_SUPPORTED),
    ],
)
def test_a_step_of_launching_a_kernel_is_there_and_refused(
    emulator: None, name: str, arguments: tuple[Any, ...], answer: object
) -> None:
    """facts/pyacl.md §14.5, binding `rt_binary.cpp`: a program finds the function, its shape and a code."""
    function = getattr(acl.rt, name)
    assert name in dir(acl.rt)
    assert function(*arguments) == answer
    with pytest.raises(TypeError, match=rf"acl\.rt\.{name} args parse failed"):
        function(*arguments, 0)


def test_options_of_kernels_are_lists() -> None:
    """Binding `rt_binary.cpp`: ValueError for options or a configuration that are no list."""
    with pytest.raises(ValueError, match="only support the format of list"):
        acl.rt.binary_load_from_file("add.o", ())
    with pytest.raises(ValueError, match="only support the format of list"):
        acl.rt.launch_kernel_with_config(0, 1, 0, None, 0, 0)
