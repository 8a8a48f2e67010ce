"""What a store no longer needs: decided from a listing alone, so that it can be shown before it is removed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ascend_serve.artifacts.backing import ORPHAN_AGE_S, Entry, set_folder
from ascend_serve.artifacts.manifest import Manifest

Kind = Literal["artifact", "bank", "failure", "orphan", "partial", "lock"]


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing to remove.

    Attributes:
        kind: an `artifact`, a knowledge `bank` or a kept `failure` that is too old; an `orphan`, files that no manifest
            names; `partial`, a file that was being written when its writer died; a `lock` that nobody gave back.
        what: the folder or file, relative to the store's root.
        key: the key it belongs to, or empty.
        size_bytes: what removing it frees.
        modified: when it was last used (artifacts in a folder) or written; seconds since 1970.
    """

    kind: Kind
    what: str
    key: str
    size_bytes: int
    modified: float


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts as no longer needed.

    Attributes:
        older_than_s: age from which artifacts, banks and failures go.
        keep: keys that stay, whatever their age.
        max_bytes: size that the artifacts together may have; the oldest go first. None: any.
    """

    older_than_s: float
    keep: Container[str]
    max_bytes: int | None


def find_garbage(
    entries: Iterable[Entry],
    manifests: Mapping[str, Manifest],
    banks: Mapping[str, str],
    policy: Policy,
    now: float,
) -> list[Garbage]:
    """What to remove.

    Orphans, partial files and locks go from the age of a day, for their writer may still be at work.

    Args:
        entries: everything in the store.
        manifests: by key, as far as they can be read.
        banks: by key of a bank, the folder of its set.
        policy: what counts as no longer needed.
        now: seconds since 1970.
    """
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        top, _, rest = entry.name.partition("/")
        groups[top, rest.partition("/")[0]].append(entry)
    found: list[Garbage] = []
    artifacts: list[Garbage] = []
    for (top, second), group in groups.items():
        if top in ("partial", "building"):
            kind: Kind = "partial" if top == "partial" else "lock"
            key = "" if top == "partial" else second.partition(".")[0]
            found += [
                Garbage(kind, entry.name, key, entry.size_bytes, entry.modified)
                for entry in group
                if now - entry.modified > ORPHAN_AGE_S
            ]
        elif top == "failed":
            failure = _whole("failure", top, second, group, max(entry.modified for entry in group))
            if now - failure.modified > policy.older_than_s and second not in policy.keep:
                found.append(failure)
        elif top == "banks" or top == second[:2]:
            mark = f"{top}/{second}/{'bank' if top == 'banks' else 'manifest'}.json"
            used = next((entry.modified for entry in group if entry.name == mark), None)
            if used is not None:
                artifacts.append(_whole("bank" if top == "banks" else "artifact", top, second, group, used))
            named = set_folder(f"{top}/{second}", manifests[second].files) if second in manifests else None
            if top == "banks":
                named = banks.get(second)
            if used is None or named is not None:
                found += _orphans(top, second, [entry for entry in group if entry.name != mark], named, now)
    return found + _aged(artifacts, manifests, policy, now)


def _whole(kind: Kind, top: str, key: str, group: list[Entry], modified: float) -> Garbage:
    return Garbage(kind, f"{top}/{key}", key, sum(entry.size_bytes for entry in group), modified)


def _orphans(top: str, key: str, group: list[Entry], named: str | None, now: float) -> list[Garbage]:
    """Folders of sets that are not the named one, once their newest file is a day old."""
    sets: dict[str, list[Entry]] = defaultdict(list)
    for entry in group:
        sets["/".join(entry.name.split("/")[:3])].append(entry)
    found = []
    for folder, files in sets.items():
        newest = max(entry.modified for entry in files)
        if folder != named and now - newest > ORPHAN_AGE_S:
            found.append(Garbage("orphan", folder, key, sum(entry.size_bytes for entry in files), newest))
    return found


def _aged(
    things: list[Garbage], manifests: Mapping[str, Manifest], policy: Policy, now: float
) -> list[Garbage]:
    """Artifacts that are too old or, oldest first, too many; then banks that nothing that stays was built with."""
    found = []
    artifacts = sorted((thing for thing in things if thing.kind == "artifact"), key=lambda a: a.modified)
    total = sum(artifact.size_bytes for artifact in artifacts)
    staying = set()
    for artifact in artifacts:
        too_many = policy.max_bytes is not None and total > policy.max_bytes
        too_old = now - artifact.modified > policy.older_than_s
        if artifact.key not in policy.keep and (too_old or too_many):
            found.append(artifact)
            total -= artifact.size_bytes
        elif artifact.key in manifests:
            staying.add(manifests[artifact.key].details.get("bank"))
    for bank in things:
        too_old = now - bank.modified > policy.older_than_s
        if bank.kind == "bank" and too_old and bank.key not in staying and bank.key not in policy.keep:
            found.append(bank)
    return found
