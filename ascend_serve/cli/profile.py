"""`ascend-serve profile`: CANN's profiler over a live application, and what its data comes to."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ascend_serve import env
from ascend_serve.cli.live import application, ask_all, looking_seconds
from ascend_serve.cli.rows import print_rows
from ascend_serve.errors import ConfigError
from ascend_serve.profiles import Summary, read_exported, summarise
from ascend_serve.profiles.exported import is_exported, profiles_in
from ascend_serve.runtime.profiling import Counters

EXPORT_TIMEOUT_S = 600.0
"""msprof takes a minute for some seconds of a busy device."""


@click.command(name="profile")
@click.argument("name", required=False, metavar="[APPLICATION]")
@looking_seconds("How long to profile.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("profiles"),
    show_default=True,
    help="Folder for the data, on the node of each replica.",
)
@click.option(
    "--counters",
    type=click.Choice([each.name.lower() for each in Counters]),
    default="none",
    show_default=True,
    help="Counters of the AI core: memory for bandwidth, pipe for what its pipes wait for. They slow tasks down.",
)
@click.option(
    "--read",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Profile nothing; read the profiles in FOLDER.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summaries as JSON.")
def command(
    name: str | None, seconds: float, output: Path, counters: str, read: Path | None, as_json: bool
) -> None:
    """Profile all replicas of a live APPLICATION with CANN's profiler, and summarise what it found.

    The summary tells how long AI cores ran and what they waited for between runs, how fast memory and copies were, and
    which operators and which calls of the host took most. CANN's raw data is exported with msprof where that is
    installed; the summary is of what msprof exports.
    """
    folders = [read] if read is not None else _profile(name, seconds, output.absolute(), counters)
    found = [
        (folder, summary) for top in folders for folder in profiles_in(top) if (summary := _read(folder))
    ]
    if as_json:
        told = [{"folder": str(folder), **asdict(summary)} for folder, summary in found]
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    for folder, summary in found:
        click.echo(str(folder))
        _print(summary)


def _profile(name: str | None, seconds: float, output: Path, counters: str) -> list[Path]:
    with application(name) as handle:
        click.echo(f"profiling for {seconds:g} s …", err=True)
        answers: list[dict[str, Any]] = ask_all(
            handle, "profile", seconds, folder=str(output), counters=counters
        )
    here = []
    for answer in answers:
        folder = Path(answer["folder"])
        if folder.is_dir():
            here.append(folder)
        else:
            click.echo(
                f"{answer['replica']}: the data is on node {answer['node']}: run "
                f"`ascend-serve profile --read {folder}` there",
                err=True,
            )
    return here


def _read(profile: Path) -> Summary | None:
    if not is_exported(profile) and not _export(profile):
        return None
    return summarise(read_exported(profile))


def _export(profile: Path) -> bool:
    """Have msprof make its files; False, with a word on why, if it cannot."""
    msprof = shutil.which("msprof", path=env.search_path())
    if msprof is None:
        click.echo(
            f"{profile}: raw data alone, and no msprof here: run `msprof --export=on --output={profile}` where CANN's "
            f"toolkit is installed, then `ascend-serve profile --read {profile}`",
            err=True,
        )
        return False
    command_line = [msprof, "--export=on", f"--output={profile}"]
    try:
        done = subprocess.run(
            command_line,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=EXPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"`{' '.join(command_line)}` took more than {EXPORT_TIMEOUT_S:g} s") from error
    if not is_exported(profile):
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        click.echo(f"{profile}: `{' '.join(command_line)}` made no tables: {' '.join(last)}", err=True)
        return False
    return True


def _print(summary: Summary) -> None:
    for device in summary.devices:
        what = (
            "runs of whole models, for the profile has no task of a core" if device.whole_runs else "AI cores"
        )
        gaps = device.gaps
        click.echo(
            f"  device {device.device}: {what}: {device.load:.1%} of {device.window_us / 1e3:.1f} ms; "
            f"{gaps.count} gaps, {gaps.total_us / 1e3:.1f} ms together, median {gaps.median_us:.0f} us, "
            f"99 % up to {gaps.p99_us:.0f} us, longest {gaps.longest_us:.0f} us"
        )
    for copies in summary.copies:
        click.echo(
            f"  copies {copies.way}: {copies.count}, {copies.size_bytes / 1e6:.1f} MB at {copies.gb_per_s:.2f} GB/s"
        )
    if summary.counters:
        print_rows(
            ("  counter", "mean"), [(f"  {name}", f"{mean:.3g}") for name, mean in summary.counters.items()]
        )
    else:
        click.echo("  no counters of AI cores: give --counters memory for the bandwidth of their memory")
    for title, named in (("operators", summary.operators), ("calls of the host", summary.calls)):
        if named:
            rows = [(f"  {each.name}", str(each.count), f"{each.us / 1e3:.2f}") for each in named]
            print_rows((f"  {title}", "count", "ms"), rows)
