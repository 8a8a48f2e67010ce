"""Bearer tokens: who is let in, and settings that are no tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from ascend_serve.errors import ConfigError
from ascend_serve.serving.doors.tokens import Tokens, tokens_in, tokens_of

pytestmark = pytest.mark.unit

ONE, OTHER = "0123456789abcdef", "fedcba9876543210"


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        (f"Bearer {ONE}", True),
        (f"bearer  {OTHER} ", True),
        (f"BEARER {ONE}", True),
        (ONE, False),
        (f"Basic {ONE}", False),
        (f"Bearer {ONE}x", False),
        (f"Bearer {ONE[:-1]}", False),
        ("Bearer ", False),
        ("Bearer é", False),
        ("Bearer " + "a" * 5000, False),
        ("", False),
        (None, False),
    ],
)
def test_who_is_let_in(header: str | None, allowed: bool) -> None:
    tokens = Tokens([ONE, OTHER])
    assert tokens.allow(header) is allowed
    if header is not None:
        assert tokens.allow(header.encode()) is allowed


@pytest.mark.parametrize("token", ["short", "with space in it, long", "é" * 20, "tab\tinside-of-it-0", ""])
def test_what_is_no_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ConfigError, match="token 2 of 2 is no token") as caught:
        Tokens([ONE, token])
    assert not token or token not in str(caught.value)


def test_a_list_without_tokens_would_shut_everybody_out() -> None:
    with pytest.raises(ConfigError, match="there are no tokens"):
        Tokens(tokens_in("# nothing\n\n"))


def test_a_file_has_one_token_a_line(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# of today\n{ONE}\n\n  {OTHER}\n")
    assert tokens_in(file.read_text()) == [ONE, OTHER]
    assert tokens_of(file, None).allow(f"Bearer {OTHER}")
    file.write_text("short")
    with pytest.raises(ConfigError, match=f"token file {file}: token 1 of 1"):
        tokens_of(file, None)
    with pytest.raises(ConfigError, match="cannot be read"):
        tokens_of(tmp_path / "none", None)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        tokens_of(file, None)


def test_a_variable_holds_tokens_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKENS", ONE)
    assert tokens_of(None, "MY_TOKENS").allow(f"Bearer {ONE}")
    monkeypatch.setenv("MY_TOKENS", "short")
    with pytest.raises(ConfigError, match="the environment variable MY_TOKENS: token 1"):
        tokens_of(None, "MY_TOKENS")
    monkeypatch.delenv("MY_TOKENS")
    with pytest.raises(ConfigError, match="MY_TOKENS is not set in this replica"):
        tokens_of(None, "MY_TOKENS")
