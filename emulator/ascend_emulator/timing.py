"""How long copies and executions take in `ASCEND_EMULATOR_TIMING=modelled`.

The model, unless a table of measured times says otherwise:

- a copy between host and card: 10 us + bytes / 12 GB/s; on the card, or on a board whose memories are one:
  3 us + bytes / 40 GB/s;
- an execution at gear g: 100 us + 12 us per matrix operator (Conv, MatMul, Gemm) + FLOPs(g) / (0.26 x peak),
  peak being the SoC's dense FP16 peak from its cores and clock.

Only the peak comes from the SoC's platform file. The other constants are assumptions and no measurement stands
behind them: 0.26 and 12 us were chosen so that a ResNet-50 on an Ascend310P3 follows the example costs that
gear policies are discussed with here, 1.3 ms at gear 1 to 8.0 ms at gear 16 (facts/batching_policy.md §4); the
copy speeds are round numbers for a PCIe card. Use a table of measured times for anything that is to be believed.

`ASCEND_EMULATOR_TIMES` names a JSON file; every part is optional, times are milliseconds per gear (`"static"`
for a model without gears), and a gear between two listed ones is interpolated:

    {"models": {"resnet": {"1": 1.3, "4": 2.6, "8": 4.4, "16": 8.0}},
     "h2d": {"gb_per_s": 12, "fixed_us": 10}, "d2h": {"gb_per_s": 12, "fixed_us": 10}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ascend_emulator.codes import RT_DEVICE_SETUP, Failure
from ascend_emulator.settings import Settings

_EFFICIENCY = 0.26
_EXECUTE_FIXED_NS = 100_000
_OPERATOR_NS = 12_000
_STATIC = "static"


@dataclass(frozen=True)
class Work:
    """What one model asks of the cores.

    Attributes:
        flops: floating-point operations at the largest gear.
        operators: matrix operators (Conv, MatMul, Gemm).
        rows: the largest gear, or 1 for a model without gears.
    """

    flops: float
    operators: int
    rows: int


@dataclass(frozen=True)
class Link:
    """One way bytes travel: nanoseconds = fixed + bytes x per byte."""

    fixed_ns: int
    ns_per_byte: float

    def duration_ns(self, size: int) -> int:
        """Nanoseconds that `size` bytes take."""
        return self.fixed_ns + int(size * self.ns_per_byte)


_DEFAULT_LINKS = {"h2d": Link(10_000, 1 / 12), "d2h": Link(10_000, 1 / 12), "local": Link(3_000, 1 / 40)}


@dataclass(frozen=True)
class Timing:
    """The time model of one card.

    Attributes:
        peak_flops: dense FP16 operations per second.
        links: copy engine name -> its link.
        tables: model name -> (gear, nanoseconds) pairs by ascending gear; gear 0 stands for a static model.
    """

    peak_flops: float
    links: Mapping[str, Link] = field(default_factory=lambda: _DEFAULT_LINKS)
    tables: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)

    def has_table(self, model: str) -> bool:
        """Whether measured times of that model are known."""
        return model in self.tables

    def execute_ns(self, model: str, gear: int, work: Work | None) -> int:
        """Nanoseconds that one execution takes.

        Args:
            model: the model's name, as in the .om.
            gear: rows run; 0 for a model without gears.
            work: what the model asks; may be None where `has_table(model)`.
        """
        table = self.tables.get(model)
        if table is not None:
            return int(_interpolate(table, gear))
        if work is None:
            raise ValueError(f"model {model!r} has neither a table of times nor an estimate of its work")
        share = gear / work.rows if gear else 1.0
        busy_ns = work.flops * share / (self.peak_flops * _EFFICIENCY) * 1e9
        return int(_EXECUTE_FIXED_NS + work.operators * _OPERATOR_NS + busy_ns)


def read_timing(settings: Settings) -> Timing | None:
    """The time model that the settings ask for; None in `functional`.

    Raises:
        Failure: 507033, the table of times cannot be read or is of another form.
    """
    if settings.timing == "functional":
        return None
    peak = settings.soc.fp16_tflops * 1e12
    if not settings.times:
        return Timing(peak)
    try:
        document = json.loads(Path(settings.times).read_text())
        return _from_document(peak, document)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        text = (
            f"ascend-emulator: ASCEND_EMULATOR_TIMES is {settings.times!r}: {type(error).__name__}: {error}"
        )
        raise Failure(RT_DEVICE_SETUP, text) from error


def _from_document(peak: float, document: dict[str, Any]) -> Timing:
    unknown = set(document) - {"models", "h2d", "d2h"}
    if unknown:
        raise ValueError(f"unknown keys {sorted(unknown)}; known are models, h2d, d2h")
    links = dict(_DEFAULT_LINKS)
    for way in ("h2d", "d2h"):
        if way in document:
            entry = document[way]
            links[way] = Link(int(float(entry["fixed_us"]) * 1e3), 1 / float(entry["gb_per_s"]))
    tables = {}
    for model, times in document.get("models", {}).items():
        pairs = ((0 if gear == _STATIC else int(gear), float(ms) * 1e6) for gear, ms in times.items())
        tables[model] = tuple(sorted(pairs))
        if not tables[model]:
            raise ValueError(f"models.{model} lists no gear")
    return Timing(peak, links, tables)


def _interpolate(table: tuple[tuple[int, float], ...], gear: int) -> float:
    below = max((pair for pair in table if pair[0] <= gear), default=table[0])
    above = min((pair for pair in table if pair[0] >= gear), default=table[-1])
    if below[0] >= above[0]:
        return below[1]
    return below[1] + (above[1] - below[1]) * (gear - below[0]) / (above[0] - below[0])
