"""The knowledge bank that a run of `aoe` leaves for later runs of `atc`.

Where it lies: TUNE_BANK_PATH, then ASCEND_CACHE_PATH, then the home directory (AOE's page envref_07_0104). A bank of
operators has a file per operator type, `<soc>/unified_bank/<soc>_<cores>_AiCore_<type>_runtime_kb.json`, a JSON object
with id, info_dict, knowledge and version on each line (ops-nn: runtime_bank_manager.cc). What a file of a bank of
subgraphs is called is not public. The knowledge itself is the emulator's mark: nothing was tuned.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ascend_emulator.atc.errors import AtcError
from ascend_emulator.atc.paths import reason_of

if TYPE_CHECKING:
    from ascend_emulator.aoe.operators import Operator
    from ascend_emulator.soc import Soc

_HOME = ("Ascend", "latest", "data", "aoe", "custom")
_VERSION = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """How a run changed a bank: entries that are new, and that were there."""

    added: int
    hit: int


def folder(environment: Mapping[str, str], soc: Soc, *, subgraphs: bool) -> Path:
    """The folder of the bank, which is made where the user names none.

    Raises:
        AtcError: E10001, the folder that TUNE_BANK_PATH names is not there or not ours to write; E10058, there
            is no home directory to keep a bank in.
    """
    named = environment.get("TUNE_BANK_PATH", "")
    if named:
        if not Path(named).is_dir():
            raise AtcError("E10001", named, "TUNE_BANK_PATH", "The directory does not exist.")
        if not os.access(named, os.R_OK | os.W_OK | os.X_OK):
            raise AtcError("E10001", named, "TUNE_BANK_PATH", "The directory needs the rights rwx.")
        root = Path(named)
        return root if subgraphs else root / soc.name / "unified_bank"
    if cache := environment.get("ASCEND_CACHE_PATH", ""):
        root = Path(cache) / "aoe_data"
        return root if subgraphs else root / soc.name / "unified_bank"
    if not (home := environment.get("HOME", "")):
        raise AtcError("E10058", "TUNE_BANK_PATH, ASCEND_CACHE_PATH or HOME")
    root = Path(home, *_HOME, "graph" if subgraphs else "op", soc.name)
    return root if subgraphs else root / "unified_bank"


def keep_operators(path: Path, soc: Soc, operators: Sequence[Operator], mark: str) -> Kept:
    """Add operators to a bank; those that are in it stay as they are.

    Args:
        path: of `folder`.
        soc: whose bank it is.
        operators: to keep.
        mark: of the emulator, which stands where a tuned bank has its knowledge.

    Raises:
        AtcError: E13004, the bank cannot be written; E13005, a file in it is no bank.
    """
    by_kind: dict[str, dict[int, dict[str, Any]]] = {}
    for operator in operators:
        entry = _entry(operator.described, mark)
        by_kind.setdefault(operator.kind, {})[entry["id"]] = entry
    if not by_kind:
        return Kept(0, 0)
    added = hit = 0
    with _locked(path):
        for kind, entries in by_kind.items():
            file = path / f"{soc.name}_{soc.ai_cores}_AiCore_{kind}_runtime_kb.json"
            known = _read(file)
            new = {key: entry for key, entry in entries.items() if key not in known}
            hit += len(entries) - len(new)
            added += len(new)
            if new:
                _write(file, {**known, **new})
    return Kept(added, hit)


def keep_subgraph(path: Path, soc: Soc, operators: Sequence[Operator], mark: str) -> Kept:
    """Add a whole network to a bank of subgraphs.

    Args:
        path: of `folder`.
        soc: whose bank it is.
        operators: the network's, in its order.
        mark: as for `keep_operators`.

    Raises:
        AtcError: as `keep_operators`.
    """
    entry = _entry({"subgraph": [operator.described for operator in operators]}, mark)
    with _locked(path):
        file = path / f"{soc.name}_{entry['id']}_graph_kb.json"
        if file.is_file():
            return Kept(0, 1)
        _write(file, {entry["id"]: entry})
    return Kept(1, 0)


def _entry(described: dict[str, Any], mark: str) -> dict[str, Any]:
    text = json.dumps(described, sort_keys=True, separators=(",", ":"))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    return {"id": number, "info_dict": described, "knowledge": {"emulated": mark}, "version": _VERSION}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the folder: a bank may be shared, and two runs that add to one file must not lose an entry."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise AtcError("E13004", path, reason_of(error)) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(file: Path) -> dict[int, dict[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise AtcError("E13005", file, cause=f"{error}.") from error
    try:
        return {int(entry["id"]): entry for entry in map(json.loads, filter(str.strip, lines))}
    except (ValueError, TypeError, KeyError) as error:
        raise AtcError("E13005", file, cause=f"A line is no entry of a bank: {error}.") from error


def _write(file: Path, entries: Mapping[int, dict[str, Any]]) -> None:
    text = "".join(
        json.dumps(entries[key], sort_keys=True, separators=(",", ":")) + "\n" for key in sorted(entries)
    )
    part = file.with_name(f".{file.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise AtcError("E13004", file, reason_of(error)) from error
