"""Classify a data set with every NPU there is: `python examples/offline/classify.py`.

The held-out digits go through `ray.data.Dataset.map_batches` and an `AscendPredictor` for each NPU; their labels come
back beside the logits, and the share of right ones is printed. The exit status is 1 when it is below what the model is
known to reach. Needs Ray Data (`pip install 'ray[data]'`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from ascend_serve import AscendPredictor

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples/digits"


def main() -> int:
    """Run the data set through the model; return the exit status."""
    parser = argparse.ArgumentParser(description="Classify the held-out digits offline, with Ray Data.")
    parser.add_argument(
        "--npus", type=int, default=1, help="predictors, each with one NPU (default: %(default)s)"
    )
    parser.add_argument("--rows", type=int, default=64, help="rows of a batch (default: %(default)s)")
    options = parser.parse_args()
    try:
        import ray.data
    except ImportError as error:
        print(f"error: Ray Data is not complete here ({error}): pip install 'ray[data]'", file=sys.stderr)
        return 1
    ray.init(log_to_driver=False)
    with np.load(DIGITS / "heldout.npz") as heldout:
        images, labels = heldout["images"], heldout["labels"]
    rows = [
        {"image": image[np.newaxis].astype(np.float32) / 255, "label": int(label)}
        for image, label in zip(images, labels, strict=True)
    ]
    began = time.monotonic()
    answers = (
        ray.data.from_items(rows)
        .map_batches(
            AscendPredictor,
            fn_constructor_kwargs={"recipe": str(ROOT / "compile_jobs/recipes/resnet.yaml")},
            batch_size=options.rows,
            concurrency=options.npus,
            num_cpus=0.5,
            resources={"NPU": 1},
        )
        .take_all()
    )
    seconds = time.monotonic() - began
    right = sum(int(np.argmax(answer["logits"])) == answer["label"] for answer in answers)
    print(
        f"{len(answers)} digits in {seconds:.1f} s, the start of {options.npus} predictor(s) included; {right} right"
    )
    stated = json.loads((DIGITS / "metrics.json").read_text())
    return 0 if len(answers) == stated["heldout_images"] and right >= stated["heldout_right"] - 1 else 1


if __name__ == "__main__":
    sys.exit(main())
