"""Profiles: collect what this process and its cards do, and write it as msprof would export it.

States and codes are those of the profiling interface's open source (`hicann/runtime`, `prof_acl_mgr.cpp` and
`msprofiler_acl_api.cpp`). On hardware a profile is raw data that `msprof --export=on` turns into files later; here
the files are written when it stops.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from ascend_emulator.client import calling, handles, process
from ascend_emulator.client.profiling import records, tasks
from ascend_emulator.client.profiling.timeline import Call, Mark, Profile, write
from ascend_emulator.codes import (
    INVALID_FILE,
    INVALID_PARAM,
    INVALID_PROFILING_CONFIG,
    PROF_API_CONFLICT,
    PROF_MODULES_UNSUPPORTED,
    REPEAT_INITIALIZE,
    Failure,
)

_ACL_API = 0x1
_TASK_TIME = 0x2
_AICORE_METRICS = 0x4
_MARKS = 0x80
_API_STATISTICS = 0x4_0000_0000
_TASK_BITS = 0x2 | 0x800 | 0x2000 | 0x8000
_KNOWN_BITS = 0xFBFF | 0x0100_0000 | _API_STATISTICS | 0x8_0000_0000
_METRICS = frozenset((*range(9), 0xFF))

_LETTERS = "ABCDEFGHIJKLMNOPQR"
_LONGEST_PATH = 4095
_MOST_DEVICES = 64
_LONGEST_VALUE = 256
_SETTINGS = range(1, 17)
_UNUSED_SETTING = 2
_PATH_SETTING = 16


@dataclass(frozen=True)
class Config:
    """What to collect.

    Attributes:
        devices: the process's numbers of the cards.
        metrics: which counters of the AI core, of which an emulated card has none.
        bits: what kinds of data.
    """

    devices: tuple[int, ...]
    metrics: int
    bits: int


class _Session:
    """One profile being taken: a watcher of every call, and the cards that note their tasks."""

    def __init__(self, path: str, number: int, config: Config) -> None:
        self.config = config
        self.epoch_ns = time.time_ns() - time.monotonic_ns()
        self.calls: list[Call] = []
        self.marks: list[Mark] = []
        self._recorded: set[process.Device] = set()
        self.folder = _new_folder(Path(path), number)
        if config.bits & (_ACL_API | _API_STATISTICS | _TASK_BITS):
            calling.watchers.append(self)
        self._record_tasks()

    def around(
        self,
        function: calling.Function,
        proceed: Callable[[calling.Arguments], Any],
        arguments: calling.Arguments,
    ) -> Any:
        """Time one call; one that opened a card lets that card note its tasks."""
        began_ns = time.monotonic_ns()
        try:
            return proceed(arguments)
        finally:
            ended_ns = time.monotonic_ns()
            if self.config.bits & (_ACL_API | _API_STATISTICS) and not function.path.startswith("acl.prof."):
                self.calls.append(Call(function.path, threading.get_native_id(), began_ns, ended_ns))
            if function.path in ("acl.rt.set_device", "acl.rt.create_context"):
                self._record_tasks()

    def end(self) -> None:
        """Stop collecting and write the files.

        Raises:
            Failure: 100003, the files cannot be written.
        """
        with suppress(ValueError):
            calling.watchers.remove(self)
        done: list[tasks.Task] = []
        for device in self._recorded:
            tasks.record(device, on=False)
            done += tasks.take(device)
        profile = Profile(os.getpid(), self.epoch_ns, self.calls, done, self.marks)
        try:
            write(self.folder, profile, datetime.now())
        except OSError as error:
            raise Failure(
                INVALID_FILE, f"EK0001: {self.folder} cannot be written: {error.strerror}."
            ) from error

    def _record_tasks(self) -> None:
        if self.config.bits & _TASK_BITS:
            for ordinal in self.config.devices:
                device = process.open_device(ordinal)
                if device is not None and device not in self._recorded:
                    self._recorded.add(device)
                    tasks.record(device, on=True)


_lock = threading.RLock()
_path: str | None = None  # None: not initialised
_path_setting = ""
_session: _Session | None = None
_marking = False
_numbers = count(1)


def create_config(devices: list[int], metrics: int, events: int, bits: int) -> int:
    """A handle of what to collect.

    Raises:
        Failure: 100000, a device that is not there or there twice, none at all without marks, or `events`.
    """
    seen = len(process.ordinals())
    if events or len(devices) > min(seen, _MOST_DEVICES) or len(set(devices)) < len(devices):
        raise Failure(INVALID_PARAM, "EK0001: the devices are invalid, or the events are not null.")
    if not all(device < seen for device in devices) or not (devices or bits & _MARKS):
        raise Failure(INVALID_PARAM, f"EK0001: the valid range of device ids is [0, {seen}).")
    return handles.add(Config(tuple(devices), metrics, bits))


def init(path: str) -> None:
    """Say where profiles go.

    Raises:
        Failure: 100000 (no path), 100002 (already said), 148047 (a model is subscribed to).
    """
    if not 0 < len(path.encode()) <= _LONGEST_PATH:
        raise Failure(INVALID_PARAM, f"EK0001: a path has 1 to {_LONGEST_PATH} bytes.")
    _check_no_subscription()
    global _path
    with _lock:
        if _path is not None:
            raise Failure(REPEAT_INITIALIZE, "EK0002: profiling is initialised already.")
        _path = path


def set_config(kind: int, value: str) -> None:
    """Set an option; only the path has an effect on an emulated card.

    Raises:
        Failure: 100000 (no such option, value too long), 100010 (an option or a path that cannot be).
    """
    if kind not in _SETTINGS or len(value.encode()) > _LONGEST_VALUE:
        raise Failure(INVALID_PARAM, f"EK0001: option {kind} is invalid, or {value!r} is too long.")
    if kind == _UNUSED_SETTING or not value:
        raise Failure(INVALID_PROFILING_CONFIG, f"EK0001: {value!r} is no value for option {kind}.")
    if kind == _PATH_SETTING:
        global _path, _path_setting
        with _lock:
            _path_setting = value
            if _path is not None:
                _path = value


def start(handle: int) -> None:
    """Begin to collect; without `init`, into the path set or the working directory.

    Args:
        handle: of a `Config`; 0 for the calls and tasks of every device this process has open.

    Raises:
        Failure: 200007 (kinds of data there are not), 148047 (a model is subscribed to), 100010 (another profile is
            being taken), 100000 (metrics there are not), 100003 (the folder cannot be made).
    """
    config = handles.get(handle, Config) if handle else _default_config()
    if config.bits & ~_KNOWN_BITS:
        raise Failure(PROF_MODULES_UNSUPPORTED, f"EK0001: {config.bits:#x} has bits that mean nothing.")
    _check_no_subscription()
    global _path, _session, _marking
    with _lock:
        if _session is not None:
            _check_same(config)
            return
        if config.bits & _AICORE_METRICS and config.metrics not in _METRICS:
            raise Failure(INVALID_PARAM, f"EK0001: there are no metrics {config.metrics}.")
        if _path is None:
            _path = _path_setting or "."
        _session = _Session(_path, next(_numbers), config)
        _marking = _marking or bool(config.bits & _MARKS)


def stop(handle: int) -> None:
    """End the profile and write its files; nothing when none is being taken.

    Args:
        handle: of a `Config` with the kinds of data that `start` got; 0 for whatever is being taken.

    Raises:
        Failure: 100010 (other kinds of data), 100003 (the files cannot be written).
    """
    global _session
    config = handles.get(handle, Config) if handle else None
    with _lock:
        session = _session
        if session is not None:
            if config is not None:
                _check_same(config)
            _session = None
            session.end()


def finalize() -> None:
    """End everything; nothing when profiling is not initialised.

    Raises:
        Failure: 148047 (a model is subscribed to), 100003 (the files cannot be written).
    """
    _check_no_subscription()
    global _path, _marking
    with _lock:
        if _path is not None:
            _path = None
            _marking = False
            stop(0)


def subscribe(model: int, handle: int) -> None:
    """Note a model's executions (see `records`).

    Raises:
        Failure: 100000 (no configuration), 148047 (profiling is initialised), as `records.subscribe`.
    """
    pipe = handles.get(handle, records.Pipe)
    with _lock:
        _check_off()
        records.subscribe(model, pipe)


def unsubscribe(model: int) -> None:
    """End that.

    Raises:
        Failure: 148047 (profiling is initialised), as `records.unsubscribe`.
    """
    _check_off()
    records.unsubscribe(model)


def marking() -> bool:
    """Whether marks may be placed: from the first start with the bit for marks until `finalize`."""
    return _marking


def place(mark: Mark) -> None:
    """Put a mark into the profile that is being taken, if it collects marks."""
    with _lock:
        if _session is not None and _session.config.bits & _MARKS:
            _session.marks.append(mark)


# --- checks ----------------------------------------------------------------------------------------


def _check_no_subscription() -> None:
    if records.any_subscribed():
        raise Failure(PROF_API_CONFLICT, "EK0002: profiling and subscribing to a model exclude each other.")


def _check_off() -> None:
    if _path is not None:
        raise Failure(PROF_API_CONFLICT, "EK0002: profiling and subscribing to a model exclude each other.")


def _check_same(config: Config) -> None:
    if _session is not None and config.bits != _session.config.bits:
        text = (
            f"EK0001: {config.bits:#x} is not what the profile was started with, {_session.config.bits:#x}."
        )
        raise Failure(INVALID_PROFILING_CONFIG, text)


def _default_config() -> Config:
    seen = range(len(process.ordinals()))
    return Config(tuple(filter(process.open_device, seen)), 0xFF, _ACL_API | _TASK_TIME)


def _new_folder(path: Path, number: int) -> Path:
    now = datetime.now()
    stamp = f"{now:%Y%m%d%H%M%S}{now.microsecond // 1000:03d}"
    suffix = "".join(_LETTERS[byte % len(_LETTERS)] for byte in os.urandom(8))
    folder = path.absolute() / f"PROF_{number:06d}_{stamp}_{os.getpid():08d}{suffix}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise Failure(INVALID_FILE, f"EK0001: {folder} cannot be made: {error.strerror}.") from error
    return folder
