"""The rules of Chrome's trace format ("Trace Event Format", Google, 2016) that a viewer needs to be kept."""

from collections import defaultdict
from itertools import pairwise
from typing import Any


def check_trace(document: dict[str, Any]) -> None:
    """Fail at the first rule that a trace file breaks."""
    events = document["traceEvents"]
    assert document["displayTimeUnit"] in ("ms", "ns")
    arrows: dict[tuple[str, int], dict[str, dict[str, Any]]] = defaultdict(dict)
    slices: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        assert {"ph", "name", "pid", "tid"} <= event.keys(), event
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        match event["ph"]:
            case "M":
                key = {"process_name": "name", "thread_name": "name"}.get(event["name"], "sort_index")
                assert list(event["args"]) == [key], event
            case "X":
                assert event["dur"] >= 0, event
                slices[event["pid"], event["tid"]].append(event)
            case "i":
                assert event["s"] in ("g", "p", "t"), event
            case "C":
                assert all(isinstance(value, int | float) for value in event["args"].values()), event
            case "s" | "f":
                end = arrows[event["cat"], event["id"]]
                assert event["ph"] not in end, f"two ends of one kind: {event}"
                end[event["ph"]] = event
            case other:
                raise AssertionError(f"an unexpected phase {other!r}")
        if event["ph"] != "M":
            assert isinstance(event["ts"], int | float), event
    for thread in slices.values():
        _check_nesting(thread)
    for ends in arrows.values():
        assert set(ends) == {"s", "f"}, f"an arrow with one end: {ends}"
        assert ends["f"]["bp"] == "e"
        for end in ends.values():
            around = slices[end["pid"], end["tid"]]
            assert any(one["ts"] <= end["ts"] <= one["ts"] + one["dur"] for one in around), (
                f"in no slice: {end}"
            )
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert set(slices) <= named, "a thread without a name"


def _check_nesting(slices: list[dict[str, Any]]) -> None:
    """Slices of a thread lie in each other or beside each other."""
    open_until: list[float] = []
    ordered = sorted(slices, key=lambda one: (one["ts"], -one["dur"]))
    for one in ordered:
        end = one["ts"] + one["dur"]
        while open_until and open_until[-1] <= one["ts"] + 0.01:
            open_until.pop()
        assert not open_until or end <= open_until[-1] + 0.01, f"cuts the edge of another: {one}"
        open_until.append(end)
    assert all(one["ts"] <= other["ts"] for one, other in pairwise(ordered))
