"""The request parameters `timeout` and `priority`, as Triton's schedule policy extension defines them.

`timeout` is microseconds in which the answer is of use, 0 for no limit of its own; `priority` is 1 for the most urgent
level, 2 for the next, and so on, 0 for the default (triton-inference-server/server,
docs/protocol/extension_schedule_policy.md; both int64). A level that the model does not have is no mistake either, but
the default (triton-inference-server/core, src/infer_request.cc, `InferenceRequest::SetPriority`), so that one client
may send the same request to models with and without levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ascend_serve.errors import RequestError
from ascend_serve.protocol.show import show

_LARGEST = 2**63 - 1
_US_PER_S = 1e6


def schedule_of(
    parameters: Mapping[str, Any], deadline_s: float | None, priority: int | None, levels: int
) -> tuple[float | None, int | None]:
    """Deadline and priority of a request, by its own parameters and by what its door says.

    Args:
        parameters: the request's; others than these two are not looked at.
        deadline_s: seconds from now of the door's deadline, or None. The nearer one holds.
        priority: the door's, for a request that says none, or one that there is not.
        levels: how many levels of priority the model has.

    Raises:
        RequestError: a parameter that is no whole number, or below 0, or above int64.
    """
    if "timeout" in parameters:
        timeout_us = _whole("timeout", parameters["timeout"], "whole microseconds, 0 for no limit")
        if timeout_us:
            own_s = timeout_us / _US_PER_S
            deadline_s = own_s if deadline_s is None else min(own_s, deadline_s)
    if "priority" in parameters:
        own = _whole("priority", parameters["priority"], "1 for the most urgent, 0 for the default")
        priority = own if 1 <= own <= levels else priority
    return deadline_s, priority


def check_schedule(deadline_s: float | None, priority: int | None) -> int | None:
    """Check what a caller in Python said; the priority, with None for 0.

    A deadline that is past is no mistake: the engine says so to whoever waits.

    Raises:
        RequestError: a deadline that is no number, or a priority that is no whole number, or below 0, or above int64.
    """
    if deadline_s is not None:
        is_number = isinstance(deadline_s, (int, float)) and not isinstance(deadline_s, bool)
        if not is_number or deadline_s != deadline_s:
            raise RequestError(
                f"deadline_s is {show(deadline_s)}: give seconds from now, or None for no limit"
            )
    if priority is None:
        return None
    return _whole("priority", priority, "1 for the most urgent, 0 or None for the default") or None


def _whole(name: str, value: object, rule: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise RequestError(f"parameter '{name}' is {show(value)}: give {rule}")
    return value
