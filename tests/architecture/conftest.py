"""An architecture test reads the source tree; it runs no product code in its own process, and opens nothing."""

import builtins
import socket
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _only_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def guarded_import(name: str, *args: Any, **kwargs: Any) -> ModuleType:
        if name.partition(".")[0] in ("acl", "ascend_emulator", "ascend_serve", "compile_jobs", "ray"):
            raise AssertionError(f"an architecture test imports {name}; it reads files")
        return real_import(name, *args, **kwargs)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("an architecture test uses a socket")

    monkeypatch.setattr(builtins, "__import__", guarded_import)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)
