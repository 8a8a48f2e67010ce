"""The deadline that a client or a proxy sends beside a request: one rule for the HTTP and the gRPC door."""

from __future__ import annotations

from ascend_serve.errors import MalformedRequest
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
