"""What to do about ATC's error codes. ATC's own text says what is wrong."""

from __future__ import annotations

NAME_HINT = "Compare the names under `inputs` with those of the ONNX graph's inputs"
PYTHON_HINT = (
    "ATC's operator compiler runs in Python and lacks something: install the packages that CANN's "
    "manual lists for this release, for the python3 that comes first on PATH"
)
KERNEL_HINT = (
    "An operator could not be compiled for this SoC. See whether its operator package is installed "
    "(from CANN 8.5 on one per chip family), whether memory ran out, and try fewer gears"
)
UNSUPPORTED_HINT = (
    "The SoC has no kernel for this operator with these types and shapes: export the network without "
    "it, or install the operator package that has it"
)
GRAPH_HINT = (
    "See the full output for the node. A batch size written into the network as a constant (Reshape, "
    "Expand) does this when gears are compiled: export with a dynamic batch axis"
)
MEMORY_HINT = (
    "Most likely the machine ran out of memory: raise memory_bytes in the recipe so that fewer "
    "builds run at once, set TE_PARALLEL_COMPILER=1, or compile fewer gears"
)

HINTS: dict[str, str] = {
    "E10001": "If a shape holds -1, give `inputs` and `gears`; else compare the value with ATC's manual",
    "E10002": "Check the shapes under `inputs`: whole numbers only",
    "E10003": "Check `gears`: whole numbers, each once",
    "E10005": "The option takes true or false; correct it in extra_args",
    "E10006": "The option takes 1 or 0; correct it in extra_args",
    "E10011": "Without gears every dim is at least 1; give `gears` if axis 0 is open",
    "E10013": "The value is out of the option's range; correct it in the recipe",
    "E10016": NAME_HINT,
    "E10017": NAME_HINT,
    "E10018": "With gears only axis 0 may be -1: give the other axes of `inputs` fixed sizes",
    "E10021": "Move the store or the temporary folder to a shorter path",
    "E10031": "With gears axis 0 of the inputs must be -1",
    "E10034": "An input with AIPP cannot stand in input_fp16_nodes",
    "E10035": "ATC wants at least two gears",
    "E10036": "Give fewer gears; 100 is the most that every release takes",
    "E10037": "All gears need the same number of sizes",
    "E10038": "Each gear is at least 1",
    "E10039": "Each gear may stand once",
    "E10040": "With gears axis 0 of the inputs must be -1, and no shape may be a range",
    "E10047": "Remove one of the two options from extra_args",
    "E10049": "Give the input as many dims under `inputs` as it has in the ONNX graph",
    "E10052": "Correct the AIPP file that extra_args names",
    "E10054": "An option that ATC requires reached it empty",
    "E10055": "This toolchain or SoC cannot do what was asked; the reason names the option",
    "E10056": "Remove the precision option from extra_args; `precision` sets it",
    "E10410": "Correct the path in extra_args; relative paths start at the recipe's folder",
    "E10501": UNSUPPORTED_HINT,
    "E13000": "Check `source` and whether this machine may read it",
    "E13001": "Check `source` and whether this machine may read it",
    "E13005": "The file is no whole ONNX model, or a Git LFS pointer: open it with `onnx.checker`",
    "E13010": UNSUPPORTED_HINT,
    "E13015": "The file is empty or too large",
    "E13023": "The model is too large for one .om: compile fewer gears",
    "E14001": GRAPH_HINT,
    "E16001": "The ONNX graph is incomplete: check it with `onnx.checker` and export it again",
    "E16002": UNSUPPORTED_HINT,
    "E16004": "The file holds no ONNX graph: check it with `onnx.checker` and export it again",
    "E16005": "Export the network again with one opset of the domain that the message names",
    "E19010": UNSUPPORTED_HINT,
    "E19999": GRAPH_HINT,
    "E20001": KERNEL_HINT,
    "E20101": "The installed CANN does not know this SoC: install its package, or correct the target",
    "E20103": "Correct the number of cores in extra_args",
    "E40001": PYTHON_HINT,
    "E40002": PYTHON_HINT,
    "E40020": PYTHON_HINT,
    "E40021": KERNEL_HINT,
    "E40024": PYTHON_HINT,
    "E90001": KERNEL_HINT,
    "E90003": KERNEL_HINT,
    "EZ3002": UNSUPPORTED_HINT,
    "EZ3003": UNSUPPORTED_HINT,
    "EZ9010": UNSUPPORTED_HINT,
    "EZ9999": KERNEL_HINT,
}
"""What to do, by code; the codes users meet are listed in facts: ATC §2.4."""
