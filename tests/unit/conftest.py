"""A unit test touches no acl, no ray, no socket and does not sleep; one that tries fails at once."""

import builtins
import logging
import socket
import sys
import time
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__
    real_sleep = time.sleep

    def guarded_import(name: str, *args: Any, **kwargs: Any) -> ModuleType:
        if name.partition(".")[0] in ("acl", "ray"):
            raise AssertionError(f"a unit test imports {name}; it belongs in tests/contract or tests/serve")
        return real_import(name, *args, **kwargs)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a unit test uses a socket; it belongs in tests/contract or tests/serve")

    def guarded_sleep(seconds: float) -> None:
        # Popen.wait(timeout) sleeps inside the standard library; waiting for a child is no guess at a duration.
        if sys._getframe(1).f_globals.get("__name__") != "subprocess":
            raise AssertionError("a unit test sleeps; time is an argument")
        real_sleep(seconds)

    monkeypatch.setattr(builtins, "__import__", guarded_import)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)
    monkeypatch.setattr(time, "sleep", guarded_sleep)


@pytest.fixture(autouse=True)
def _logging_as_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test before this one imported Ray, its loggers have handlers that import it and tell no one else."""
    for name in ("ray", "ray.serve"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
