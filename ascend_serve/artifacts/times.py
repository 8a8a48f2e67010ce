"""Cost times beside an artifact, so that a replica starts with what others have measured.

    <folder of the .om>/costs.<soc>.<toolchain>.json             in a store, beside the artifact's files
    <folder of the .om>/<name of the .om>.costs.<soc>.<toolchain>.json   for a ready-made file
    <cache>/costs/<hash of the location>/…                       where that folder cannot be written

They are no part of the artifact: no manifest names them, they may be replaced or missing, and they go with it. Several
replicas may write them; each file is written whole, and the last one stays.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from pathlib import Path

from ascend_serve import env
from ascend_serve.artifacts.artifact import Artifact
from ascend_serve.artifacts.files import scratch_file
from ascend_serve.errors import ArtifactError, ConfigError
from ascend_serve.spec.measured import MeasuredTimes
from ascend_serve.spec.timing import GearTimes
from ascend_serve.spec.toolchain import Toolchain

_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def read(artifact: Artifact, soc_name: str, toolchain: Toolchain) -> GearTimes | None:
    """What was measured of an artifact on devices of that kind, or None when nothing was.

    Args:
        artifact: the model.
        soc_name: full name of the device's SoC.
        toolchain: who provides `acl`.

    Raises:
        ArtifactError: the file is damaged, or fits another model; go on as if there were none.
        OSError: the store cannot be reached; likewise.
    """
    found = _content(artifact, _name(artifact, soc_name, toolchain))
    if found is None:
        return None
    where, data = found
    try:
        measured = MeasuredTimes.from_json(data)
    except ConfigError as error:
        raise ArtifactError(f"{where} is damaged: {error}; remove it, or have it measured anew") from error
    if (measured.soc, measured.toolchain) != (soc_name, str(toolchain)):
        return None  # another pair of names made the same file name
    gears = {(at, gear) for at, bucket in enumerate(artifact.spec.buckets) for gear in bucket.gears}
    if set(measured.times) != gears:
        raise ArtifactError(
            f"{where} has times of (bucket, gear) {sorted(measured.times)}, the model was compiled for "
            f"{sorted(gears)}: it is of another model; remove it, or have it measured anew"
        )
    return measured.times


def write(artifact: Artifact, soc_name: str, toolchain: Toolchain, times: GearTimes) -> None:
    """Keep what was measured, in place of what was kept before.

    Args:
        artifact: the model.
        soc_name: full name of the device's SoC.
        toolchain: who provides `acl`.
        times: of all gears of all buckets.

    Raises:
        OSError: neither the artifact's folder nor this node's cache can be written.
    """
    name = _name(artifact, soc_name, toolchain)
    data = MeasuredTimes(soc_name, str(toolchain), times).to_json()
    with suppress(OSError):  # a place that others own, such as a read-only store: then the cache
        if artifact.manifest is not None and artifact.source is not None:
            artifact.source.write_beside(artifact.manifest, name, data)
        else:
            _write_file(Path(artifact.location).with_name(name), data)
        return
    _write_file(_cached(artifact, name), data)


def _content(artifact: Artifact, name: str) -> tuple[str, bytes] | None:
    """Where a file of times is, and what is in it; None when there is none."""
    if artifact.manifest is not None and artifact.source is not None:
        data = artifact.source.read_beside(artifact.manifest, name)
        if data is not None:
            return f"{name} beside {artifact.location}", data
        younger_than = 0.0
        places = [_cached(artifact, name)]
    else:
        om = Path(artifact.location)
        younger_than = om.stat().st_mtime
        places = [om.with_name(name), _cached(artifact, name)]
    for path in places:
        with suppress(FileNotFoundError):
            # A file may be replaced by another model under its name; what was measured before is not of that.
            if path.stat().st_mtime >= younger_than:
                return str(path), path.read_bytes()
    return None


def _name(artifact: Artifact, soc_name: str, toolchain: Toolchain) -> str:
    kind = ".".join(_NO_NAME.sub("_", part) for part in ("costs", soc_name, str(toolchain)))
    return f"{kind}.json" if artifact.manifest is not None else f"{Path(artifact.location).name}.{kind}.json"


def _cached(artifact: Artifact, name: str) -> Path:
    place = hashlib.sha256(artifact.location.encode()).hexdigest()[:32]
    return env.cache_folder() / "costs" / place / name


def _write_file(path: Path, data: bytes) -> None:
    with scratch_file(path.parent) as aside:
        aside.write_bytes(data)
        aside.replace(path)
