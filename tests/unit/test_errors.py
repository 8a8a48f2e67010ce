"""Errors travel between Ray processes, and arrive as Ray makes them."""

import pickle

import pytest

from ascend_serve.errors import AclDeviceFault, AscendServeError, BuildFailed, Draining, QueueFull

pytestmark = pytest.mark.unit

ERRORS = [
    QueueFull("64 rows wait", retry_after_s=0.25),
    Draining("the replica stops"),
    BuildFailed("no such operator", target="Ascend310P3", code="EZ3003", hint="export it again"),
    AclDeviceFault("acl.rt.synchronize_event", 507011, "AICORE", "the AI core failed", "detail"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: AscendServeError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_nothing_an_instance_knows_is_hidden_by_its_class(error: AscendServeError) -> None:
    """Ray raises an instance of a class of its own below ours; it asks the original by `__getattr__` alone."""
    assert [name for name in vars(error) if hasattr(type(error), name)] == []
