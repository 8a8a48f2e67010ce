"""What is wrong or doubtful in one of ATC's commands, beside what values' readers and the recipe's rules find. Pure.

Errors have ATC's own code in brackets; the rest is legal and seldom meant (facts: ATC §1.2–1.10).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ascend_serve.compiling.importing.getopt import HELP, REMOVED
from ascend_serve.compiling.template import names_in
from ascend_serve.errors import ConfigError
from ascend_serve.spec.soc import SOCS, resolve_soc

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about a command that its author may want to know.

    Attributes:
        severity: error: ATC refuses it, and there is no recipe until it is put right; warning: it works, or was
            mended, and is most likely not what was meant; note: worth knowing.
        text: what, why and the way out.
        mended: whether the shell or ATC refuses it as it was written, and the recipe holds what was meant.
    """

    severity: Severity
    text: str
    mended: bool = False


Said = Mapping[str, str]
Findings = Iterator[Problem]

_OTHER_MODES = {
    "1": "writes a model as JSON: `ascend-serve inspect MODEL --json` does that",
    "3": "checks whether a model's operators are known: `ascend-serve preflight RECIPE` does that",
    "5": "writes a dumped graph as JSON, which has no counterpart here",
    "6": "shows what an .om is: `ascend-serve inspect MODEL` does that",
    "7": "makes an OM2 file, which no recipe does",
    "30": "makes a model for nano parts, which no recipe does",
}
_FORMS = {
    "caffe": ("0", ".prototxt"),
    "mindspore": ("1", ".air"),
    "tensorflow": ("3", ".pb"),
    "onnx": ("5", ".onnx"),
}
_DEPRECATED = {
    "input_shape_range": "write the ranges into --input_shape instead, without brackets: name:1~4,3",
    "shape_generalized_build_mode": "leave it out",
}
_PLACEHOLDER = re.compile(
    r"(?:(?<!\$)|\$\$)\{(?P<name>[A-Za-z][\w \\-]*)(?:\}|$)|<(?P<angle>[A-Za-z][\w -]*)>"
)
_PATHS = (
    "model",
    "weight",
    "output",
    "insert_op_conf",
    "op_precision_mode",
    "modify_mixlist",
    "keep_dtype",
    "fusion_switch_file",
)


def compiles_nothing(said: Said) -> str | None:
    """Why a command makes no `.om`, None when it is meant to."""
    if HELP in said:
        return "--help asks for ATC's usage text and compiles nothing"
    if said.get("singleop"):
        return "--singleop compiles single operators, which no recipe does: go on using atc for it"
    mode = said.get("mode", "0")
    if mode in _OTHER_MODES:
        return f"--mode={mode} {_OTHER_MODES[mode]}"
    return None


def check_command(said: Said) -> list[Problem]:
    """Everything that is to be said about a command that compiles.

    Args:
        said: option and value, a template; without options that have no value.
    """
    return [problem for rule in _RULES for problem in rule(said)]


def check_repeats(pairs: Sequence[tuple[str, str]]) -> Findings:
    """Options that were given twice, or without a value."""
    seen: dict[str, str] = {}
    for option, value in pairs:
        if option in seen:
            yield Problem(
                "warning", f"--{option} stands twice; the last one, {value!r}, holds: remove {seen[option]!r}"
            )
        seen[option] = value
    for option, value in seen.items():
        if not value:
            yield Problem("note", f"--{option} has no value, which is as if it were not there")


def _required(said: Said) -> Findings:
    if "framework" not in said:
        yield Problem("error", "--framework is missing: 0 Caffe, 1 MindSpore, 3 TensorFlow, 5 ONNX (E10007)")
    for option, example in (
        ("model", "net.onnx"),
        ("output", "out/net"),
        ("soc_version", "Ascend310P3"),
    ):
        if option not in said:
            yield Problem("error", f"--{option} is missing, such as --{option}={example} (E10054)")


def _foreign(said: Said) -> Findings:
    if REMOVED in said:
        yield Problem(
            "error",
            f"--{REMOVED} is gone from ATC (E10001): remove it; AOE tunes now, see the recipe's field `tune`",
        )
    for option in ("om", "json", "dump_mode"):
        if option in said:
            yield Problem("warning", f"--{option} does nothing in mode 0: it is left out")


