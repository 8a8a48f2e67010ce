"""Every code that users meet, as recorded in each look that ATC's reports have had."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ascend_serve.compiling.diagnosis.diagnose import Diagnosis, diagnose, warnings

pytestmark = pytest.mark.unit

LOGS = Path(__file__).with_name("data") / "atc_logs"
EXPECTED: dict[str, dict[str, Any]] = json.loads((LOGS / "expected.json").read_text())
GENERATIONS = ("cann_5", "cann_7", "cann_8_5")


def recorded(generation: str) -> dict[str, str]:
    """Console text by code."""
    parts = re.split(r"^=== (\S+)\n", (LOGS / f"{generation}.txt").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


RUNS = {generation: recorded(generation) for generation in GENERATIONS}


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("code", sorted(EXPECTED))
def test_a_recorded_run(code: str, generation: str) -> None:
    expected = EXPECTED[code]
    output = RUNS[generation][code]
    if code.startswith("W"):
        (found,) = warnings(output)
    else:
        found = diagnose(output, 255, 60)
        assert warnings(output) == ()
    assert (found.code, found.operator, found.node) == (code, expected["operator"], expected["node"])
    assert expected["hint"] in str(found.hint)
    assert expected["page"] in str(found.reference)
    option = re.search(r"; CANN ATC guide, --(\w+)", str(found.reference))
    assert (option and option[1]) == expected["option"]
    assert found.cause
    assert "[FUNC:" not in found.cause
    assert "Solution:" not in found.cause


MET_BY_USERS = """
    E10001 E10002 E10003 E10004 E10005 E10006 E10007 E10008 E10009 E10010 E10011 E10013 E10014 E10016 E10017 E10018
    E10019 E10020 E10021 E10022 E10031 E10034 E10035 E10036 E10037 E10038 E10039 E10040 E10041 E10047 E10049 E10052
    E10054 E10055 E10056 E10057 E10410 E10501 E13000 E13001 E13005 E13023 E16001 E16002 E16004 E16005 E20001 E20101
    E20103 E40001 E40002 E40020 E40021 E40024 E90001 E90003 EZ3002 EZ3003 EZ9010 W11001 E19010 E19999 EZ9999
"""
"""Facts: ATC §2.4, and those of the field reports."""


def test_every_code_that_users_meet_is_recorded_in_every_look() -> None:
    assert set(MET_BY_USERS.split()) <= set(EXPECTED)
    assert all(set(runs) == set(EXPECTED) for runs in RUNS.values())


def field(name: str, status: int = 255) -> Diagnosis:
    return diagnose((LOGS / f"field_{name}.txt").read_text(), status, 60)


def test_several_unknown_operators_are_all_named() -> None:
    found = field("unknown_operators")
    assert (found.code, found.operator, found.node) == ("E19010", "FindMax", "/tome1/FindMax")
    assert found.cause == (
        "No parser is registered for Op [/tome1/FindMax, optype [ai.onnx::11::FindMax]]. Likewise: TomeMerged "
        "(/tome1/TomeMerged), TomeUngmerged (/tome1/TomeUngmerged)"
    )
    assert "custom operator package" in str(found.hint)


def test_a_report_without_solution() -> None:
    found = field("grid_sampler")
    assert (found.code, found.operator, found.node) == ("E19010", "grid_sampler", "grid_sampler_150")
    assert found.cause == (
        "No parser is registered for Op [grid_sampler_150, optype [ai.onnx::11::grid_sampler]]."
    )


def test_an_operator_without_a_kernel_for_the_chip() -> None:
    found = field("singleop")
    assert (found.code, found.operator, found.node) == ("EZ3003", "AddDsl", "AddDsl")
    assert "operator package is installed" in str(found.hint)


def test_a_kernel_that_fails_in_the_copy_of_one_gear() -> None:
    found = field("gear_copies")
    assert (found.code, found.operator) == ("E20001", "StridedSliceD")
    assert found.node == "/model/layers.4/self_attn/Slice"
    assert found.cause.endswith("(in the copy of the network for gear number 5, counted from 0)")
    assert "memory ran out" in str(found.hint)


def test_a_python_that_lacks_a_module() -> None:
    found = field("wrong_python", status=1)
    assert (found.code, found.cause) == (None, "ModuleNotFoundError: No module named 'attr'")
    assert str(found.hint).startswith("Install attr for the python3 that comes first on PATH")
    assert "TEfusion-Errors" in str(found.reference)
