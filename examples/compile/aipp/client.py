"""Send photographs as they are: `python examples/compile/aipp/client.py examples/digits/images/*.png`.

Reads each picture, puts it into the middle of a frame of 40 x 40 as a camera would take it, and sends the frame's
bytes: uint8 RGB, `[rows, 40, 40, 3]`, to `POST {url}/v2/models/digits-aipp/infer` (Open Inference Protocol v2 with its
binary tensors, by the standard library). Cropping, grey and 0..1 are the card's work. The exit status is 1 when an
answer contradicts the label in a file's name or anything fails. Needs numpy and pillow.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE, FRAME = 32, 40
MODEL = "digits-aipp"
LENGTH = "Inference-Header-Content-Length"


def read_frame(path: Path) -> npt.NDArray[np.uint8]:
    """A picture in the middle of a frame of another brightness: uint8 `[40, 40, 3]`."""
    frame = Image.new("RGB", (FRAME, FRAME), (200, 120, 40))
    with Image.open(path) as picture:
        frame.paste(picture.convert("RGB").resize((SIDE, SIDE)), ((FRAME - SIDE) // 2, (FRAME - SIDE) // 2))
    return np.asarray(frame)


def infer(url: str, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The logits of some frames, `[rows, 10]`.

    Raises:
        RuntimeError: the server refused; with its words.
        OSError: it cannot be reached.
    """
    raw = frames.tobytes()
    tensor: dict[str, Any] = {
        "name": "image",
        "datatype": "UINT8",
        "shape": list(frames.shape),
        "parameters": {"binary_data_size": len(raw)},
    }
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        path = f"{parts.path.rstrip('/')}/v2/models/{MODEL}/infer"
        connection.request("POST", path, header + raw, {LENGTH: str(len(header))})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise RuntimeError(f"the server answered {response.status}: {body.decode(errors='replace')}")
    split = int(response.headers[LENGTH])
    output = json.loads(body[:split])["outputs"][0]
    logits: npt.NDArray[np.float32] = np.frombuffer(body[split:], "<f4").reshape(output["shape"])
    return logits


def main(arguments: Sequence[str] | None = None) -> int:
    """Classify the pictures named on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Classify digits with the served model, from bytes.")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="named digit<label>_….png")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        frames = np.stack([read_frame(path) for path in options.pictures])
        logits = infer(options.url, frames)
    except (OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    right = 0
    for path, row in zip(options.pictures, logits, strict=True):
        answer = str(row.argmax())
        right += path.name.startswith(f"digit{answer}_")
        print(f"{path}  {answer}")
    print(f"{frames.dtype} {list(frames.shape)}, {frames.nbytes} bytes: {right} of {len(logits)} right")
    return 0 if right == len(logits) else 1


if __name__ == "__main__":
    sys.exit(main())
