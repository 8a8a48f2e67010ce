"""How the load's client writes requests and reads answers, without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.http_client import Connection
from benchmarks.http_load import Load, request
from benchmarks.http_wire import Answers
from benchmarks.servers import Used, spent

pytestmark = pytest.mark.unit

ANSWER = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 9\r\n\r\nhead+tail"


class Peer:
    """A socket that takes and gives a few bytes at a time."""

    def __init__(self, takes: list[int], gives: list[bytes]) -> None:
        self.takes = takes
        self.gives = gives
        self.sent = b""

    def send(self, data: memoryview) -> int:
        if not self.takes:
            raise BlockingIOError
        count = min(self.takes.pop(0), len(data))
        self.sent += data[:count]
        return count

    def recv_into(self, room: memoryview) -> int:
        if not self.gives:
            raise BlockingIOError
        data = self.gives.pop(0)
        room[: len(data)] = data
        return len(data)


def connection(peer: Peer) -> Connection:
    return Connection(Load(1, [b"ask me".hex()], tail_bytes=4, connections=1, seconds=1), 0, peer)


def fed(answers: Answers, data: bytes) -> bool:
    answers.room[: len(data)] = data
    return answers.take(len(data))


def test_a_request_states_its_length_and_headers() -> None:
    assert request("/v2/x", b"body", {"A-Header": "7"}) == (
        b"POST /v2/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nA-Header: 7\r\n\r\nbody"
    )


def test_a_request_that_does_not_fit_is_sent_in_turns() -> None:
    peer = Peer([4], [])
    asked = connection(peer)
    asked.ask(0.0)
    assert peer.sent == b"ask "
    asked.push()
    peer.takes = [1, 1]
    asked.push()
    assert peer.sent == b"ask me"


def test_nothing_to_read_is_no_answer() -> None:
    assert not connection(Peer([], [])).pull()


@given(st.lists(st.integers(1, len(ANSWER) - 1), max_size=6, unique=True).map(sorted))
def test_an_answer_is_whole_however_it_comes_in_pieces(cuts: list[int]) -> None:
    pieces = [ANSWER[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(ANSWER)], strict=True)]
    asked = connection(Peer([], pieces * 2))
    for _ in range(2):
        assert [asked.pull() for _ in pieces] == [False] * len(cuts) + [True]
        assert (asked.answers.status, asked.answers.tail(4)) == (200, b"tail")


def test_a_refusal_has_its_status() -> None:
    answers = Answers()
    assert fed(answers, b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")
    assert (answers.status, answers.tail(4)[-4:]) == (429, b"\r\n\r\n")


def test_an_answer_without_a_length_is_told() -> None:
    with pytest.raises(RuntimeError, match="without Content-Length"):
        fed(Answers(), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_more_than_was_announced_is_told() -> None:
    with pytest.raises(RuntimeError, match="1 bytes more"):
        fed(Answers(), ANSWER + b"x")


def test_an_answer_longer_than_its_room_is_told() -> None:
    with pytest.raises(RuntimeError, match="longer than the 64 bytes"):
        fed(Answers(64), b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n".ljust(64, b"x"))


def test_a_connection_that_the_server_closes_is_told() -> None:
    with pytest.raises(ConnectionResetError, match="was to be kept"):
        connection(Peer([], [b""])).pull()


def test_cpu_is_counted_by_process_even_if_its_name_changes() -> None:
    before = {7: Used("ray::ServeReplica", 10.0)}
    after = {7: Used("ray::ServeReplica.handle_request", 10.5), 8: Used("new", 0.25)}
    assert spent(before, after) == [Used("ray::ServeReplica.handle_request", 0.5), Used("new", 0.25)]
