"""Recipes as text: whatever YAML it is, a recipe or one line that says what is wrong."""

import pytest

from ascend_serve.compiling.recipes import parse_recipe
from ascend_serve.errors import ConfigError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: 2024-13-45\n", "month must be in 1..12"),
        (f"gears: [{'9' * 5000}]\n", "integer string conversion"),
        (f"gears: {'[' * 5000}{']' * 5000}\n", "nested too deep"),
        ("{[a]: 1}\n", "line 1: found unhashable key"),
        ("? {a: b}\n: c\n", "line 1: found unhashable key"),
        ("name: a\nname: b\n", "line 2: key 'name' stands twice"),
    ],
)
def test_text_that_makes_no_values_is_told_in_one_line(text, says):
    with pytest.raises(ConfigError, match=says) as caught:
        parse_recipe(text, "net.yaml")
    assert str(caught.value).startswith("net.yaml: ")
    assert "\n" not in str(caught.value)
