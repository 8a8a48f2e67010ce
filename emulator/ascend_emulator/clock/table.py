"""Measured times in place of the roofline: `ASCEND_EMULATOR_TIMES` names a CSV or a JSON file.

CSV, one measurement a line after a header; without the column `model` the times hold for every model:

    model,gear,ms
    resnet,1,1.3
    resnet,16,8.0

JSON, every part optional:

    {"models": {"resnet": {"1": 1.3, "4": 2.6}, "*": {"static": 2.5}},
     "h2d": {"gb_per_s": 12, "fixed_us": 10}, "d2h": {"gb_per_s": 12, "fixed_us": 10},
     "roofline": {"compute_efficiency": 0.4, "launch_us": 60}}

A model's name is the stem that `atc` wrote it to. A gear is what was compiled: `8`, `224,224` (height, width), the
numbers of `--dynamic_dims`, or `static`. In a CSV, a gear of several numbers is quoted or written with `x`: `224x224`.
A gear that is not listed is interpolated between those whose numbers' products are next to its own.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ascend_emulator.clock.links import Link
from ascend_emulator.clock.roofline import Roofline

EVERY_MODEL = "*"
_STATIC = "static"
_COPIES = ("h2d", "d2h", "local")
_PARAMETERS = tuple(entry.name for entry in fields(Roofline) if entry.name != "copies")
_SHARES = ("compute_efficiency", "bandwidth_efficiency")

Times = Mapping[tuple[int, ...], float]
"""Gear -> nanoseconds; the empty gear stands for a static model."""


@dataclass(frozen=True)
class Table:
    """What a file of measured times says.

    Attributes:
        times: model name, or `EVERY_MODEL`, -> its times.
        copies: copy engine -> its link.
        parameters: field of `Roofline` -> value.
    """

    times: Mapping[str, Times] = field(default_factory=dict)
    copies: Mapping[str, Link] = field(default_factory=dict)
    parameters: Mapping[str, float] = field(default_factory=dict)

    def adjusted(self, roofline: Roofline) -> Roofline:
        """A roofline with the file's parameters in place of its own."""
        return replace(roofline, **dict[str, Any](self.parameters))

    def of(self, model: str) -> Times | None:
        """The times of a model, None when there are none."""
        return self.times.get(model) or self.times.get(EVERY_MODEL)


def time_of(times: Times, gear: tuple[int, ...]) -> float:
    """Nanoseconds of a gear: as listed, else between its neighbours by size, else as the nearest one.

    Args:
        times: at least one entry.
        gear: the gear's numbers; empty for a static model.
    """
    if gear in times:
        return times[gear]
    size = math.prod(gear)
    pairs = sorted((math.prod(listed), ns) for listed, ns in times.items())
    below = max((pair for pair in pairs if pair[0] <= size), default=pairs[0])
    above = min((pair for pair in pairs if pair[0] >= size), default=pairs[-1])
    if below[0] >= above[0]:
        return below[1]
    return below[1] + (above[1] - below[1]) * (size - below[0]) / (above[0] - below[0])


def read_table(path: Path) -> Table:
    """Read a file of measured times; `.csv` is CSV, anything else JSON.

    Raises:
        OSError: it cannot be read.
        ValueError: it is of another form; the text names the place, the value and the rule.
    """
    text = path.read_text()
    return _from_csv(text) if path.suffix.lower() == ".csv" else _from_json(text)


def _from_csv(text: str) -> Table:
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    columns = set(rows.fieldnames or ())
    if columns not in ({"gear", "ms"}, {"model", "gear", "ms"}):
        raise ValueError(f"the first line is {rows.fieldnames}: it must be 'gear,ms' or 'model,gear,ms'")
    entries: dict[str, dict[str, Any]] = {}
    for row in rows:
        if None in row or None in row.values():
            raise ValueError(
                f"line {rows.line_num}: it must have {len(columns)} values, quote a gear with commas"
            )
        times = entries.setdefault(row.get("model") or EVERY_MODEL, {})
        if row["gear"] in times:
            raise ValueError(f"line {rows.line_num}: gear {row['gear']} is listed twice")
        times[row["gear"]] = row["ms"]
    if not entries:
        raise ValueError("it lists no times")
    return Table(times={model: _times(model, times) for model, times in entries.items()})


def _from_json(text: str) -> Table:
    document = _mapping("the file", json.loads(text))
    unknown = set(document) - {"models", "roofline", *_COPIES}
    if unknown:
        raise ValueError(f"unknown keys {sorted(unknown)}; known are models, roofline, {', '.join(_COPIES)}")
    copies = {}
    for way in _COPIES:
        if way in document:
            entry = _mapping(way, document[way])
            if set(entry) != {"gb_per_s", "fixed_us"}:
                raise ValueError(f"{way} has the keys {sorted(entry)}: it must have gb_per_s and fixed_us")
            copies[way] = Link.of(
                _number(f"{way}.fixed_us", entry["fixed_us"]), _number(f"{way}.gb_per_s", entry["gb_per_s"])
            )
    models = _mapping("models", document.get("models", {}))
    parameters = {
        name: _parameter(name, value)
        for name, value in _mapping("roofline", document.get("roofline", {})).items()
    }
    return Table({name: _times(name, times) for name, times in models.items()}, copies, parameters)


def _parameter(name: str, value: object) -> float:
    if name not in _PARAMETERS:
        raise ValueError(f"roofline.{name} is no parameter; known are {', '.join(_PARAMETERS)}")
    number = _number(f"roofline.{name}", value)
    if number == 0 and not name.endswith("_us"):
        raise ValueError(f"roofline.{name} is 0: it must be above 0")
    if name in _SHARES and number > 1:
        raise ValueError(f"roofline.{name} is {number}: it must be at most 1")
    return number


def _times(model: str, entries: object) -> Times:
    listed = _mapping(f"models.{model}", entries)
    if not listed:
        raise ValueError(f"models.{model} lists no gear")
    times = {_gear(model, gear): _number(f"models.{model}.{gear}", ms) * 1e6 for gear, ms in listed.items()}
    if len(times) < len(listed):
        raise ValueError(f"models.{model} lists a gear twice")
    return times


def _gear(model: str, text: str) -> tuple[int, ...]:
    if text == _STATIC:
        return ()
    numbers = [number.strip() for number in text.replace("x", ",").split(",")]
    if not all(number.isascii() and number.isdigit() and int(number) for number in numbers):
        raise ValueError(
            f"models.{model} lists gear {text!r}: it must be whole numbers above 0 or {_STATIC!r}"
        )
    return tuple(map(int, numbers))


def _number(place: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # what it cannot take is told below
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < math.inf or isinstance(value, bool):
        raise ValueError(f"{place} is {value!r}: it must be a number, 0 or more")
    return number


def _mapping(place: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{place} is {value!r}: it must be an object")
    return value
