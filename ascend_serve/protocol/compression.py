"""Bodies in the codings gzip and deflate, with a bound on what comes out.

Rests on RFC 9110 (8.4.1, 12.5.3) and on zlib. `deflate` is the zlib format (RFC 1950), as the RFC says and as
tritonclient sends it; a bare RFC 1951 stream, which some clients send under that name, is taken too.
"""

from __future__ import annotations

import zlib

from ascend_serve.errors import MalformedRequest, RequestTooLarge, UnsupportedMedia
from ascend_serve.protocol.show import show

GZIP = b"gzip"
DEFLATE = b"deflate"
CODINGS = (GZIP, DEFLATE)

_WINDOW = {GZIP: 16 + zlib.MAX_WBITS, DEFLATE: zlib.MAX_WBITS}
_BARE_WINDOW = -zlib.MAX_WBITS
_FASTEST = 1
"""zlib's level: a replica's CPU is worth more than the last tenth of a body."""
_MOST_MEMBERS = 16
"""Members of a gzip body; each costs a copy of all that come after it."""


def coding_named(content_encoding: bytes) -> bytes | None:
    """The coding of a body, of `CODINGS`; None for none.

    Args:
        content_encoding: the header; empty where it is absent.

    Raises:
        UnsupportedMedia: another coding, or several.
    """
    name = content_encoding.strip().lower()
    if name in (b"", b"identity"):
        return None
    if name == b"x-gzip":  # the same by RFC 9110
        return GZIP
    if name not in CODINGS:
        raise UnsupportedMedia(
            f"content-encoding {show(content_encoding.decode('latin-1'))} is not taken: send gzip, deflate, or the "
            "body as it is"
        )
    return name


def inflated(body: bytes, coding: bytes, limit: int) -> bytes:
    """The body as it was before its coding.

    Args:
        body: as it came.
        coding: of `CODINGS`.
        limit: bytes that may come out; no more than one beyond it are ever made.

    Raises:
        MalformedRequest: the body is not in that coding, or ends within it.
        RequestTooLarge: it would become larger than `limit`.
    """
    window = _WINDOW[coding]
    if coding == DEFLATE and not _is_zlib(body):
        window = _BARE_WINDOW
    parts: list[bytes] = []
    left = limit
    rest = body
    for _ in range(_MOST_MEMBERS):
        stream = zlib.decompressobj(window)
        try:
            part = stream.decompress(rest, left + 1)
        except zlib.error as error:
            raise MalformedRequest(f"the body is no {coding.decode()}: {error}") from None
        left -= len(part)
        if left < 0:
            raise RequestTooLarge(
                f"the body is more than {limit} bytes when it is uncompressed; at most {limit} are taken"
            )
        if not stream.eof:
            raise MalformedRequest(f"the {coding.decode()} body ends too early")
        parts.append(part)
        rest = stream.unused_data
        if not rest:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        if coding != GZIP:
            raise MalformedRequest(f"{len(rest)} bytes are left after the end of the {coding.decode()} body")
    raise MalformedRequest(f"the gzip body has more than {_MOST_MEMBERS} members")


def deflated(body: bytes, coding: bytes) -> bytes:
    """The body in a coding of `CODINGS`."""
    stream = zlib.compressobj(_FASTEST, zlib.DEFLATED, _WINDOW[coding])
    return stream.compress(body) + stream.flush()


def coding_wanted(accept_encoding: bytes) -> tuple[bytes | None, bool]:
    """The coding that a client can read best, and whether it names no other.

    Args:
        accept_encoding: the header. A coding with `q=0` is not taken; the largest `q` wins, gzip before deflate.

    Returns:
        One of `CODINGS` or None, and whether the header names that coding alone.
    """
    weights: dict[bytes, float] = {}
    entries = accept_encoding.lower().split(b",")
    for entry in entries:
        name, _, parameters = entry.partition(b";")
        weights[name.strip()] = _weight(parameters)
    every = weights.get(b"*", 0.0)
    best = max(CODINGS, key=lambda coding: weights.get(coding, every))
    if weights.get(best, every) <= 0:
        return None, False
    return best, len(entries) == 1 and best in weights


def _weight(parameters: bytes) -> float:
    key, _, value = parameters.partition(b"=")
    if key.strip() != b"q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def _is_zlib(body: bytes) -> bool:
    """Whether the body begins as RFC 1950 says: deflate's number, and a check sum of two bytes."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
