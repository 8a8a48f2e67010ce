"""What is known about a code of ATC: what to do in the recipe, and where it is documented. Pure.

References are paths in public repositories: hicann/ge and hicann/runtime hold a page for most codes and one for
each option of ATC (facts: ATC §2.3).
"""

from __future__ import annotations

from dataclasses import dataclass

GE_PAGES = "hicann/ge docs/zh/user_guides/error_codes"
RUNTIME_PAGES = "hicann/runtime docs/zh/error_code_ref"
RUNTIME_TABLE = "hicann/runtime src/dfx/error_manager/error_code.json"

_INNER_NAMES = {
    "ge.aicoreNum": "aicore_num",
    "ge.engineType": "core_type",
    "ge.opSelectImplmode": "op_select_implmode",
    "ge.socVersion": "soc_version",
}
"""What the graph engine calls options of ATC, in messages of CANN 5."""

_FIELDS = {
    "dynamic_batch_size": "gears",
    "dynamic_dims": "dims_gears",
    "dynamic_image_size": "image_gears",
    "input_shape": "inputs",
    "model": "source",
    "soc_version": "targets",
}


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about a code.

    Attributes:
        hint: what to change; {field} stands for the recipe's field of the option that the message names.
        reference: the page, or the table, that documents the code.
        options: the options of ATC that the code is about, where they are always the same ones.
    """

    hint: str
    reference: str
    options: tuple[str, ...] = ()


def ge(code: str, title: str, hint: str, *options: str) -> tuple[str, Advice]:
    """A code of the graph engine, which hicann/ge has a page for."""
    return code, Advice(hint, f"{GE_PAGES}/{code}-{title}.md", options)


def runtime(code: str, folder: str, title: str, hint: str, *options: str) -> tuple[str, Advice]:
    """A code that hicann/runtime has a page for."""
    return code, Advice(hint, f"{RUNTIME_PAGES}/{folder}/{code}-{title}.md", options)


def listed(code: str, hint: str) -> tuple[str, Advice]:
    """A code that has no page, but a line in the table that hicann/runtime is built with."""
    return code, Advice(hint, f"{RUNTIME_TABLE}, {code}")


def option_of(name: str) -> str:
    """The option of ATC that a message means, which may have the graph engine's name for it."""
    return _INNER_NAMES.get(name, name)


def recipe_field(option: str) -> str:
    """The recipe's field that sets an option of ATC; most have the option's own name."""
    return _FIELDS.get(option, option)


EXPORT_HINT = (
    "ATC does not know this operator: export the network without it, or with an opset from 11 to 18, or install the "
    "custom operator package that has it"
)
KERNEL_HINT = (
    "The operator could not be compiled for this SoC. See whether the operator package of the chip in `targets` is "
    "installed (from CANN 8.5 on one per chip family), whether memory ran out, and try fewer gears"
)
UNSUPPORTED_HINT = (
    "The SoC in `targets` has no kernel for this operator with these types and shapes: check the target's exact name "
    "and that its operator package is installed, or export the network without the operator"
)
GRAPH_HINT = (
    "The operator refuses the shapes it gets. A batch size written into the network as a constant (Reshape, Expand) "
    "does this when `gears` are compiled: export with a dynamic batch axis, or compile without `gears`"
)
INNER_HINT = (
    "The code says no more than that a step inside ATC failed: look in the full output for the first failed node. "
    + GRAPH_HINT
)
PYTHON_HINT = (
    "ATC's operator compiler runs in Python and lacks something: source CANN's set_env.sh and install the packages "
    "that CANN's manual lists for this release, for the python3 that comes first on PATH"
)
MEMORY_HINT = (
    "Most likely the machine ran out of memory: raise memory_bytes in the recipe so that fewer builds run at once, "
    "set TE_PARALLEL_COMPILER=1, or compile fewer gears"
)
