"""Where the pixels of a picture go: resized sizes and crops, in whole pixels.

The rules are those of torchvision's transforms `Resize` and `CenterCrop` (`_compute_resized_image_output_size` and
`center_crop` of torchvision/transforms/functional.py), with which most published image models were measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from ascend_serve.errors import ConfigError

Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """A resize, then a crop around the middle.

    Attributes:
        resize: the length of the shorter side, the other in proportion, rounded down; or height and width.
        crop: height and width of what is kept; None keeps all of it.

    Raises:
        ConfigError: a crop larger than what it is taken from, or a shorter side without a crop, whose result would
            have any size.
    """

    resize: int | Size
    crop: Size | None = None

    def __post_init__(self) -> None:
        if isinstance(self.resize, int):
            if self.crop is None:
                raise ConfigError(
                    f"resize: {self.resize} sets the shorter side alone, and pictures of other proportions would not "
                    "fit the model: give crop too, or resize: [height, width]"
                )
            shown, sides = str(self.resize), (self.resize, self.resize)
        else:
            shown, sides = f"[{self.resize[0]}, {self.resize[1]}]", self.resize
        if self.crop is not None and (self.crop[0] > sides[0] or self.crop[1] > sides[1]):
            raise ConfigError(f"crop {list(self.crop)} is larger than what resize: {shown} leaves")

    @property
    def size(self) -> Size:
        """Height and width of every result."""
        if self.crop is not None:
            return self.crop
        assert not isinstance(self.resize, int), "a shorter side comes with a crop"
        return self.resize

    def resized(self, height: int, width: int) -> Size:
        """Height and width of a picture of that size after the resize."""
        if not isinstance(self.resize, int):
            return self.resize
        if width <= height:
            return int(self.resize * height / width), self.resize
        return self.resize, int(self.resize * width / height)

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the crop in a picture of that size, halves rounded to even."""
        if self.crop is None:
            return 0, 0, width, height
        top, left = round((height - self.crop[0]) / 2.0), round((width - self.crop[1]) / 2.0)
        return left, top, left + self.crop[1], top + self.crop[0]
