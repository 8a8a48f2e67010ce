"""Models by name and version, and what a server tells of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ascend_serve import __version__
from ascend_serve.dataplane import DataPlane
from ascend_serve.errors import ConfigError, ModelNotFound
from ascend_serve.protocol.messages import Array
from ascend_serve.repository import Repository
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit


async def unused(tensors: Mapping[str, Array], **_: Any) -> Mapping[str, Array]:
    raise AssertionError("nothing is run here")


def plane(name: str, version: str = "1", *, ready: bool = True) -> DataPlane:
    tensors = (TensorSpec("x", DataType.FP32, (-1,)),)
    spec = ModelSpec(name, tensors, (TensorSpec("y", DataType.FP32, (-1,)),), Gears((1,)))
    return DataPlane(spec, unused, ready=lambda: ready, max_rows=1, version=version)


def test_the_newest_version_is_the_highest_number_whatever_the_order() -> None:
    planes = [plane("double", version) for version in ("10", "9", "2")]
    repository = Repository([*planes, plane("other")])
    assert repository.plane("double") is planes[0]
    assert [repository.plane("double", version) for version in ("10", "9", "2")] == planes
    assert repository.versions("double") == ("2", "9", "10")
    assert repository.names == ("double", "other")
    assert repository.model_metadata("double", "9").versions == ("2", "9", "10")
    assert repository.model_metadata("other").versions == ("1",)


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("doubel", None, "no model 'doubel' here; did you mean 'double'?"),
        ("doubel", "1", "no model 'doubel' here; did you mean 'double'?"),
        ("resnet", None, "no model 'resnet' here; known: double, other"),
        ("double", "2", "model 'double' has no version '2'; known: 1"),
        ("other", "", "model 'other' has no version ''; known: 1"),
    ],
)
def test_another_model_or_version_is_not_found(name: str, version: str | None, message: str) -> None:
    repository = Repository([plane("double"), plane("other")])
    for ask in (repository.plane, repository.model_metadata, repository.plane_of_call):
        with pytest.raises(ModelNotFound) as caught:
            ask(name, version)
        assert str(caught.value) == message


def test_a_call_names_its_model_where_there_are_several() -> None:
    old, new = plane("double"), plane("double", "2")
    alone = Repository([new, old])
    assert alone.plane_of_call(None) is new
    assert alone.plane_of_call(None, "1") is old
    several = Repository([old, plane("other")])
    assert several.plane_of_call("double") is old
    with pytest.raises(ModelNotFound, match="2 models are here: say which with model=, one of double, other"):
        several.plane_of_call(None)


def test_a_server_is_ready_when_all_of_its_models_are() -> None:
    assert Repository([plane("a"), plane("b")]).ready()
    half = Repository([plane("a"), plane("b", ready=False)])
    assert (half.live(), half.ready(), half.plane("a").ready()) == (True, False, True)


def test_a_server_says_who_it_is() -> None:
    told = Repository([plane("a")]).server_metadata()
    assert (told.name, told.version) == ("ascend_serve", __version__)
    assert {"binary_tensor_data", "schedule_policy"} <= set(told.extensions)


def test_models_are_there_once_and_at_least_one() -> None:
    with pytest.raises(ConfigError, match="'a' is there twice in version 2"):
        Repository([plane("a", "2"), plane("b", "2"), plane("a", "2")])
    with pytest.raises(ConfigError, match="without models"):
        Repository([])
