"""`ascend-serve artifacts`: what a store holds, and what comes into it and out of it by hand."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import orjson
import yaml

from ascend_serve import env
from ascend_serve.artifacts.garbage import Garbage
from ascend_serve.artifacts.importing import import_om
from ascend_serve.artifacts.manifest import Manifest
from ascend_serve.artifacts.store import Store
from ascend_serve.cli.amounts import age, size
from ascend_serve.cli.rows import print_rows
from ascend_serve.errors import ArtifactError, ConfigError
from ascend_serve.spec.soc import resolve_soc
from ascend_serve.spec.text import shown_size

_SHORT = 12
_INCOMPLETE = 1
_WHOLE_KEY = re.compile(r"[0-9a-f]{64}")


@click.group(name="artifacts", options_metavar="[--store URL]")
@click.option(
    "--store",
    "url",
    metavar="URL",
    help="Folder or URL of the store. [default: $ASCEND_SERVE_STORE, else ~/.cache/ascend_serve/artifacts]",
)
@click.pass_context
def command(context: click.Context, url: str | None) -> None:
    """List, show, import, copy and clean the artifacts of a store.

    KEY is the beginning of an artifact's key, or its name@soc. `--store` stands before the command.
    """
    context.obj = Store.lasting(url or env.store_url())


@command.command(name="ls")
@click.option("--name", metavar="NAME", help="Only models of this name.")
@click.option("--soc", metavar="SOC", help="Only those for this SoC.")
@click.option("--json", "as_json", is_flag=True, help="Manifests, as a JSON list.")
@click.pass_obj
def list_artifacts(store: Store, name: str | None, soc: str | None, as_json: bool) -> None:
    """List what is there, the newest first."""
    soc = resolve_soc(soc).name if soc else None
    found = [m for m in store.manifests() if name in (None, m.name) and soc in (None, m.soc)]
    found.sort(key=lambda manifest: (manifest.name, manifest.soc, manifest.key))
    found.sort(key=lambda manifest: manifest.created, reverse=True)
    if not found:
        _tell_why_nothing(store)
    if as_json:
        _print_json([orjson.loads(manifest.to_json()) for manifest in found])
        return
    rows = [
        (
            manifest.key[:_SHORT],
            manifest.name,
            manifest.soc,
            str(manifest.toolchain),
            shown_size(manifest.size_bytes),
            manifest.created,
            manifest.origin,
            _gears(manifest),
        )
        for manifest in found
    ]
    print_rows(("key", "name", "soc", "toolchain", "size", "created", "origin", "gears"), rows)


@command.command()
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="The manifest, as JSON.")
@click.pass_obj
def show(store: Store, key: str, as_json: bool) -> None:
    """Show all that is known of the artifact KEY."""
    manifest = store.find(key)
    told = orjson.loads(manifest.to_json())
    if as_json:
        _print_json(told)
        return
    artifact = store.get(manifest.key)
    location = artifact.location if artifact else "removed meanwhile"
    click.echo(yaml.safe_dump({"location": location} | told, sort_keys=False, width=110), nl=False)


@command.command(name="rm", short_help="Remove artifacts, failures or banks.")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@click.pass_obj
def remove(store: Store, keys: tuple[str, ...]) -> None:
    """Remove the artifacts KEY, or the failures kept under KEY; a knowledge bank by its whole key."""
    left = []
    for key in [_key_to_remove(store, told) for told in keys]:
        try:
            store.remove(key)
        except (ArtifactError, OSError) as error:
            left.append(f"{key[:_SHORT]}: {error}")
        else:
            click.echo(f"removed {key[:_SHORT]}")
    _tell_left("not removed", left)


@command.command(name="import")
@click.argument("om", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="Name of the model. [default: the file's name without .om]")
@click.option("--soc", metavar="SOC", help="The SoC it was compiled for, when the file does not tell.")
@click.option(
    "--batched/--not-batched",
    default=None,
    help="Whether axis 0 counts rows, of a model without batch gears. [default: if all tensors share it]",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of its external weights. [default: weight/ beside it, if it has any]",
)
@click.pass_obj
def import_file(
    store: Store, om: Path, name: str | None, soc: str | None, batched: bool | None, weights: Path | None
) -> None:
    """Put the compiled file OM into the store."""
    artifact = import_om(store, om, name=name, soc=soc, batched=batched, companions=weights)
    assert artifact.manifest is not None, "what comes from a store has a manifest"
    click.echo(f"imported {_label(artifact.manifest)}: {artifact.location}")
    if artifact.manifest.unservable:
        click.echo(f"note: it is not served as it is: {artifact.manifest.unservable}", err=True)


@command.command()
@click.argument("url")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every artifact there is.")
@click.pass_obj
def push(store: Store, url: str, keys: tuple[str, ...], everything: bool) -> None:
    """Copy artifacts to the store URL; what is there is left alone."""
    _copy(store, Store.lasting(url), keys, everything)


@command.command()
@click.argument("url")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every artifact there is.")
@click.pass_obj
def pull(store: Store, url: str, keys: tuple[str, ...], everything: bool) -> None:
    """Copy artifacts from the store URL; what is here is left alone."""
    _copy(Store.lasting(url), store, keys, everything)


@command.command(name="gc")
@click.option(
    "--older-than",
    type=age,
    default="90d",
    show_default=True,
    help="Age from which artifacts, kept failures and knowledge banks go, such as 30d or 12h. It counts from the last "
    "use in a folder, from publication elsewhere.",
)
@click.option(
    "--max-size", type=size, help="Size the artifacts may have together, such as 20GiB; the oldest go first."
)
@click.option("--keep", "kept", metavar="KEY", multiple=True, help="Keep this artifact whatever its age.")
@click.option("--yes", is_flag=True, help="Remove it; without this, it is only shown.")
@click.pass_obj
def collect(store: Store, older_than: float, max_size: int | None, kept: tuple[str, ...], yes: bool) -> None:
    """Remove what is old, and what killed processes left."""
    left = []

    def refused(thing: Garbage, error: OSError) -> None:
        left.append(f"{thing.what}: {error}")

    garbage = store.collect_garbage(
        older_than_s=older_than,
        max_bytes=max_size,
        keep=[store.find(told).key for told in kept],
        dry_run=not yes,
        refused=refused,
    )
    if garbage:
        rows = [
            (thing.kind, thing.what, shown_size(thing.size_bytes), _when(thing.modified)) for thing in garbage
        ]
        print_rows(("kind", "what", "size", "last used"), rows)
    total = shown_size(sum(thing.size_bytes for thing in garbage))
    done = "removed" if yes else "would be removed; give --yes to do it"
    click.echo(f"{len(garbage)} things, {total}, {done}", err=True)
    _tell_left("not removed", left)


@command.command(short_help="List the builds that failed.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON list.")
@click.pass_obj
def failures(store: Store, as_json: bool) -> None:
    """List the builds that failed and are remembered, the newest first."""
    found = sorted(store.failures(), key=lambda pair: pair[1].at, reverse=True)
    if as_json:
        _print_json([{"key": key, **asdict(failure)} for key, failure in found])
        return
    rows = [
        (key[:_SHORT], failure.target, failure.at, failure.code or "", failure.cause, failure.log_path)
        for key, failure in found
    ]
    print_rows(("key", "target", "at", "code", "cause", "log"), rows)


def _copy(source: Store, target: Store, keys: tuple[str, ...], everything: bool) -> None:
    if everything == bool(keys):
        raise ConfigError("name the artifacts to copy, or give --all")
    chosen = list(source.manifests()) if everything else [source.find(told) for told in keys]
    if not chosen:
        _tell_why_nothing(source)
    copied, left = [], []
    for manifest in chosen:
        try:
            copied += source.copy_to(target, [manifest.key], _say_copied)
        except ArtifactError as error:
            left.append(f"{_label(manifest)}: {error}")
    total = shown_size(sum(manifest.size_bytes for manifest in copied))
    click.echo(f"{len(copied)} of {len(chosen)} copied to {target.url}, {total}", err=True)
    _tell_left("not copied", left)


def _tell_why_nothing(store: Store) -> None:
    """Say so where not even the store is there, as after a typing error."""
    if not store.exists():
        click.echo(f"note: there is no store at {store.url} yet", err=True)


def _tell_left(what: str, left: Sequence[str]) -> None:
    """Say what could not be done although the rest was, and end with the status that tells of it."""
    for line in left:
        click.echo(f"{what}: {line}", err=True)
    if left:
        sys.exit(_INCOMPLETE)


def _key_to_remove(store: Store, told: str) -> str:
    # A whole key needs no manifest that can be read: a damaged one is removed this way.
    if _WHOLE_KEY.fullmatch(told):
        return told
    failed = [key for key, failure in store.failures() if told and _is_meant(told, key, failure.target)]
    built = any(_is_meant(told, m.key, f"{m.name}@{m.soc}") for m in store.manifests())
    return failed[0] if len(failed) == 1 and not built else store.find(told).key


def _is_meant(told: str, key: str, target: str) -> bool:
    return key.startswith(told) or told == target


def _say_copied(manifest: Manifest, is_new: bool) -> None:
    click.echo(f"{'copied' if is_new else 'there already'}: {_label(manifest)}")


def _label(manifest: Manifest) -> str:
    return f"{manifest.key[:_SHORT]} {manifest.name}@{manifest.soc}"


def _gears(manifest: Manifest) -> str:
    """The gears of any kind in a few words."""
    gears = manifest.details.get("gears", {})
    if gears.get("kind"):
        return f"{gears['kind']} " + ", ".join("x".join(map(str, gear)) for gear in gears["groups"])
    return "static" if manifest.spec else "open"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def _print_json(value: Any) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
