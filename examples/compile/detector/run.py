"""Find things in pictures of both sizes: `python examples/compile/detector/run.py`.

Compiles the recipe for the SoC of device 0 unless the store has it, runs it at each image gear, draws what it found
into `build/scene_*.png`, and ends with status 1 when that is not what is in the picture. Needs pillow.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from detections import Box, Detection, detect, draw_scene, overlap
from PIL import Image, ImageDraw

from ascend_serve import Store, compile_target, load_recipe
from ascend_serve.env import store_url
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.trial import Trial
from ascend_serve.verifying import gate
from ascend_serve.verifying.verification import soc_here

HERE = Path(__file__).resolve().parent
SEEDS = {(192, 256): 36, (256, 320): 36}
"""A picture with four things, small and large, for each gear; any other seed will do too."""
THINGS = 4
LEAST_OVERLAP = 0.7


def show(found: Detection, boxes: list[Box]) -> str:
    """One line of a detection: where, how sure, and which part of the true box it covers."""
    edges = " ".join(f"{edge:5.1f}" for edge in found.box)
    return f"  {edges}  {found.score:.2f}  {max(overlap(found.box, box) for box in boxes):.2f}"


def draw(image: npt.NDArray[Any], found: list[Detection], path: Path) -> None:
    """Write the picture with its detections framed."""
    pixels = (image[0].transpose(1, 2, 0) * 255).astype(np.uint8)
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    for detection in found:
        pen.rectangle(detection.box, outline=(255, 64, 0), width=2)
    picture.save(path)


def main() -> int:
    """Run the detector at each of its gears; return the exit status."""
    recipe = load_recipe(HERE / "recipe.yaml")
    right = True
    artifact = compile_target(recipe, soc_here(), Store(store_url()), gate=gate)
    with Device.open() as device, Trial.open(device, artifact.fetch()) as trial:
        for gear in trial.gears:
            height, width = gear
            image, boxes = draw_scene(height, width, THINGS, seed=SEEDS[height, width])
            found = detect(trial.run({"image": image}, gear), height, width)
            hits = sum(any(overlap(box, one.box) > LEAST_OVERLAP for one in found) for box in boxes)
            right = right and hits == len(boxes) == len(found)
            path = HERE / "build" / f"scene_{height}x{width}.png"
            draw(image, found, path)
            print(f"gear {height} x {width}: {hits} of {len(boxes)} things found, {len(found) - hits} others")
            print("   left   top right bottom score overlap")
            for detection in found:
                print(show(detection, boxes))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
