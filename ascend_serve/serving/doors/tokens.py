"""Bearer tokens: who may ask.

Rests on RFC 6750 (the header `authorization: Bearer <token>`; over gRPC the metadata of the same name). Tokens are
kept and compared as SHA-256, each with `hmac.compare_digest` and all of them every time, so that the time an answer
takes says neither how much of a token is right nor which one is.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from ascend_serve.env import environment
from ascend_serve.errors import ConfigError

_SCHEME = b"bearer "
_LONGEST_BYTES = 4096
_LEAST_CHARACTERS = 16

WANTED = "this server wants a token: send the header 'authorization: Bearer <token>'"
"""Words for a request without one, or with a wrong one."""


class Tokens:
    """The tokens of a server.

    Args:
        tokens: at least one.

    Raises:
        ConfigError: none, one that is short or no printable ASCII, or one with spaces in it.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        given = list(tokens)
        if not given:
            raise ConfigError(
                "there are no tokens: give at least one, or leave the setting out to let everybody in"
            )
        for number, token in enumerate(given, 1):
            if (
                len(token) < _LEAST_CHARACTERS
                or not token.isascii()
                or not token.isprintable()
                or " " in token
            ):
                raise ConfigError(
                    f"token {number} of {len(given)} is no token: it has {len(token)} characters; at least "
                    f"{_LEAST_CHARACTERS} of printable ASCII without spaces make one: `openssl rand -hex 32` gives it"
                )
        self._digests = [hashlib.sha256(token.encode()).digest() for token in given]

    def allow(self, authorization: bytes | str | None) -> bool:
        """Whether a request with this header, or metadata, may be answered."""
        if authorization is None or len(authorization) > _LONGEST_BYTES:
            return False
        sent = authorization.encode("utf-8", "replace") if isinstance(authorization, str) else authorization
        if sent[: len(_SCHEME)].lower() != _SCHEME:
            return False
        digest = hashlib.sha256(sent[len(_SCHEME) :].strip()).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return found


def tokens_in(text: str) -> list[str]:
    """Tokens of a file or variable: one a line; empty lines, and those that begin with `#`, are none."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def tokens_of(file: Path | None, variable: str | None) -> Tokens:
    """The tokens of a file, or of an environment variable of this process.

    Raises:
        ConfigError: neither is there, or what it holds is no list of tokens.
    """
    if file is not None:
        return _read(file)
    assert variable is not None, "one of both is given"
    text = environment({}).get(variable)
    if text is None:
        raise ConfigError(
            f"the environment variable {variable} is not set in this replica: set it where Ray's nodes are started, or "
            "in the deployment's runtime_env"
        )
    try:
        return Tokens(tokens_in(text))
    except ConfigError as error:
        raise ConfigError(f"the environment variable {variable}: {error}") from None


def _read(path: Path) -> Tokens:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token file {path} cannot be read: {error}") from None
    try:
        return Tokens(tokens_in(text))
    except ConfigError as error:
        raise ConfigError(f"the token file {path}: {error}") from None
