"""Measure the shipped model on the held-out digits: `python examples/digits/evaluate.py`.

Runs `resnet20.onnx` with onnxruntime on the CPU over all of `heldout.npz`, which no training step has
seen, and prints what it got right and every picture it got wrong. Needs numpy, pillow and onnxruntime, no
server.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
from preprocess import to_tensor

HERE = Path(__file__).resolve().parent


def run(model: Path, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Run an exported model on the CPU.

    Args:
        model: the ONNX file; input `image`, output `logits`.
        images: uint8 `[N, 32, 32]`.

    Returns:
        The logits, float32 `[N, 10]`.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": to_tensor(images)})
    return np.asarray(logits)


def main() -> None:
    """Print the accuracy of a model file over the held-out digits."""
    parser = argparse.ArgumentParser(description="Accuracy of the exported model over the held-out digits.")
    parser.add_argument("--model", type=Path, default=HERE / "resnet20.onnx", help="ONNX file to measure")
    arguments = parser.parse_args()
    heldout = np.load(HERE / "heldout.npz")
    labels = heldout["labels"]
    classes = run(arguments.model, heldout["images"]).argmax(axis=1)
    for row in np.flatnonzero(classes != labels):
        print(f"row {row}: a {labels[row]} was taken for a {classes[row]}")
    right = int((classes == labels).sum())
    print(f"{right} of {len(labels)} held-out digits right: {right / len(labels):.2%}")


if __name__ == "__main__":
    main()
