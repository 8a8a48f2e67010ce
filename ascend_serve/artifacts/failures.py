"""Builds that failed, as a store keeps them: `failed/<key>/{failure.json, atc.log}`."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from ascend_serve.artifacts.backing import Backing, keys_by_name
from ascend_serve.artifacts.manifest import check_key

logger = logging.getLogger(__name__)

_FAILURE = re.compile(r"failed/(?P<key>[^/]+)/failure\.json")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a build failed: what `BuildFailed` is made of, and when it was.

    Attributes:
        cause: one sentence: what is wrong.
        code: ATC's code of the first cause, or None.
        operator: type of the operator that it is about, or None.
        node: name of the node that it is about, or None.
        hint: what to do about it, or None.
        reference: where the code is documented, or None.
        log_path: where the whole output is kept: a path, or a URL.
        at: when it failed, ISO 8601 in UTC.
        circumstances: what is no part of the key and may still have caused it; the failure is news again when they
            change.
        target: what was to be built, for people, such as `resnet50@Ascend310P3`.
        repeats: whether the same build would fail again; not so when it was ended from outside, such as by a signal.
    """

    cause: str
    code: str | None
    operator: str | None
    node: str | None
    hint: str | None
    reference: str | None
    log_path: str
    at: str
    circumstances: dict[str, str]
    target: str = ""
    repeats: bool = True


class Failures:
    """The failures that a backing holds.

    Args:
        backing: where they are.
    """

    def __init__(self, backing: Backing) -> None:
        self._backing = backing

    def get(self, key: str) -> Failure | None:
        """The failure kept under a key, or None."""
        data = self._backing.read(f"failed/{check_key(key)}/failure.json")
        return None if data is None else _read(key, data)

    def all(self) -> Iterator[tuple[str, Failure]]:
        """Every failure kept, with its key, in no order."""
        keys = keys_by_name(self._backing, _FAILURE)
        for name, data in self._backing.read_all(keys).items():
            if (failure := _read(keys[name], data)) is not None:
                yield keys[name], failure

    def keep(self, key: str, log: Path, describe: Callable[[str], Failure]) -> Failure:
        """Keep an output and a diagnosis under a key; see `Store.keep_failure`."""
        name = f"failed/{check_key(key)}/atc.log"
        failure = describe(self._backing.location(name))
        self._backing.write(name, log.read_bytes())
        described = orjson.dumps(asdict(failure), option=orjson.OPT_INDENT_2)
        self._backing.write(f"failed/{key}/failure.json", described)
        return failure

    def forget(self, key: str) -> None:
        """Drop what is kept under a key; nothing happens when nothing is."""
        self._backing.remove_all(f"failed/{check_key(key)}")


def _read(key: str, data: bytes) -> Failure | None:
    try:
        return Failure(**orjson.loads(data))
    except (ValueError, TypeError) as error:
        # As good as none: the build is tried again, and says anew what is wrong.
        logger.warning("the failure kept under %s cannot be read: %s", key, error)
        return None
