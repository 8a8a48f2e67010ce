"""How ends of requests are named and judged when things break."""

import httpx
import pytest

from benchmarks.counted_load import LATE_S, RIGHT, WRONG, Ends, _told, _told_over_grpc, is_allowed

pytestmark = pytest.mark.unit

DIED = "The actor died unexpectedly before finishing this task."


@pytest.mark.parametrize(
    ("code", "details", "kind", "allowed"),
    [
        ("UNAVAILABLE", "Stream removed", "gRPC UNAVAILABLE", True),
        ("DEADLINE_EXCEEDED", "the deadline is 3 ms away", "gRPC DEADLINE_EXCEEDED", True),
        ("UNAVAILABLE", "Received http2 header with status: 502", "gRPC UNAVAILABLE", True),
        ("UNKNOWN", "Received http2 header with status: 500", "gRPC UNKNOWN", False),
        ("UNKNOWN", "", "gRPC UNKNOWN", False),
        ("INTERNAL", DIED, "the proxy's INTERNAL", False),
        ("INTERNAL", "internal error: KeyError: 1", "gRPC INTERNAL", False),
        ("NOT_FOUND", "Ping .../ListApplications for available", "a new proxy's NOT_FOUND", True),
        ("NOT_FOUND", "no model 'table' here; known: other", "gRPC NOT_FOUND", False),
    ],
)
def test_what_grpc_answers_has_a_name(code: str, details: str, kind: str, allowed: bool) -> None:
    assert _told_over_grpc(code, details) == kind
    assert is_allowed(kind) is allowed


@pytest.mark.parametrize(
    ("answer", "kind", "allowed"),
    [
        (httpx.Response(504, json={"error": "too late"}), "ours 504", True),
        (httpx.Response(503, text="no server"), "the proxy's 503", True),
        (httpx.Response(500, text="Internal Server Error"), "the proxy's 500", False),
        (httpx.Response(418, text="a teapot"), "unknown: 418 a teapot", False),
        (httpx.Response(404, text="nothing here"), "unknown: 404 nothing here", False),
    ],
)
def test_what_http_answers_has_a_name(answer: httpx.Response, kind: str, allowed: bool) -> None:
    assert _told(answer) == kind
    assert is_allowed(kind) is allowed


def test_a_wrong_an_unknown_and_a_late_end_are_faults() -> None:
    ends = Ends()
    ends.note(RIGHT, 10.0 + LATE_S, 10.0)
    assert ends.faults == []
    assert ends.all_right
    for kind, took_s in ((WRONG, 0.1), ("unknown: no end within 70 s", 0.1), (RIGHT, 11.1)):
        ends.note(kind, took_s, 10.0)
    assert ends.faults == [WRONG, "unknown: no end within 70 s", "right after 11.1 s, with 10 s to go"]
    assert not ends.all_right
    assert ends.kinds.total() == 4
