"""Deadlines at the doors: what a client or a proxy sends beside a request, and what is left of it.

One rule for the HTTP and the gRPC door. A request's time runs from the moment at which all of it is there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ascend_serve.errors import DeadlineExpired, MalformedRequest
from ascend_serve.protocol.scheduling import schedule_of
from ascend_serve.protocol.show import show

DEADLINE_NAME = "x-envoy-expected-rq-timeout-ms"
"""Header or metadata with the milliseconds within which the answer is of use. Envoy sets it so that the server behind
it can decide by the time that is left, for example to give up early (Envoy's router filter); any client may."""

_MOST_DIGITS = 12


def deadline_s(value: str, kind: str) -> float | None:
    """Seconds from now of the deadline that `DEADLINE_NAME` says; None for 0, as for the parameter `timeout`.

    Args:
        value: as it was sent.
        kind: what it was sent as, for the message: `header` or `metadata`.

    Raises:
        MalformedRequest: it is no whole number of milliseconds.
    """
    if not (value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS):
        raise MalformedRequest(
            f"{kind} {DEADLINE_NAME} is {show(value)}, but must be a whole number of milliseconds, 0 for no limit"
        )
    return int(value) / 1e3 or None


def nearest_s(
    parameters: Mapping[str, Any], deadline_s: float | None, default_s: float | None
) -> float | None:
    """Seconds from a request's coming to its deadline; None for none.

    Args:
        parameters: the request's own.
        deadline_s: what `DEADLINE_NAME` says.
        default_s: of a request that says nothing.

    Raises:
        RequestError: a parameter that is none.
    """
    if parameters:
        deadline_s, _ = schedule_of(parameters, deadline_s, None, 1)
    return default_s if deadline_s is None else deadline_s


def left_s(came: float, deadline_s: float | None) -> float | None:
    """What is left of `deadline_s` for a request that came at a monotonic time.

    Raises:
        DeadlineExpired: nothing.
    """
    if deadline_s is None:
        return None
    left = came + deadline_s - time.monotonic()
    if left <= 0:
        raise DeadlineExpired("the deadline passed before the request could run")
    return left
