"""What a preflight answers: findings, the shapes at each gear, and sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SLOTS = 2
"""Batches that a replica holds buffers for, as served by default."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or may be.

    Attributes:
        severity: `error` when no model can come of it, or none that can be served; else `warning`.
        code: ATC's own code of the same fault (facts: ATC §2.4), or None.
        text: the value, the rule and the way out.
        node: name of the graph's node that it is about, or None.
    """

    severity: Literal["error", "warning"]
    code: str | None
    text: str
    node: str | None = None


def error(text: str, code: str | None = None, node: str | None = None) -> Finding:
    """A finding that stops a build."""
    return Finding("error", code, text, node)


def warning(text: str, code: str | None = None, node: str | None = None) -> Finding:
    """A finding that stops nothing."""
    return Finding("warning", code, text, node)


@dataclass(frozen=True, slots=True)
class GearShapes:
    """A model at one gear.

    Attributes:
        gear: its sizes; empty for a model without gears.
        inputs: shape of each input.
        outputs: shape of each output, None where inference does not tell a dim.
        input_bytes: of all inputs, as a caller sends them.
        output_bytes: of all outputs, or None where a shape is not known.
        activation_bytes: the most that inner tensors take at once: an estimate, since ATC fuses and reuses; None
            where nothing is known of them.
    """

    gear: tuple[int, ...]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int | None, ...]]
    input_bytes: int
    output_bytes: int | None
    activation_bytes: int | None


@dataclass(frozen=True, slots=True)
class Preflight:
    """Everything a preflight found.

    Attributes:
        findings: errors and warnings, in the order in which they were met.
        gears: the model at each gear, in the recipe's order; empty when no shapes could be told.
        weight_bytes: weights as the card holds them, halved when ATC computes in half precision.
        device_bytes: an estimate of the device memory that serving takes: weights, the activations of the largest
            gear, and `SLOTS` times its inputs and outputs; None where a part is not known.
    """

    findings: tuple[Finding, ...]
    gears: tuple[GearShapes, ...]
    weight_bytes: int
    device_bytes: int | None

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop a build."""
        return tuple(finding for finding in self.findings if finding.severity == "error")
