"""What to do about a code of ATC: the tables of all families, and what is said of a code that none lists. Pure.

ATC's own text says what is wrong; facts: ATC §2.3 (families), §2.4 (codes).
"""

from __future__ import annotations

import re
from dataclasses import replace

from ascend_serve.compiling.diagnosis.advice import (
    GE_PAGES,
    PYTHON_HINT,
    RUNTIME_PAGES,
    Advice,
    option_of,
    recipe_field,
)
from ascend_serve.compiling.diagnosis.hints_arguments import ARGUMENTS, BY_OPTION
from ascend_serve.compiling.diagnosis.hints_graph import GRAPH, LATER_NUMBERS
from ascend_serve.compiling.diagnosis.hints_kernels import KERNELS

_KNOWN = {**ARGUMENTS, **GRAPH, **KERNELS}
ADVICE: dict[str, Advice] = {
    **_KNOWN,
    **{
        old: replace(_KNOWN[new], reference=f"{_KNOWN[new].reference} (today's number of {old})")
        for old, new in LATER_NUMBERS.items()
    },
}
"""Advice by code, for every code that users meet and those that older releases had instead."""

FAMILIES: dict[str, str] = {
    "E10": "ATC's arguments",
    "E104": "buffers at run time",
    "E11": "the Caffe parser",
    "E12": "the TensorFlow parser",
    "E13": "files, the graph's structure, or the environment",
    "E14": "operators' arguments in the graph",
    "E16": "the ONNX parser",
    "E19": "the graph engine itself",
    "E2": "the fusion engine",
    "E3": "the AI CPU's scheduler",
    "E4": "the operator compiler's Python side",
    "E5": "the checks of an operator's kernel",
    "E6": "the checks of an operator's kernel",
    "E7": "the checks of an operator's kernel",
    "E8": "the operator package",
    "E9": "the compiler of kernels",
    "EB": "the compiler of kernels",
    "EC": "the operator compiler's Python side",
    "EE": "the runtime",
    "EH": "AscendCL",
    "EI": "collective communication (HCCL)",
    "EJ": "collective communication (HCCP)",
    "EK": "profiling",
    "EL": "the driver",
    "EO": "quantisation (AMCT)",
    "EP": "dumps",
    "EZ": "the checks of operators",
    "W1": "a warning of the graph engine",
    "W4": "a warning of the operator compiler",
}
"""Who a code comes from, by how it begins; the longest beginning counts."""

_ANY_OPTION = re.compile(r"(?:--|(?:parameter|option) \[?)(?P<option>(?:ge\.)?[A-Za-z][A-Za-z0-9_]+)")
_NO_MODULE = re.compile(r"No module named '?(?P<module>[\w.]+)")
_OUT_OF_CANN = ("tbe", "te", "te_fusion", "auto_tune", "schedule_search", "opc_tool", "op_gen")
_NEW_NUMPY = re.compile(r"NumPy 2|module 'numpy' has no attribute|np\.float")
_NEWEST_OPSET = 18


def advise(code: str, message: str) -> Advice:
    """What to do about a message of ATC.

    Args:
        code: its code.
        message: its text.

    Returns:
        Advice whose hint has the recipe's field filled in and whose reference names the option, where there is one.
    """
    known = ADVICE.get(code)
    if known is None:
        return _of_family(code)
    hint, options = known.hint, known.options
    if "{field}" in hint:
        options = options or _option(message)
        by_option = BY_OPTION.get(options[0]) if options and code in _FOR_ANY_OPTION else None
        field = f"`{recipe_field(options[0])}`" if options else "the value that the message names"
        hint = by_option or hint.format(field=field)
    if hint == PYTHON_HINT:
        hint = python_hint(message)
    guide = ", ".join(f"--{option}" for option in options if option.islower())
    reference = f"{known.reference}; CANN ATC guide, {guide}" if guide else known.reference
    return Advice(hint, reference, options)


_FOR_ANY_OPTION = frozenset(["E10001", "E10003", "E10014", "E20101"])
"""Codes that a wrong value of any option can have."""


def python_hint(error: str) -> str:
    """What to do about an error of the Python that ATC's operator compiler runs in."""
    if match := _NO_MODULE.search(error):
        module = match["module"].partition(".")[0]
        if module in _OUT_OF_CANN:
            return (
                f"Python does not find CANN's own module {module}: source CANN's set_env.sh where builds run, and "
                "let no other environment's Python come first on PATH"
            )
        return f"Install {module} for the python3 that comes first on PATH where builds run, as CANN's manual says"
    if _NEW_NUMPY.search(error):
        return "This CANN is older than NumPy 2: install numpy<2 for the python3 that comes first on PATH"
    return PYTHON_HINT


def opset_hint(opset: int) -> str | None:
    """What to do about an unknown operator of a standard opset, where the opset is what makes it unknown."""
    if opset <= _NEWEST_OPSET:
        return None
    return (
        f"The model is of opset {opset}, and ATC documents 11 to {_NEWEST_OPSET}: export it again with opset "
        f"{_NEWEST_OPSET} or lower"
    )


def _option(message: str) -> tuple[str, ...]:
    match = _ANY_OPTION.search(message)
    return (option_of(match["option"]),) if match else ()


def _of_family(code: str) -> Advice:
    """Of a code that no table lists, who it comes from is all that is known."""
    start = max((each for each in FAMILIES if code.startswith(each)), key=len, default=None)
    owner = FAMILIES[start] if start else "a part of CANN that ATC's manual does not list"
    digits = f" ({start}{'x' * (len(code) - len(start))})" if start else ""
    pages = GE_PAGES if code.startswith(("E1", "W1")) else RUNTIME_PAGES
    return Advice(f"{code} comes from {owner}{digits}: see the full output for what led to it", pages)
