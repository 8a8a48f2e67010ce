"""How the load's client writes requests and reads answers, without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.http_load import Load, _Connection, request
from benchmarks.servers import Used, spent

pytestmark = pytest.mark.unit

ANSWER = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 9\r\n\r\nhead+tail"


def connection(answers: list[bytes]) -> _Connection:
    made = _Connection(Load(1, [b"ask".hex()], tail_bytes=4, connections=1, seconds=1), 0)
    made.answered = lambda _, output: answers.append(output)
    return made


def test_a_request_states_its_length_and_headers() -> None:
    assert request("/v2/x", b"body", {"A-Header": "7"}) == (
        b"POST /v2/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nA-Header: 7\r\n\r\nbody"
    )


@given(st.lists(st.integers(1, len(ANSWER) - 1), max_size=6, unique=True).map(sorted))
def test_an_answer_is_whole_however_it_comes_in_pieces(cuts: list[int]) -> None:
    answers: list[bytes] = []
    asked = connection(answers)
    for _ in range(2):
        for begin, end in zip([0, *cuts], [*cuts, len(ANSWER)], strict=True):
            asked.data_received(ANSWER[begin:end])
    assert answers == [b"tail", b"tail"]


def test_a_refusal_is_told() -> None:
    with pytest.raises(RuntimeError, match="429 Too Many Requests"):
        connection([]).data_received(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")


def test_an_answer_without_a_length_is_told() -> None:
    with pytest.raises(RuntimeError, match="without Content-Length"):
        connection([]).data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_a_connection_that_the_server_closes_is_told() -> None:
    with pytest.raises(ConnectionResetError, match="was to be kept"):
        connection([]).connection_lost(None)


def test_cpu_is_counted_by_process_even_if_its_name_changes() -> None:
    before = {7: Used("ray::ServeReplica", 10.0)}
    after = {7: Used("ray::ServeReplica.handle_request", 10.5), 8: Used("new", 0.25)}
    assert spent(before, after) == [Used("ray::ServeReplica.handle_request", 0.5), Used("new", 0.25)]
