"""Label files: read by output, and refused with words."""

from __future__ import annotations

from pathlib import Path

import pytest

from ascend_serve.errors import ConfigError
from ascend_serve.serving.config import parse_app_config
from ascend_serve.serving.doors.labels import read_labels
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

SPEC = ModelSpec(
    "digits",
    (TensorSpec("image", DataType.FP32, (-1, 4)),),
    (TensorSpec("logits", DataType.FP32, (-1, 3)),),
    Gears((1,)),
)


def test_a_label_a_line(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("zéro\n\ntwo words\n", encoding="utf-8")
    (served,) = parse_app_config({"recipe": "r", "labels": {"logits": str(file)}}).served
    assert read_labels(served.labels, SPEC) == {"logits": ("zéro", "", "two words")}
    assert read_labels({}, SPEC) == {}


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"labels: model 'digits' has no output 'logit'; did you mean 'logits'"
    ):
        read_labels({"logit": tmp_path}, SPEC)
    with pytest.raises(ConfigError, match=r"labels.logits: .*none cannot be read"):
        read_labels({"logits": tmp_path / "none"}, SPEC)
    (tmp_path / "raw").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(ConfigError, match="raw cannot be read"):
        read_labels({"logits": tmp_path / "raw"}, SPEC)
