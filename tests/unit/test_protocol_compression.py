"""gzip and deflate: what other tools write, bombs, and what is broken."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.errors import MalformedRequest, RequestTooLarge, UnsupportedMedia
from ascend_serve.protocol.compression import (
    CODINGS,
    DEFLATE,
    GZIP,
    coding_named,
    coding_wanted,
    deflated,
    inflated,
)

pytestmark = pytest.mark.unit

LIMIT = 1 << 12


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


@given(st.binary(max_size=300))
def test_bodies_of_other_tools_are_read(body: bytes) -> None:
    assert inflated(gzip.compress(body), GZIP, LIMIT) == body
    assert inflated(zlib.compress(body), DEFLATE, LIMIT) == body
    assert inflated(raw_deflate(body), DEFLATE, LIMIT) == body
    assert inflated(gzip.compress(body) + gzip.compress(b"more"), GZIP, LIMIT) == body + b"more"


@given(st.binary(max_size=300))
def test_other_tools_read_ours(body: bytes) -> None:
    assert gzip.decompress(deflated(body, GZIP)) == body
    assert zlib.decompress(deflated(body, DEFLATE)) == body


@pytest.mark.parametrize("coding", CODINGS)
def test_the_bound_is_exact(coding: bytes) -> None:
    assert inflated(deflated(bytes(LIMIT), coding), coding, LIMIT) == bytes(LIMIT)
    with pytest.raises(RequestTooLarge, match=f"more than {LIMIT} bytes when it is uncompressed"):
        inflated(deflated(bytes(LIMIT + 1), coding), coding, LIMIT)


@pytest.mark.parametrize("coding", CODINGS)
def test_of_a_bomb_no_more_is_made_than_the_bound(coding: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = deflated(bytes(1 << 24), coding)
    made = []
    real = zlib.decompressobj

    class Watched:
        def __init__(self, window: int) -> None:
            self._stream = real(window)

        def __getattr__(self, name: str) -> object:
            return getattr(self._stream, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            made.append(self._stream.decompress(data, most))
            return made[-1]

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    with pytest.raises(RequestTooLarge):
        inflated(bomb, coding, LIMIT)
    assert sum(map(len, made)) == LIMIT + 1


def test_many_members_are_one_bomb_too() -> None:
    with pytest.raises(RequestTooLarge):
        inflated(gzip.compress(bytes(LIMIT // 2)) * 3, GZIP, LIMIT)
    with pytest.raises(MalformedRequest, match="more than 16 members"):
        inflated(gzip.compress(b"") * 17, GZIP, LIMIT)


@given(st.binary(max_size=60), st.sampled_from(CODINGS))
def test_any_octets_are_read_or_refused(octets: bytes, coding: bytes) -> None:
    try:
        body = inflated(octets, coding, LIMIT)
    except (MalformedRequest, RequestTooLarge):
        return
    assert len(body) <= LIMIT


@pytest.mark.parametrize(
    ("body", "coding", "said"),
    [
        (b"", GZIP, "ends too early"),
        (gzip.compress(b"abc")[:-1], GZIP, "the gzip body ends too early"),
        (gzip.compress(b"abc")[:-8] + bytes(8), GZIP, "the body is no gzip: .*incorrect data check"),
        (gzip.compress(b"abc") + b"x", GZIP, "no gzip|ends too early"),
        (zlib.compress(b"abc") + b"xy", DEFLATE, "2 bytes are left after the end of the deflate body"),
        (b"{}", DEFLATE, "no deflate|ends too early"),
    ],
)
def test_what_is_broken_is_named(body: bytes, coding: bytes, said: str) -> None:
    with pytest.raises(MalformedRequest, match=said):
        inflated(body, coding, LIMIT)


def test_names_of_codings() -> None:
    assert [coding_named(name) for name in (b"", b" Identity ", b"GZip", b"x-gzip", b"deflate")] == [
        None,
        None,
        GZIP,
        GZIP,
        DEFLATE,
    ]
    with pytest.raises(UnsupportedMedia, match="'br' is not taken: send gzip, deflate, or the body as it is"):
        coding_named(b"br")


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (b"", (None, False)),
        (b"br", (None, False)),
        (b"identity", (None, False)),
        (b"gzip", (GZIP, True)),
        (b"Deflate", (DEFLATE, True)),
        (b"gzip, deflate, br", (GZIP, False)),
        (b"gzip;q=0.1, deflate;q=0.9", (DEFLATE, False)),
        (b"gzip;q=0", (None, False)),
        (b"gzip;q=0, *;q=0.5", (DEFLATE, False)),
        (b"*", (GZIP, False)),
        (b"*;q=0", (None, False)),
        (b"gzip;q=x", (None, False)),
        (b"gzip ; q=0.5 , br", (GZIP, False)),
    ],
)
def test_what_a_client_wants(header: bytes, wanted: tuple[bytes | None, bool]) -> None:
    assert coding_wanted(header) == wanted
