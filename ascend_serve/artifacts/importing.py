"""Bring your own: a compiled file from elsewhere becomes an artifact of the store.

Rests on what the file says of itself (facts: ATC §3.5), and on where ATC puts external weights (facts: ATC §1.7).
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timezone
from pathlib import Path

import orjson

from ascend_serve.artifacts.artifact import Artifact, read_named
from ascend_serve.artifacts.files import describe_file
from ascend_serve.artifacts.manifest import SCHEMA, Manifest
from ascend_serve.artifacts.om.reading import Om
from ascend_serve.artifacts.om.report import report
from ascend_serve.artifacts.store import Store
from ascend_serve.errors import ArtifactMissing, ConfigError
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.soc import resolve_soc

_WEIGHT_FOLDER = "weight"
_EXTERNAL_WEIGHT = re.compile(r"--?external_weight[= ][\"']?[12]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def import_om(
    store: Store,
    om: Path,
    *,
    name: str | None = None,
    soc: str | None = None,
    batched: bool | None = None,
    companions: Path | None = None,
) -> Artifact:
    """Put a compiled file into a store, with a manifest made from what the file says.

    The same file imported again under the same name is the same artifact. A model that cannot be served as it is is
    kept too, and its manifest says why.

    Args:
        store: where to.
        om: the file, from any toolchain.
        name: name of the model; None: the file's name without `.om`.
        soc: the SoC it was compiled for, needed when the file does not tell (before CANN 5).
        batched: see `Om.model_spec`.
        companions: the folder with external weights; None: `weight` beside the file, if that says that it has any.

    Raises:
        ArtifactMissing: there is no such file, or not the weights it needs.
        NotAnOm: it is no offline model.
        ConfigError: no SoC, an unknown one or another than the file's; or a name that cannot stand in a URL.
        OSError: the store cannot be written.
    """
    told = read_named(om)
    name = name or om.stem
    if not _NAME.fullmatch(name):
        raise ConfigError(f"'{name}' cannot name a model: use letters, digits, '.', '_' and '-'")
    target = _soc(told, soc, om)
    paths = {f"{name}.om": om} | _companions(told, om, companions)
    files = tuple(describe_file(path, under) for under, path in paths.items())
    ingredients = [SCHEMA, "imported", name, target, batched, sorted((f.name, f.sha256) for f in files)]
    if told.gear_kind in ("image", "dims"):
        ingredients.append("buckets")  # There were manifests that called such a model unservable.
    key = hashlib.sha256(orjson.dumps(ingredients)).hexdigest()
    if (there := store.get_whole(key)) is not None:
        return there
    spec, unservable = _signature(told, name, batched)
    manifest = Manifest(
        key=key,
        name=name,
        soc=target,
        toolchain=told.toolchain,
        files=files,
        spec=spec,
        unservable=unservable,
        origin="imported",
        recipe={},
        seconds=0.0,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        verification=None,
        details=report(told),
    )
    with store.building(key):
        return store.publish(paths, manifest)


def _signature(om: Om, name: str, batched: bool | None) -> tuple[ModelSpec | None, str]:
    try:
        return om.model_spec(name, batched), ""
    except ConfigError as error:
        return None, str(error)


def _soc(om: Om, given: str | None, path: Path) -> str:
    asked = resolve_soc(given).name if given is not None else ""
    if om.soc and asked and om.soc != asked:
        raise ConfigError(f"{path} was compiled for {om.soc}, not for {asked}; leave the SoC out")
    if not om.soc and not asked:
        raise ConfigError(f"{path} does not tell the SoC it was compiled for: give it, such as Ascend310")
    return om.soc or asked


def _companions(om: Om, path: Path, given: Path | None) -> dict[str, Path]:
    """Files that must lie beside the `.om`, by the names they need there."""
    if given is None and not om.external_weights and not _EXTERNAL_WEIGHT.search(om.atc_cmdline):
        return {}
    folder = given or path.parent / _WEIGHT_FOLDER
    found = {
        f"{_WEIGHT_FOLDER}/{file.relative_to(folder).as_posix()}": file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    if not found and given is not None:
        raise ArtifactMissing(f"there is no file in {folder}, where the weights of {path} are said to be")
    if not found:
        raise ArtifactMissing(
            f"{path} was compiled with external weights, and there is no file in {folder}: put them there, or say "
            "which folder has them"
        )
    return found
