"""AIPP from a recipe's `aipp:` section, compiled and run: the card does what `aipp_reference` says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import acl
import numpy as np
import pytest

from ascend_serve.spec.aipp import Aipp, render, source_shape
from ascend_serve.spec.aipp_reference import reference
from tests.contract.models import Loaded, compiled

pytestmark = pytest.mark.contract

SHAPE = (2, 3, 4, 6)
NETWORK = "net (float[1] scale, float[2,3,4,6] image) => (float[2,3,4,6] out) { out = Mul(image, scale) }"
SOURCE = {"src_image_size_w": 10, "src_image_size_h": 8}
CASES: dict[str, dict[str, Any]] = {
    "colours": {
        "input_format": "RGB888_U8",
        "normalize": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    },
    "video": {
        "input_format": "YUV420SP_U8",
        **SOURCE,
        "crop": True,
        "load_start_pos_w": 2,
        "load_start_pos_h": 4,
        "crop_size_w": 5,
        "crop_size_h": 3,
        "csc_to": "RGB",
        "csc_standard": "BT-709NARROW",
        "mean_chn": (10, 20, 30),
        "padding": True,
        "left_padding_size": 1,
        "top_padding_size": 1,
        "padding_value": -1.5,
    },
    "screen": {
        "input_format": "XRGB8888_U8",
        "ax_swap_switch": True,
        "rbuv_swap_switch": True,
        "csc_switch": True,
        "matrix": ((77, 150, 29), (0, 256, 0), (-43, -85, 128)),
        "output_bias": (0, 1, 128),
        "var_reci_chn": (0.5, 0.25),
    },
}


@pytest.fixture(params=sorted(CASES), scope="module")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Aipp, Path]:
    section = Aipp(input="image", **CASES[request.param])
    folder = tmp_path_factory.mktemp("aipp")
    (folder / "aipp.cfg").write_text(render([section], ["scale", "image"]))
    shapes = "--input_shape=scale:1;image:2,3,4,6"
    return section, compiled(folder, request.param, NETWORK, shapes, f"--insert_op_conf={folder}/aipp.cfg")


@pytest.fixture
def loaded(device: int, built: tuple[Aipp, Path]) -> Iterator[Loaded]:
    model = Loaded(built[1])
    yield model
    model.close()


def test_clients_send_images_of_the_source_shape(loaded: Loaded, built: tuple[Aipp, Path]) -> None:
    wanted = source_shape(built[0], SHAPE)
    assert acl.mdl.get_input_data_type(loaded.desc, 1) == 4
    assert tuple(acl.mdl.get_input_dims_v2(loaded.desc, 1)[0]["dims"]) == wanted
    assert acl.mdl.get_input_size_by_index(loaded.desc, 1) == np.prod(np.array(wanted, np.int64))


def test_the_card_does_what_the_reference_says(loaded: Loaded, built: tuple[Aipp, Path]) -> None:
    section = built[0]
    images = np.random.default_rng(3).integers(0, 256, source_shape(section, SHAPE), np.uint8)
    loaded.put(0, np.array([2], np.float32))
    loaded.put(1, images)
    assert loaded.run() == 0, acl.get_recent_err_msg()
    np.testing.assert_allclose(
        loaded.take(SHAPE), 2 * reference(section, images, SHAPE), rtol=1e-3, atol=1e-3
    )
