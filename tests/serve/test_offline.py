"""Offline batches as Ray runs them: a predictor as an actor with an NPU, and as Ray Data's worker."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ascend_serve import AscendPredictor

pytestmark = pytest.mark.serve

Array = np.ndarray[Any, Any]


def test_a_predictor_is_an_actor_with_an_npu_of_its_own(
    ray_cluster: None, store: Path, exact_recipe: Path, digits: Array, expected: Array
) -> None:
    import ray

    made = ray.remote(num_cpus=0, resources={"NPU": 1})(AscendPredictor)
    actors = [made.remote(recipe=str(exact_recipe), store=str(store)) for _ in range(2)]
    halves = np.split(np.arange(len(digits)), 2)
    answers = ray.get(
        [
            actor.__call__.remote({"image": digits[rows], "row": rows})
            for actor, rows in zip(actors, halves, strict=True)
        ],
        timeout=240,
    )
    for answer, rows in zip(answers, halves, strict=True):
        np.testing.assert_array_equal(answer["row"], rows)
        np.testing.assert_allclose(answer["logits"], expected[rows], rtol=1e-4, atol=1e-5)
    ray.get([actor.close.remote() for actor in actors], timeout=60)


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="Ray Data is not installed (ray[data])")
def test_ray_data_maps_batches_with_it(
    ray_cluster: None, store: Path, exact_recipe: Path, digits: Array, expected: Array
) -> None:
    import ray.data

    rows = [{"image": image, "row": row} for row, image in enumerate(digits[:100])]
    answers = (
        ray.data.from_items(rows)
        .map_batches(
            AscendPredictor,
            fn_constructor_kwargs={"recipe": str(exact_recipe), "store": str(store)},
            batch_size=32,
            concurrency=2,
            num_cpus=0,
            resources={"NPU": 1},
        )
        .take_all()
    )
    assert sorted(answer["row"] for answer in answers) == list(range(100))
    for answer in answers:
        np.testing.assert_allclose(answer["logits"], expected[answer["row"]], rtol=1e-4, atol=1e-5)
