"""`ascend-serve doctor`: whether models can be served here, and what to do where not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import click

from ascend_serve import env
from ascend_serve.examining import Facts, Finding, Level, examine
from ascend_serve.examining.facts import Cluster, Node
from ascend_serve.examining.host import HostReader
from ascend_serve.examining.programs import (
    NoAnswer,
    ask_pyacl,
    ask_smi,
    find_compiler,
    json_of,
    read_artifacts,
)

RAY_TIMEOUT_S = 30.0

_COLOURS = {Level.OK: "green", Level.NOTE: "blue", Level.WARNING: "yellow", Level.ERROR: "red"}


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of findings.")
@click.option(
    "--store",
    metavar="URL",
    help="Folder or URL of the artifact store. [default: $ASCEND_SERVE_STORE, else ~/.cache/ascend_serve/artifacts]",
)
@click.option("--no-ray", is_flag=True, help="Ask no Ray cluster, which may take half a minute.")
def command(as_json: bool, store: str | None, no_ray: bool) -> None:
    """Examine this machine: driver, CANN, pyACL, ATC, devices, artifacts, Ray and Serve.

    It opens no device, starts nothing that stays and changes nothing. The exit status is 1 if anything keeps models
    from being served here, else 0.
    """
    findings = examine(read_facts(store, with_ray=not no_ray))
    if as_json:
        told = [{**asdict(finding), "level": finding.level.value} for finding in findings]
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print(findings)
    raise SystemExit(any(finding.level is Level.ERROR for finding in findings))


def read_facts(store: str | None = None, *, with_ray: bool = True) -> Facts:
    """Read everything; programs are asked beside each other.

    Args:
        store: URL of the artifact store; None for the one that the environment names.
        with_ray: whether to ask Ray.
    """
    reader = HostReader(env.environment({}))
    with ThreadPoolExecutor() as pool:
        pyacl = pool.submit(ask_pyacl)
        smi = pool.submit(ask_smi)
        cluster = pool.submit(_ask_ray) if with_ray else None
        return Facts(
            host=reader.host(),
            environment=reader.environment(),
            atc=find_compiler(),
            artifacts=read_artifacts(store),
            pyacl=pyacl.result(),
            smi=smi.result(),
            cluster=None if cluster is None else cluster.result(),
        )


def _ask_ray() -> Cluster | None:
    try:
        told = json_of("ascend_serve.cli._ray_facts", RAY_TIMEOUT_S)
    except NoAnswer as silence:
        return Cluster(trouble=str(silence))
    if told is None:
        return None
    if "trouble" in told:
        return Cluster(trouble=told["trouble"])
    return Cluster(tuple(Node(**node) for node in told["nodes"]), told["fast_path"], told["tls"])


def _print(findings: Sequence[Finding]) -> None:
    for finding in findings:
        level = click.style(f"{finding.level.value:<7}", fg=_COLOURS[finding.level])
        click.echo(f"{level}  {finding.check}: {finding.value}")
        if finding.rule:
            click.echo(f"         rule: {finding.rule}")
        if finding.fix:
            click.echo(f"         fix:  {finding.fix}")
    counts = Counter(finding.level for finding in findings)
    told = ", ".join(f"{counts[level]} {level.value}" for level in reversed(Level) if counts[level])
    click.echo(f"{len(findings)} findings: {told}")