def _soc(said: Said) -> Findings:
    soc = said.get("soc_version", "")
    if names_in(soc):
        start = soc.partition("$")[0]
        if not any(name.startswith(start) for name in SOCS):
            yield Problem("error", f"--soc_version={soc}: no SoC's name begins with {start} (E20101)")
        return
    if not soc:
        return
    try:
        resolve_soc(soc)
    except ConfigError as error:
        yield Problem("error", f"--soc_version: {error} (E20101)")
    if soc == "Ascend910":
        yield Problem(
            "warning",
            "--soc_version=Ascend910 means Ascend910A, the first generation; the .om does not load on Atlas A2 "
            "or A3: name the chip, such as Ascend910B3",
        )
    elif soc == "Ascend910B":
        yield Problem(
            "warning",
            "--soc_version=Ascend910B is a chip of the first generation; those of Atlas A2 have a digit more, such "
            "as Ascend910B3",
        )


def _output(said: Said) -> Findings:
    output = said.get("output", "")
    folder, _, stem = output.rpartition("/")
    if not output:
        return
    if not stem:
        yield Problem("error", f"--output={output} is a folder: add the file's name, without .om (E10022)")
    elif not stem.strip("."):
        yield Problem("error", f"--output={output} holds the place of a path: write one, such as out/net")
    elif stem.endswith(".om"):
        yield Problem("warning", f"--output={output}: ATC adds .om, and writes {stem}.om: leave it out")
    if ".om" in folder:
        yield Problem(
            "warning",
            f"--output={output}: ATC puts the host's name before the first '.om' of the whole path when shapes stay "
            "open: use a folder without it",
        )


def _framework(said: Said) -> Findings:
    framework, model = said.get("framework", ""), said.get("model", "")
    for name, (number, suffix) in _FORMS.items():
        if model.endswith(suffix) and framework in ("0", "1", "3", "5") and framework != number:
            yield Problem(
                "warning", f"--framework={framework} does not fit --model={model}, which ends as {name} does"
            )
    if said.get("weight") and framework in ("1", "3", "5"):
        yield Problem("note", "--weight is for Caffe; ATC ignores it here")


def _gears(said: Said) -> Findings:
    for option, separator in (
        ("dynamic_batch_size", ","),
        ("dynamic_image_size", ";"),
        ("dynamic_dims", ";"),
    ):
        text = said.get(option, "").strip().removesuffix(separator)
        if text and separator not in text and not names_in(text):
            yield Problem(
                "error",
                f"--{option}={text} is one gear, and ATC wants at least two (E10035): write the size into "
                "--input_shape, or add gears",
            )


def _precision(said: Said) -> Findings:
    output_type = said.get("output_type", "")
    if output_type == "FP16":
        yield Problem(
            "note",
            "--output_type=FP16 casts the outputs and makes nothing faster; what the network computes in is "
            "--precision_mode_v2's, which is fp16 when nothing is said",
        )


def _placeholders(said: Said) -> Findings:
    for option, text in said.items():
        if found := _PLACEHOLDER.search(text):
            name = re.sub(r"\W+", "_", (found["name"] or found["angle"]).replace("\\", "")).strip("_")
            yield Problem(
                "note",
                f"--{option} holds {found[0]}, which looks like the place of a value: write the value, or "
                f"${{{name}}} to keep it as a parameter",
            )


def _deprecated(said: Said) -> Findings:
    for option, instead in _DEPRECATED.items():
        if option in said:
            yield Problem("warning", f"--{option} is deprecated by ATC: {instead}")


def _paths(said: Said) -> Findings:
    for option in _PATHS:
        if said.get(option, "").startswith("~"):
            yield Problem(
                "warning",
                f"--{option}={said[option]}: a shell leaves ~ behind a = as it is, and ATC too; the recipe means the "
                "home folder by it",
                mended=True,
            )


_RULES: tuple[Callable[[Said], Findings], ...] = (
    _required,
    _foreign,
    _soc,
    _output,
    _framework,
    _gears,
    _precision,
    _placeholders,
    _deprecated,
    _paths,
)
