"""A report of a model, and the differences of two, as lines for people.

Rests on the keys of `report.report`; values that the file does not tell are left out or said to be unknown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ascend_serve.artifacts.om.report import Difference, Json

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the lines below it, each a label and what it is; the label may be empty."""

    title: str
    rows: tuple[tuple[str, str], ...]


def sections(told: dict[str, Json]) -> list[Section]:
    """A report as sections; those with nothing to say are left out.

    Args:
        told: what `report` answers.
    """
    listed = [
        Section("Model", _model(told)),
        Section("Made by", _made_by(told)),
        Section("Inputs", tuple(_tensor(tensor) for tensor in told["inputs"])),
        Section("Outputs", tuple(_tensor(tensor) for tensor in told["outputs"])),
        Section("Gears", _gears(told["gears"])),
        Section("Serving", _serving(told["serving"])),
        Section("Image preprocessing (AIPP)", tuple(_aipp(aipp) for aipp in told["aipp"])),
        Section("Memory", _memory(told["memory"])),
        Section("File", _file(told)),
        Section("Operators", _operators(told["operators"])),
    ]
    found = [section for section in listed if section.rows]
    for inner in told["contained"]:
        found += [Section(f"{inner['name']}: {part.title}", part.rows) for part in sections(inner)]
    return found


def difference_lines(found: list[Difference]) -> list[str]:
    """One line for each difference: the field and both values, as JSON; `-` for none."""
    return [f"{item.field}: {_value(item.a)} | {_value(item.b)}" for item in found]


def _value(value: Json) -> str:
    return (
        "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )


def _model(told: dict[str, Json]) -> tuple[tuple[str, str], ...]:
    architecture = told["architecture"]
    known = f" (architecture {architecture})" if architecture is not None else " (architecture unknown)"
    is_open = told["dynamic"] or any(
        -1 in tensor["dims"] for side in ("inputs", "outputs") for tensor in told[side]
    )
    kind = "gears" if told["gears"]["kind"] else "open at run time" if is_open else "static"
    return _rows(
        ("name", told["name"]),
        ("SoC", told["soc"] + known if told["soc"] else "unknown: the file names none"),
        ("shapes", kind),
        ("precision", _precision(told["precision"])),
    )


def _precision(precision: dict[str, Json]) -> str:
    if not precision["value"]:
        return "unknown: the file has no command line"
    given = "" if precision["given"] else " (ATC's default: nothing was given)"
    return f"{precision['option']}={precision['value']}{given}"


def _made_by(told: dict[str, Json]) -> tuple[tuple[str, str], ...]:
    made_by = told["made_by"]
    version = f" {made_by['version']}" if made_by["version"] else ", version unknown"
    own = "" if made_by["is_cann"] else " (not CANN: loads with this vendor's runtime alone, on no card)"
    host = " ".join(filter(None, (made_by["host_os"], made_by["host_cpu"])))
    return _rows(
        ("tools", f"{made_by['vendor']}{version}{own}"),
        ("atc_version", made_by["atc_version"]),
        ("opp_version", made_by["opp_version"]),
        ("framework", made_by["framework"]),
        ("host", f"{host}, checked when it is loaded" if host and made_by["bound_to_host"] else host),
        ("command", told["command"]["line"]),
    )


def _rows(*pairs: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in pairs if pair[1])


def _tensor(tensor: dict[str, Json]) -> tuple[str, str]:
    parts = [tensor["dtype"], _dims(tensor["dims"]), tensor["format"]]
    if tensor["memory_dims"]:
        parts.append(f"in memory {_dims(tensor['memory_dims'])}")
    if tensor["ranges"]:
        parts.append(
            "ranges " + ", ".join(f"{low}..{'any' if high < 0 else high}" for low, high in tensor["ranges"])
        )
    if tensor["bytes"]:
        parts.append(_size(tensor["bytes"]))
    return tensor["name"], "  ".join(filter(None, parts))


def _dims(dims: list[int] | None) -> str:
    return "unknown" if dims is None else "[" + ", ".join(map(str, dims)) + "]"


def _size(size: int) -> str:
    """Bytes, in a unit that people read when there are many."""
    scaled, unit = float(size), 0
    while scaled >= 1024 and unit < len(_UNITS) - 1:
        scaled, unit = scaled / 1024, unit + 1
    return f"{size} B" if unit == 0 else f"{scaled:.1f} {_UNITS[unit]} ({size} B)"


def _gears(gears: dict[str, Json]) -> tuple[tuple[str, str], ...]:
    rows = [("kind", gears["kind"])] if gears["kind"] else []
    for shapes in gears["shapes"]:
        sides = (
            ", ".join(f"{name} {_dims(dims)}" for name, dims in shapes[side].items())
            for side in ("inputs", "outputs")
        )
        rows.append((",".join(map(str, shapes["gear"])), " -> ".join(sides)))
    return tuple(rows)


def _serving(told: dict[str, Json]) -> tuple[tuple[str, str], ...]:
    if told["reason"]:
        return (("not served", told["reason"]),)
    rows = [("a run takes", "rows of several requests" if told["batched"] else "one request")]
    for bucket in told["buckets"]:
        sides = (
            ", ".join(f"{name} {_dims(dims)}" for name, dims in bucket[side].items())
            for side in ("inputs", "outputs")
        )
        gears = ", ".join(map(str, bucket["gears"]))
        label = f"{gears} row{'' if gears == '1' else 's'} of" if told["batched"] else "shapes"
        rows.append((label, " -> ".join(sides)))
    return tuple(rows)


def _aipp(aipp: dict[str, Json]) -> tuple[str, str]:
    settings = ", ".join(f"{name}: {value}" for name, value in aipp["settings"].items())
    return aipp["input"], f"{aipp['mode']}  {settings}".rstrip()


def _memory(memory: dict[str, Json]) -> tuple[tuple[str, str], ...]:
    sizes = [
        (name, _size(memory[key]))
        for name, key in (
            ("working", "working"),
            ("weights", "weights"),
            ("inputs and outputs", "zero_copy"),
            ("shared with devices", "p2p"),
            ("on the host", "host"),
        )
        if memory[key]
    ]
    counts = [f"{memory[key]} {key}" for key in ("streams", "events", "labels", "notifies") if memory[key]]
    return _rows(*sizes, ("uses", ", ".join(counts)))


def _file(told: dict[str, Json]) -> tuple[tuple[str, str], ...]:
    file = told["file"]
    rows = [
        ("size", _size(file["bytes"])),
        ("generation", f"{file['generation']}: {file['generation_words']}"),
        ("layout", f"header version {file['header_version']}, table {file['table']}, {file['model_type']}"),
        ("attribute names", "compressed" if file["compresses_names"] else "plain"),
    ]
    for part in file["sub_models"]:
        listed = ", ".join(f"{item['type']} {item['bytes']} B" for item in part["partitions"])
        rows.append((part["what"], listed or "no partitions of its own"))
    rows += [
        ("library", f"{item['name']} of {item['vendor'] or 'CANN'}, {item['bytes']} B")
        for item in told["libraries"]
    ]
    rows += [("weights beside it", name) for name in told["external_weights"]]
    return tuple(rows)


def _operators(operators: dict[str, Json] | None) -> tuple[tuple[str, str], ...]:
    if operators is None:
        return ()
    return _rows(
        *(
            (title, ", ".join(f"{name} {count}" for name, count in operators[title].items()))
            for title in operators
        )
    )
