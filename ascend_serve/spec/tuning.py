"""Tuning by AOE before a build: the `tune:` section of a recipe (facts: ATC §5.2)."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from ascend_serve.spec.closed import Closed

_EXTRA = re.compile(r"--(?P<name>[A-Za-z][A-Za-z0-9_-]*)(=.*)?", re.DOTALL)
_REFUSED = {
    "job_type": "use the field `job_type`",
    "tune_optimization_level": "use the field `tune_optimization_level`",
    "tune_ops_file": "use the field `tune_ops_file`",
    "model": "it is the recipe's `source`",
    "weight": "it is the recipe's `weight`",
    "framework": "it is the recipe's `framework`",
    "output": "only the knowledge bank is kept",
    "reload": "each tuning has a folder of its own, so there is nothing to go on from",
    "model_path": "a recipe tunes a model; tune dumped graphs with aoe itself",
    "singleop": "a recipe tunes a model; tune single operators with aoe itself",
}
"""Options of AOE that may not be passed on, and why."""


class Tune(Closed):
    """How AOE tunes the model: on a card of the target, for that target, into a knowledge bank that builds use.

    The vendor advises subgraph tuning first; one recipe has one of the two.
    """

    job_type: Literal["subgraph", "operator"]
    """What is tuned (`--job_type` 1 or 2): how the graph is cut into subgraphs, or how operators are tiled."""

    tune_optimization_level: Literal["O1", "O2"] | None = None
    """O1: deeper; O2: AOE's default (`--tune_optimization_level`)."""

    tune_ops_file: str | None = None
    """File of the operators to tune (`--tune_ops_file`), relative to the recipe's folder."""

    extra_args: tuple[str, ...] = ()
    """Further options of AOE, each as `--option` or `--option=value`, such as `--Fdeeper_opat`."""

    timeout_s: float = Field(default=6 * 3600.0, gt=0)
    """Seconds after which tuning is stopped."""

    @field_validator("extra_args")
    @classmethod
    def _check_extra_args(cls, extra_args: tuple[str, ...]) -> tuple[str, ...]:
        for argument in extra_args:
            match = _EXTRA.fullmatch(argument)
            if match is None:
                raise ValueError(f"{argument!r} is not of the form --option or --option=value")
            if reason := _REFUSED.get(match["name"].replace("-", "_")):
                raise ValueError(f"{argument!r} may not stand here: {reason}")
        return extra_args
