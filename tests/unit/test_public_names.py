"""The names of `ascend_serve`: each there, typed, and loaded no sooner than it is asked for."""

import ast
from pathlib import Path

import pytest

import ascend_serve

pytestmark = pytest.mark.unit


def test_each_name_is_there_and_others_are_not():
    apart_from_ray = [
        name for name, home in ascend_serve._HOMES.items() if not home.startswith("compile_jobs")
    ]
    assert all(getattr(ascend_serve, name) is not None for name in apart_from_ray)
    assert dir(ascend_serve) == ascend_serve.__all__
    with pytest.raises(AttributeError, match="has no attribute 'complie'"):
        _ = ascend_serve.complie


def test_type_checkers_see_the_same_names_in_the_same_places():
    stub = ast.parse(Path(ascend_serve.__file__).with_suffix(".pyi").read_text())
    told = {
        alias.asname: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == ascend_serve._HOMES
