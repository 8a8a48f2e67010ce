"""What is compiled, beside the devices that are to run it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ascend_serve.examining.facts import Compiled, Facts
from ascend_serve.examining.finding import Finding, note, ok, warning
from ascend_serve.spec.soc import runs_on


def check_artifacts(facts: Facts) -> Iterator[Finding]:
    """Every model in the store runs on the devices that are here."""
    artifacts = facts.artifacts
    if artifacts.trouble:
        yield warning(
            "artifacts",
            artifacts.trouble,
            f"the store {artifacts.store} can be read",
            "set ASCEND_SERVE_STORE to a folder or URL that can be read from here",
        )
        return
    models: dict[str, list[Compiled]] = defaultdict(list)
    for compiled in artifacts.compiled:
        models[compiled.name].append(compiled)
    if not models:
        yield note(
            "artifacts",
            f"{artifacts.store} holds none",
            "`ascend-serve compile RECIPE`, or `compile: missing`",
        )
        return
    soc, provider = facts.pyacl.soc_name, facts.pyacl.provider
    if soc is None or provider is None:
        yield note(
            "artifacts",
            f"{artifacts.store} holds {len(models)} models; without a device they cannot be matched",
        )
        return
    for name, variants in sorted(models.items()):
        yield _matched(name, variants, soc, provider.vendor)


def _matched(name: str, variants: list[Compiled], soc: str, vendor: str) -> Finding:
    compiled = ", ".join(sorted({variant.soc for variant in variants}))
    mine = [variant for variant in variants if variant.soc == soc]
    if any(variant.vendor == vendor for variant in mine):
        return ok("artifacts", f"'{name}' for {soc}")
    if mine:
        return warning(
            "artifacts",
            f"'{name}' for {soc}, made by {mine[0].vendor}",
            f"acl here is {vendor}'s, which refuses what others compiled",
            "compile it with the atc of this machine",
        )
    near = [variant.soc for variant in variants if runs_on(variant.soc, soc) and variant.vendor == vendor]
    if near:
        return warning(
            "artifacts",
            f"'{name}' for {near[0]}, of the same architecture as {soc}",
            "it loads, and is tuned for another number of cores",
            f"compile it with targets: [{soc}]",
        )
    return warning(
        "artifacts",
        f"'{name}' for {compiled}",
        f"the devices here are {soc}",
        f"compile it with targets: [{soc}], or let the application do it (`compile: missing`)",
    )
