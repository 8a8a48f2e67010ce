"""From a picture of a digit to the tensor that the model takes: one road, used for training and for serving.

The model's input is `image`, float32 `[N, 1, 32, 32]`: N pictures, one grey channel, rows, columns; 0.0
is paper and 1.0 is full ink (light strokes on a dark ground, as in the data). scikit-learn's digits are
8x8 with 17 levels of grey; they are enlarged to 32x32, the size for which He et al. 2015 designed this
family of networks, so that the example has the four-dimensional input and the halving feature maps of an
ordinary vision model.

The exact steps, all done by Pillow on 8-bit grey pixels:

1. a value v of 0..16 becomes round(v * 255 / 16), halves to even (`from_levels`);
2. a picture that is not 32x32 is resized to 32x32 with the bilinear filter (`to_grey32`);
3. bytes become float32 and are divided by 255 (`to_tensor`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 32
"""Rows and columns of the model's input, in pixels."""

LEVELS = 16
"""The largest value of a pixel in scikit-learn's digits."""


def from_levels(levels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Turn one digit of scikit-learn into the grey picture the model is trained on.

    Args:
        levels: `[8, 8]`, any real dtype, values 0..16 (`sklearn.datasets.load_digits().images[i]`).

    Returns:
        uint8 `[32, 32]`.
    """
    grey = np.rint(levels * (255.0 / LEVELS)).astype(np.uint8)
    return to_grey32(Image.fromarray(grey))


def to_grey32(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Make any Pillow picture a grey one of 32x32; one that is so already keeps its bytes.

    Returns:
        uint8 `[32, 32]`.
    """
    grey = picture.convert("L")
    if grey.size != (SIDE, SIDE):
        grey = grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(grey, dtype=np.uint8)


def to_tensor(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Scale grey pictures to 0..1 and add the channel axis.

    Args:
        grey: uint8 `[N, 32, 32]`.

    Returns:
        float32 `[N, 1, 32, 32]`, C-contiguous, values 0.0..1.0.
    """
    return np.divide(grey[:, np.newaxis], 255, dtype=np.float32)


def read_pictures(paths: Iterable[Path]) -> npt.NDArray[np.float32]:
    """Read picture files of any format and size that Pillow knows.

    Returns:
        float32 `[N, 1, 32, 32]`, in the order of `paths`.

    Raises:
        OSError: a file that is missing or that Pillow does not recognise as a picture
            (`PIL.UnidentifiedImageError` is an OSError).
    """
    greys = []
    for path in paths:
        with Image.open(path) as picture:
            greys.append(to_grey32(picture))
    return to_tensor(np.stack(greys))
