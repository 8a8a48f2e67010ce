"""Train the example's network and write everything that is shipped of it: `python examples/digits/train.py`.

Reads the 1,797 digits that come inside scikit-learn (nothing is downloaded), sets 20 % aside, trains a
ResNet-20 on the rest and writes, by default beside this file:

    resnet20.onnx   the network: `image` float32 [N, 1, 32, 32] -> `logits` float32 [N, 10], N free
    heldout.npz     all held-out digits: images uint8 [360, 32, 32], labels uint8 [360],
                    sources uint16 [360] (their row in scikit-learn's set)
    images/         the first three held-out digits of each class that it reads right, as PNG files named
                    digit<label>_<row of heldout.npz>.png
    misread/        all held-out digits that it does not
    metrics.json    what was measured, and with what

The held-out digits are looked at once, after the last epoch: they choose neither the settings below nor
the epoch. All seeds are fixed, so a machine repeats its own result; another CPU or release rounds
differently and may end one or two digits away. Takes a few minutes on two cores. Needs the extras `dev` and
`train`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from evaluate import run
from network import CLASSES, ResNet
from PIL import Image
from preprocess import SIDE, from_levels, to_tensor
from sklearn.datasets import load_digits  # type: ignore[import-untyped]  # scikit-learn ships no types
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]  # likewise
from torch.nn import functional

HERE = Path(__file__).resolve().parent

SEED = 20
THREADS = 2  # fixed, because the order of the partial sums depends on it
HELD_OUT = 0.2
EPOCHS = 25
BATCH = 64
PEAK_RATE = 0.1
MOMENTUM = 0.9
DECAY = 5e-4
TURN_DEGREES = 10.0
SHIFT = 0.125  # of half the picture's side: two pixels of 32
ZOOM = 0.1

OPSET = 18  # the newest that ATC documents

PICTURES_PER_CLASS = 3
PACKAGES = ("numpy", "onnx", "onnxruntime", "pillow", "scikit-learn", "torch")

Greys = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]


def split() -> tuple[Greys, Labels, Rows, Rows]:
    """Load the digits and divide them, each class in the same proportion.

    Returns:
        images uint8 `[1797, 32, 32]`, labels int64 `[1797]`, and the rows for training and the held-out rows.
    """
    digits = load_digits()
    images = np.stack([from_levels(levels) for levels in digits.images])
    labels = digits.target.astype(np.int64)
    training, heldout = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT, stratify=labels, random_state=SEED
    )
    return images, labels, training, heldout


def jitter(images: torch.Tensor) -> torch.Tensor:
    """Turn, zoom and shift each picture a little, at random; what comes in from outside is paper.

    Args:
        images: float32 `[N, 1, 32, 32]`.
    """
    count = len(images)

    def uniform(limit: float) -> torch.Tensor:
        return (torch.rand(count) * 2 - 1) * limit

    angle, zoom = uniform(math.radians(TURN_DEGREES)), 1 + uniform(ZOOM)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    transform = torch.stack(
        [torch.stack([cos, -sin, uniform(SHIFT)], 1), torch.stack([sin, cos, uniform(SHIFT)], 1)], 1
    )
    grid = functional.affine_grid(transform, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def fit(images: torch.Tensor, labels: torch.Tensor) -> ResNet:
    """Train with stochastic gradient descent and one warm-up-and-cool-down cycle of the learning rate.

    Args:
        images: float32 `[N, 1, 32, 32]`.
        labels: int64 `[N]`.

    Returns:
        The network after the last epoch, in evaluation mode.
    """
    network = ResNet()
    optimiser = torch.optim.SGD(
        network.parameters(), PEAK_RATE, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True
    )
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, PEAK_RATE, epochs=EPOCHS, steps_per_epoch=steps, pct_start=0.2
    )
    began = time.monotonic()
    for epoch in range(EPOCHS):
        network.train()
        total = 0.0
        # The rest of a division that is not even waits for another epoch's order: a tiny batch would
        # disturb the batch norms.
        for rows in torch.randperm(len(images))[: steps * BATCH].view(steps, BATCH):
            loss = functional.cross_entropy(network(jitter(images[rows])), labels[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            schedule.step()
            total += loss.item()
        seconds = time.monotonic() - began
        print(f"epoch {epoch + 1:2}/{EPOCHS}  loss {total / steps:.4f}  {seconds:5.0f} s", flush=True)
    return network.eval()


def export(network: ResNet, path: Path) -> None:
    """Write the network as one ONNX file with a free batch axis and nothing of this machine in it.

    Args:
        network: in evaluation mode; its batch norms are folded in place.
        path: the file to write.
    """
    network.fold_norms()
    # The older of torch's two exporters: the newer one (dynamo=True) turns the pooling into a ReduceMean with
    # its axes as an input and the flattening into a Reshape, and notes each node's source line by its path.
    torch.onnx.export(
        network,
        (torch.zeros(1, 1, SIDE, SIDE),),
        path,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=OPSET,
        dynamo=False,
    )
    onnx.checker.check_model(path, full_check=True)


def write_pictures(folder: Path, images: Greys, labels: Labels, answers: Labels) -> None:
    """Write the first few pictures of each class that the network reads right, and apart from them all it misreads."""
    for digit in range(CLASSES):
        mine = labels == digit
        for row in np.flatnonzero(mine & (answers == digit))[:PICTURES_PER_CLASS]:
            save_picture(folder / "images", images[row], digit, row)
        for row in np.flatnonzero(mine & (answers != digit)):
            save_picture(folder / "misread", images[row], digit, row)


def save_picture(folder: Path, image: Greys, digit: int, row: int) -> None:
    """Write one picture under its label and its row in heldout.npz."""
    folder.mkdir(exist_ok=True)
    Image.fromarray(image).save(folder / f"digit{digit}_{row:03}.png")


def main() -> None:
    """Train, export, measure and write."""
    parser = argparse.ArgumentParser(description="Train a ResNet-20 on scikit-learn's digits and export it.")
    parser.add_argument("--out", type=Path, default=HERE, help="where to write (default: beside this file)")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)

    images, labels, training, heldout = split()
    network = fit(torch.from_numpy(to_tensor(images[training])), torch.from_numpy(labels[training]))
    parameters = sum(weights.numel() for weights in network.parameters())
    with torch.inference_mode():
        expected = network(torch.from_numpy(to_tensor(images[heldout]))).numpy()

    path = out / "resnet20.onnx"
    export(network, path)
    logits = run(path, images[heldout])
    difference = float(np.abs(logits - expected).max())
    if difference > 1e-3:
        raise RuntimeError(f"the exported logits differ from torch's by up to {difference}, more than 1e-3")

    np.savez_compressed(
        out / "heldout.npz",
        images=images[heldout],
        labels=labels[heldout].astype(np.uint8),
        sources=heldout.astype(np.uint16),
    )
    answers = logits.argmax(axis=1)
    write_pictures(out, images[heldout], labels[heldout], answers)
    right = int((answers == labels[heldout]).sum())
    metrics = {
        "heldout_accuracy": round(right / len(heldout), 6),
        "heldout_right": right,
        "heldout_images": len(heldout),
        "training_images": len(training),
        "epochs": EPOCHS,
        "seed": SEED,
        "parameters": parameters,
        "onnx_bytes": path.stat().st_size,
        "onnx_opset": OPSET,
        "onnx_torch_largest_difference": difference,
        "versions": {package: version(package) for package in PACKAGES},
    }
    text = json.dumps(metrics, indent=2)
    (out / "metrics.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
