"""The compile guide is whole: every field of a recipe stands in its tables, and its snippets are right."""

import ast
import inspect
import re
import textwrap
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from ascend_serve.compiling.atc import options
from ascend_serve.spec import aipp, atc_options, recipe, tuning, verification
from ascend_serve.spec.recipe import CompileRecipe

pytestmark = pytest.mark.unit

GUIDE = Path(__file__).resolve().parents[2] / "docs/compile.md"
BEGIN, END = "<!-- fields -->\n", "<!-- end of fields -->"

SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The model, its shapes and targets, and how it is built", recipe.CompileRecipe),
    ("Inputs", atc_options.InputOptions),
    ("Outputs", atc_options.OutputOptions),
    ("Precision", atc_options.PrecisionOptions),
    ("The chip", atc_options.TargetOptions),
    ("Optimisation", atc_options.TuningOptions),
    ("What is told and left behind", atc_options.DebugOptions),
    ("`aipp`: a list of these", aipp.Aipp),
    ("`aipp`: `normalize`", aipp.Normalize),
    ("`verify`", verification.Tolerance),
    ("`tune`", tuning.Tune),
)


def documented(model: type[BaseModel]) -> dict[str, str]:
    """The fields that a class itself has, and what stands below each."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for line, following in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(line, ast.AnnAssign)
            and isinstance(line.target, ast.Name)
            and line.target.id in model.model_fields
            and isinstance(following, ast.Expr)
        ):
            found[line.target.id] = " ".join(str(ast.literal_eval(following.value)).split())
    return found


def option_of(field: str) -> str:
    """The option that a field sets."""
    own = {name: option for option, name in recipe._FIELD_OF.items()}
    own |= {"precision": "precision_mode_v2", "aipp": "insert_op_conf"}
    option = own.get(field, field if field in atc_options.AtcOptions.model_fields else "")
    return f"`--{option}`" if option else ""


def table(title: str, model: type[BaseModel]) -> str:
    fields = documented(model)
    sets_options = issubclass(model, atc_options.AtcOptions) or model in atc_options.AtcOptions.__bases__
    lines = [f"### {title}", ""]
    if sets_options:
        lines += ["| field | sets | |", "| --- | --- | --- |"]
    else:
        lines += ["| field | |", "| --- | --- |"]
    for name, text in fields.items():
        text = text.replace("|", "\\|")
        lines.append(
            f"| `{name}` | {option_of(name)} | {text} |" if sets_options else f"| `{name}` | {text} |"
        )
    return "\n".join(lines) + "\n"


def test_the_tables_are_what_the_code_says() -> None:
    tables = "\n" + "\n".join(table(*section) for section in SECTIONS) + "\n"
    shown = GUIDE.read_text().split(BEGIN)[1].split(END)[0]
    assert shown == tables, f"{GUIDE.name} should have, between its two marks:\n{tables}"


def test_no_field_is_left_out() -> None:
    shown = {name for _, model in SECTIONS for name in documented(model)}
    assert shown >= set(CompileRecipe.model_fields)
    for _, model in SECTIONS:
        if not issubclass(model, CompileRecipe):
            assert set(documented(model)) == set(model.model_fields)


@pytest.mark.parametrize(
    "text", re.findall(r"^```yaml\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
)
def test_snippets_are_parts_of_recipes(text: str) -> None:
    made = CompileRecipe.parse({"name": "net", "source": "net.onnx", **yaml.safe_load(text)})
    assert made.said[2:], "it says something"


def test_precision_sets_what_the_guide_says() -> None:
    section = GUIDE.read_text().split("### Precision\n")[1].split("###")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", section, re.MULTILINE))
    assert set(rows) == {"fp16", "fp32", "mixed"}
    for said, mode in rows.items():
        made = CompileRecipe.parse({"name": "net", "source": "net.onnx", "precision": said})
        assert ("precision_mode_v2", mode) in options(made, "Ascend310P3", "net.onnx", "net")
